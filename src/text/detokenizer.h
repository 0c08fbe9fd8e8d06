// Token ids to text, one by one, as a model emits them.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "text/decoder.h"

namespace arc {

class Tokenizer;

// The texts of all calls joined are `tokenizer.decode` of all ids. Each text is whole UTF-8 characters: bytes that may
// still become a character wait for the next token. A call's work depends on its token only.
class Detokenizer {
 public:
  // `tokenizer` must outlive this. Special tokens give no text with `skip_special`.
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special = true);

  // Tells what came before (the end of a prompt), so that text which continues it keeps its leading space and a
  // character begun there is completed. Gives no text itself. Only before the first push.
  void prime(std::span<const int32_t> ids);

  std::string push(int32_t id);
  // What was still waiting, with invalid bytes replaced by U+FFFD. Call once, after the last push.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  Decoder::State state_;
  bool skip_special_;
};

}  // namespace arc
