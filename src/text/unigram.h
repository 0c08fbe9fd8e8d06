// Unigram language model (Kudo 2018): of all ways to cut a piece into tokens, the one with the largest sum of scores
// (Viterbi), as the `tokenizers` library defines it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/trie.h"
#include "text/vocabulary.h"

namespace arc {

// Text, log probability; the place in the list is the id. A token whose score is no number stands for no text.
using ScoredToken = std::pair<std::string, double>;

struct UnigramOptions {
  std::optional<int64_t> unk_id;    // of neighbouring characters without a token; needed only where there are any
  bool byte_fallback = false;       // they become tokens <0x00> to <0xFF>, if all their bytes have one
  std::optional<double> unk_score;  // of such a character; by default 10 below the lowest score
  // As SentencePiece itself (0.2.3) does it: sums are rounded to float and start anew beyond 100,000, and unknown
  // characters that together spell a token stay unknown.
  bool as_sentencepiece = false;
};

// What one call of `Tokenizer::encode` reuses from piece to piece. Only Unigram looks inside.
struct UnigramScratch {
  struct Best {  // the best way to a position
    double score = 0;
    int32_t id = -1, begin = -1;
  };
  std::vector<Best> best;
};

class Unigram {
 public:
  // Throws Error(corrupt_data): an unk_id that is no token, a token of over 1 KiB. Of equal texts the last counts.
  Unigram(const std::vector<ScoredToken>& tokens, UnigramOptions options);

  // Appends the ids of one piece (valid UTF-8, shorter than 2 GiB). Linear in its length. Throws
  // Error(invalid_argument) when a character has no token and there is no unk.
  void encode(std::string_view piece, UnigramScratch& scratch, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  void find_best(std::string_view piece, UnigramScratch& scratch) const;
  void append(std::string_view text, bool unknown, std::vector<int32_t>& ids) const;

  Vocabulary vocabulary_;
  std::vector<double> scores_;  // by id
  Trie trie_;
  UnigramOptions options_;
  std::vector<int32_t> byte_ids_;  // with byte_fallback: of <0x00> to <0xFF>, -1 for a missing one
  double unk_score_ = 0;
};

}  // namespace arc
