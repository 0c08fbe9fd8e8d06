// The promises of every tokenizer, whatever file it comes from; for fuzz targets and tests.
#pragma once

#include <string>
#include <string_view>

#include "base/check.h"
#include "base/utf8.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace arc {

// Throws what `encode` throws.
inline void check_tokenizer(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool parse_special : {true, false}) {
    const auto ids = tokenizer.encode(text, {.parse_special = parse_special});
    Detokenizer detokenizer(tokenizer, false);
    std::string streamed;
    for (const int32_t id : ids) {
      ARC_CHECK(id >= 0 && id < tokenizer.vocab_size()) << "an id is out of range";
      const std::string delta = detokenizer.push(id);
      ARC_CHECK(is_valid_utf8(delta)) << "a delta is not whole characters";
      streamed += delta;
      tokenizer.token_bytes(id);
    }
    streamed += detokenizer.finish();
    ARC_CHECK(streamed == tokenizer.decode(ids, false)) << "streamed text is not the decoded text";
  }
}

}  // namespace arc
