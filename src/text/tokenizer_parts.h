// What a tokenizer is made of. Each stage is a value; every file format (tokenizer.json, SentencePiece, tekken,
// tiktoken, GGUF metadata) fills this struct, and Tokenizer knows no format.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/unigram.h"
#include "text/wordpiece.h"

namespace arc {

using Model = std::variant<Bpe, Unigram, WordPiece, WordLevel>;

inline const Vocabulary& vocabulary_of(const Model& model) {
  return std::visit([](const auto& kind) -> const Vocabulary& { return kind.vocabulary(); }, model);
}

struct SpecialTokens {
  std::optional<int32_t> bos, eos, pad, unk;
  std::vector<int32_t> stop;  // generation ends with any of them; sorted
};

struct TokenizerParts {
  std::vector<AddedToken> added_tokens;  // ids are final
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Model model;
  PostProcessor post_processor;
  Decoder decoder;
  SpecialTokens special;
};

}  // namespace arc
