// WordPiece (Schuster, Nakajima 2012; BERT's greedy longest match first) and WordLevel (a word is a token, or unknown),
// as the `tokenizers` library defines them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/trie.h"
#include "text/vocabulary.h"

namespace arc {

struct WordPieceOptions {
  std::string unk_token = "[UNK]";
  std::string continuing_subword_prefix = "##";  // before every token of a word but the first
  int64_t max_input_chars_per_word = 100;        // a longer word is unknown
};

// Both throw Error(invalid_argument) when a text needs the unknown token and the vocabulary has none.
class WordPiece {
 public:
  // Throws Error(corrupt_data) on a token of over 1 KiB.
  WordPiece(Vocabulary vocabulary, WordPieceOptions options);

  // Appends the ids of one word (valid UTF-8). Linear in its length.
  void encode(std::string_view word, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  WordPieceOptions options_;
  Trie trie_;
  int32_t continued_ = Trie::kNowhere;  // where tokens that continue a word start in the trie
};

class WordLevel {
 public:
  WordLevel(Vocabulary vocabulary, std::string unk_token)
      : vocabulary_(std::move(vocabulary)), unk_token_(std::move(unk_token)) {}

  void encode(std::string_view word, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  std::string unk_token_;
};

}  // namespace arc
