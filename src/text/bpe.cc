#include "text/bpe.h"

#include <algorithm>

#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"

namespace arc {
namespace {

constexpr std::string_view kMark = "\u2581";  // SentencePiece's space
constexpr size_t kMaxCachedBytes = 256;       // longer pieces are not remembered
constexpr size_t kMaxCachedPieces = 1 << 16;

uint64_t pair_key(int32_t left, int32_t right) {
  return (uint64_t{static_cast<uint32_t>(left)} << 32) | static_cast<uint32_t>(right);
}

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, const std::vector<MergeEntry>& merges, BpeOptions options)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
  if (!options_.unk_token.empty()) {
    unk_id_ = vocabulary_.find(options_.unk_token);
    if (!unk_id_) {
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("tokenizer: unk_token `{}` is not in the vocabulary", options_.unk_token));
    }
  }
  if (options_.byte_fallback) {
    for (int b = 0; b < 256; ++b) byte_ids_.push_back(vocabulary_.find(fmt::format("<0x{:02X}>", b)).value_or(-1));
  }
  merges_.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) add_merge(merges[i], static_cast<uint32_t>(i));
  find_word_starts();
}

void Bpe::add_merge(const MergeEntry& merge, uint32_t rank) {
  const auto known = [&](const std::string& text) {
    const auto id = vocabulary_.find(text);
    if (id) return *id;
    throw Error(ErrorCode::corrupt_data, fmt::format("tokenizer: merge {} (`{}` `{}`) needs token `{}`, which the "
                                                     "vocabulary lacks",
                                                     rank, merge.first, merge.second, text));
  };
  const int32_t left_id = known(merge.first), right_id = known(merge.second);
  const size_t prefix_size = std::min(options_.continuing_subword_prefix.size(), merge.second.size());
  merges_.insert_or_assign(pair_key(left_id, right_id),
                           Merge{rank, known(merge.first + merge.second.substr(prefix_size))});
}

void Bpe::find_word_starts() {
  // Every character must give a token of its own: where unknown ones vanish, their neighbours meet.
  has_word_starts_ = vocabulary_.find(kMark) && !byte_ids_.empty() && std::ranges::count(byte_ids_, -1) == 0 &&
                     !options_.ignore_merges && options_.continuing_subword_prefix.empty() &&
                     options_.end_of_word_suffix.empty();
  for (const auto& [pair, merge] : merges_) {
    const std::string& text = *vocabulary_.text(merge.merged_id);
    char32_t before = 0;
    for (size_t i = 0; i < text.size();) {
      if (i > 0 && std::string_view(text).substr(i).starts_with(kMark)) joined_before_mark_.insert(before);
      before = utf8_decode(text, i);
    }
  }
  if (joined_before_mark_.contains('>'))
    has_word_starts_ = false;  // a token for a byte, "<0x0A>", may be what is meant
}

void Bpe::encode(std::string_view piece, BpeScratch& scratch, std::vector<int32_t>& ids) const {
  if (!has_word_starts_) return encode_word(piece, scratch, ids);
  size_t start = 0;
  for (size_t mark = piece.find(kMark, 1); mark != piece.npos; mark = piece.find(kMark, mark + 1)) {
    size_t before = mark - 1;
    while ((piece[before] & 0xC0) == 0x80) --before;
    if (joined_before_mark_.contains(utf8_decode(piece, before))) continue;
    encode_word(piece.substr(start, mark - start), scratch, ids);
    start = mark;
  }
  encode_word(piece.substr(start), scratch, ids);
}

void Bpe::encode_word(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const {
  if (options_.ignore_merges) {
    if (const auto whole = vocabulary_.find(word)) return ids.push_back(*whole);
  }
  const auto met = scratch.words.find(word);
  if (met != scratch.words.end()) {
    ids.insert(ids.end(), met->second.begin(), met->second.end());
    return;
  }
  start_symbols(word, scratch);
  merge_symbols(scratch);
  const size_t n_before = ids.size();
  for (const auto& symbol : scratch.symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
  if (word.size() <= kMaxCachedBytes && scratch.words.size() < kMaxCachedPieces) {
    scratch.words.emplace(word, std::vector(ids.begin() + static_cast<std::ptrdiff_t>(n_before), ids.end()));
  }
}

void Bpe::start_symbols(std::string_view word, BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  bool unk_waits = false;  // an unk is placed only when a known character follows, as in `tokenizers`
  const auto place_unk = [&] {
    if (unk_waits) symbols.push_back({.id = *unk_id_});
    unk_waits = false;
  };
  std::string decorated;
  for (size_t i = 0; i < word.size();) {
    const size_t begin = i;
    utf8_decode(word, i);
    std::string_view character = word.substr(begin, i - begin);
    const bool prefixed = begin > 0 && !options_.continuing_subword_prefix.empty();
    const bool suffixed = i == word.size() && !options_.end_of_word_suffix.empty();
    if (prefixed || suffixed) {
      decorated = prefixed ? options_.continuing_subword_prefix : "";
      decorated += character;
      if (suffixed) decorated += options_.end_of_word_suffix;
      character = decorated;
    }
    if (const auto id = vocabulary_.find(character)) {
      place_unk();
      symbols.push_back({.id = *id});
    } else if (!add_bytes(character, scratch) && unk_id_) {
      if (!options_.fuse_unk) place_unk();
      unk_waits = true;
    }
  }
  place_unk();
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = static_cast<int32_t>(i) - 1;
    symbols[i].next = i + 1 < symbols.size() ? static_cast<int32_t>(i) + 1 : -1;
  }
}

// Appends the character's bytes as tokens, unless one of them has none.
bool Bpe::add_bytes(std::string_view character, BpeScratch& scratch) const {
  if (!options_.byte_fallback) return false;
  const auto id_of = [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)]; };
  if (!std::all_of(character.begin(), character.end(), [&](char byte) { return id_of(byte) >= 0; })) return false;
  for (const char byte : character) scratch.symbols.push_back({.id = id_of(byte)});
  return true;
}

void Bpe::merge_symbols(BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  heap.clear();
  const auto candidate_at = [&](int32_t position) -> std::optional<BpeScratch::Candidate> {
    const auto& symbol = symbols[static_cast<size_t>(position)];
    if (symbol.next < 0) return std::nullopt;
    const Merge* merge = find_merge(symbol.id, symbols[static_cast<size_t>(symbol.next)].id);
    if (merge == nullptr) return std::nullopt;
    return BpeScratch::Candidate{merge->rank, position, merge->merged_id};
  };
  const auto push = [&](int32_t position) {
    if (position < 0) return;
    if (const auto candidate = candidate_at(position)) {
      heap.push_back(*candidate);
      std::push_heap(heap.begin(), heap.end());
    }
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    if (const auto candidate = candidate_at(static_cast<int32_t>(i))) heap.push_back(*candidate);
  }
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    const BpeScratch::Candidate top = heap.front();
    std::pop_heap(heap.begin(), heap.end());
    heap.pop_back();
    auto& left = symbols[static_cast<size_t>(top.position)];
    if (left.id < 0) continue;
    // The pair may have changed since. As in `tokenizers`, what counts is that it still gives the same token.
    const auto now = candidate_at(top.position);
    if (!now || now->merged_id != top.merged_id) continue;
    auto& right = symbols[static_cast<size_t>(left.next)];
    left.id = top.merged_id;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = top.position;
    push(left.previous);
    push(top.position);
  }
}

const Bpe::Merge* Bpe::find_merge(int32_t left, int32_t right) const {
  const auto it = merges_.find(pair_key(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

}  // namespace arc
