// Tokenizers from SentencePiece models: their own normalization, and BPE or Unigram as SentencePiece runs them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "text/chars_map.h"
#include "text/sentencepiece_model.h"
#include "text/trie.h"

namespace arc {

struct TokenizerParts;

// What SentencePiece does to a text before it is cut.
class SentencePieceNormalizer {
 public:
  explicit SentencePieceNormalizer(const SentencePieceModel& model);

  // `text` is valid UTF-8. Throws Error(invalid_argument) when the result would be longer than 1 GiB.
  std::string apply(std::string_view text) const;

 private:
  struct Rewritten {
    size_t size = 0;  // of the text that `result` is for
    std::string_view result;
  };
  Rewritten first(std::string_view text) const;

  CharsMap map_;
  Trie user_defined_;  // pieces that stay as they are
  std::string space_;
  bool add_dummy_prefix_ = true, remove_extra_whitespaces_ = true, whitespace_as_suffix_ = false;
};

// Its place among the steps of a Normalizer.
struct SentencePieceStep {
  std::shared_ptr<const SentencePieceNormalizer> normalizer;
};

struct SentencePieceOptions {
  bool add_bos = false, add_eos = false;  // where the model has such a token
  // The added space goes before the whole text only, not before what follows a special token, and not before a space:
  // what transformers calls `legacy: false`.
  bool prefix_first_only = false;
};

// Control pieces and the unknown one become special tokens. Throws Error(unsupported) for models of words or characters
// and for what merging cannot express, and Error(corrupt_data).
TokenizerParts tokenizer_of_pieces(const SentencePieceModel& model, const SentencePieceOptions& options);

}  // namespace arc
