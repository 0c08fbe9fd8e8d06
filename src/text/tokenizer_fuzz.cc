// libFuzzer target: a tokenizer.json up to the first zero byte, then a text. Whatever they are, the only way out is a
// tokenizer that works or an arc::Error.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "base/error.h"
#include "base/utf8.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t end = input.find('\0');
  const std::string_view text = end == input.npos ? std::string_view() : input.substr(end + 1);
  try {
    const arc::Tokenizer tokenizer = arc::Tokenizer::from_json(input.substr(0, end));
    for (const bool parse_special : {true, false}) {
      const auto ids = tokenizer.encode(text, {.parse_special = parse_special});
      arc::Detokenizer detokenizer(tokenizer, false);
      std::string streamed;
      for (const int32_t id : ids) {
        const std::string delta = detokenizer.push(id);
        ARC_CHECK(arc::is_valid_utf8(delta)) << "a delta is not whole characters";
        streamed += delta;
        tokenizer.token_bytes(id);
      }
      streamed += detokenizer.finish();
      ARC_CHECK(streamed == tokenizer.decode(ids, false)) << "streamed text is not the decoded text";
    }
  } catch (const arc::Error&) {
  }
  return 0;
}
