#include "text/detokenizer.h"

#include "text/tokenizer.h"

namespace arc {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), state_(tokenizer.decoder().start()), skip_special_(skip_special) {}

void Detokenizer::prime(std::span<const int32_t> ids) {
  for (const int32_t id : ids) push(id);
}

std::string Detokenizer::push(int32_t id) {
  std::string text;
  const std::string* token = tokenizer_->token_text(id);
  if (token == nullptr || (skip_special_ && tokenizer_->is_special(id))) return text;
  tokenizer_->decoder().push(*token, state_, text);
  return text;
}

std::string Detokenizer::finish() {
  std::string text;
  tokenizer_->decoder().finish(state_, text);
  return text;
}

}  // namespace arc
