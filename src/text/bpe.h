// Byte pair encoding (Sennrich et al. 2016), byte-level and SentencePiece-like, as the `tokenizers` library defines it:
// the pair of neighbours with the lowest rank is merged first, the leftmost of equals.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "text/vocabulary.h"

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
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::unordered_map<std::string, std::vector<int32_t>, Hash, std::equal_to<>> words;  // pieces met before
};

class Bpe {
 public:
  // `merges` in order of rank. Throws Error(corrupt_data) when a merge speaks of a token that the vocabulary lacks.
  Bpe(Vocabulary vocabulary, const std::vector<MergeEntry>& merges, BpeOptions options);

  // Appends the ids of one piece (valid UTF-8, shorter than 2 GiB). O(n log n) in its length.
  void encode(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }
  const BpeOptions& options() const { return options_; }

 private:
  struct Merge {
    uint32_t rank = 0;
    int32_t merged_id = 0;
  };

  void add_merge(const MergeEntry& merge, uint32_t rank);
  void find_word_starts();
  void encode_word(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const;
  void start_symbols(std::string_view word, BpeScratch& scratch) const;
  bool add_bytes(std::string_view character, BpeScratch& scratch) const;
  void merge_symbols(BpeScratch& scratch) const;
  const Merge* find_merge(int32_t left, int32_t right) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  std::optional<int32_t> unk_id_;
  std::vector<int32_t> byte_ids_;  // with byte_fallback: of <0x00> to <0xFF>, -1 for a missing one
  std::unordered_map<uint64_t, Merge> merges_;
  // Where a long piece can be cut without changing its ids: before "▁", unless the character in front of it is one that
  // some token holds in front of a "▁".
  bool has_word_starts_ = false;
  std::unordered_set<char32_t> joined_before_mark_;
};

}  // namespace arc
