// Fuzz target: request bodies of both APIs. Any body is a request or an arc::Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "serve/api_error.h"
#include "serve/openai_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using arc::serve::Api;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const Api api : {Api::chat, Api::completions}) {
    try {
      (void)arc::serve::parse_request(api, body, {.vocab_size = 1000});
    } catch (const arc::Error& e) {
      (void)arc::serve::error_response(e);
    }
  }
  return 0;
}
