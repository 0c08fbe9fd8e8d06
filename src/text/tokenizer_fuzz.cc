// libFuzzer target: a tokenizer.json up to the first zero byte, then a text. Whatever they are, the only way out is a
// tokenizer that works or an arc::Error.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "text/tokenizer_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\0');
  const std::string_view text = end == input.npos ? std::string_view() : input.substr(end + 1);
  try {
    arc::check_tokenizer(arc::Tokenizer::from_json(input.substr(0, end)), text);
  } catch (const arc::Error&) {
  }
  return 0;
}
