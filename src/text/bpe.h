// Byte pair encoding (Sennrich et al. 2016), byte-level and SentencePiece-like: the pair of neighbours with the lowest
// rank is merged first, the leftmost of equals. Ranks are those of a list of pairs, as the `tokenizers` library has it,
// or those of the tokens that pairs join to, as SentencePiece and tiktoken have it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "text/merge_table.h"
#include "text/trie.h"
#include "text/vocabulary.h"
#include "text/word_cache.h"

namespace arc {

struct BpeOptions {
  std::string unk_token;                  // empty: unknown characters vanish
  std::string continuing_subword_prefix;  // before every character of a word but the first
  std::string end_of_word_suffix;         // after a word's last character
  bool fuse_unk = false;                  // neighbouring unknown characters give one unk
  bool byte_fallback = false;             // unknown characters become tokens <0x00> to <0xFF>
  bool ignore_merges = false;             // a piece that is a token stays whole
};

using MergeEntry = std::pair<std::string, std::string>;

// What one call of `Tokenizer::encode` reuses from piece to piece. Only Bpe looks inside.
struct BpeScratch {
  struct Symbol {
    int32_t id = 0;  // -1: merged into a neighbour
    int32_t previous = -1, next = -1;
  };
  struct Candidate {
    uint32_t rank = 0;
    int32_t position = 0, merged_id = 0;
    bool operator<(const Candidate& other) const {  // the top of a heap is the largest
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  std::vector<int32_t> ids;     // of one word, while they merge
  std::vector<Symbol> symbols;  // the same of a long word, linked
  std::vector<Candidate> heap;
  WordCache words;  // met before
};

class Bpe {
 public:
  // `merges` in order of rank. Throws Error(corrupt_data) when a merge speaks of a token that the vocabulary lacks.
  Bpe(Vocabulary vocabulary, const std::vector<MergeEntry>& merges, BpeOptions options);

  // Every two neighbours that join to a token merge; `ranks` are the tokens' by id. One of kNoRank takes no part:
  // nothing joins to it and it joins to nothing. The tokens `whole`, which should be such, are cut out of a piece
  // first, the longest from left to right. Throws Error(corrupt_data) when the tokens are too long to look for all
  // their halves.
  Bpe(Vocabulary vocabulary, std::span<const uint32_t> ranks, std::span<const int32_t> whole, BpeOptions options);
  static constexpr uint32_t kNoRank = UINT32_MAX;

  // Appends the ids of one piece (valid UTF-8, shorter than 2 GiB). O(n log n) in its length.
  void encode(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const BpeOptions& options() const { return options_; }

 private:
  Bpe(Vocabulary vocabulary, BpeOptions options);
  void add_merge(const MergeEntry& merge, uint32_t rank);
  void add_halves(int32_t id, std::span<const uint32_t> ranks);
  void note_marks(std::string_view token);
  void find_word_starts();
  void encode_word(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const;
  void start_ids(std::string_view word, std::vector<int32_t>& ids) const;
  bool add_bytes(std::string_view character, std::vector<int32_t>& ids) const;
  void merge_short(std::vector<int32_t>& ids) const;
  void merge_long(BpeScratch& scratch) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  std::optional<int32_t> unk_id_;
  std::vector<int32_t> byte_ids_;             // with byte_fallback: of <0x00> to <0xFF>, -1 for a missing one
  std::array<int32_t, 0x180> character_ids_;  // of the first code points (the byte-level alphabet among them), or -1
  MergeTable merges_;
  Trie whole_;
  bool has_whole_ = false;
  // Where a long piece can be cut without changing its ids: before "▁", unless the character in front of it is one that
  // some token holds in front of a "▁".
  bool has_word_starts_ = false;
  std::unordered_set<char32_t> joined_before_mark_;
};

}  // namespace arc
