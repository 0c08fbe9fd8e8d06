#include "text/bpe.h"

#include <algorithm>

#include "fmt/format.h"

#include "base/error.h"
#include "base/utf8.h"

namespace arc {
namespace {

constexpr std::string_view kMark = "\u2581";    // SentencePiece's space
constexpr size_t kMaxShort = 32;                // symbols that are merged without a heap
constexpr size_t kMaxHalves = size_t{1} << 30;  // bytes looked at for the halves of all tokens

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, BpeOptions options) : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
  if (!options_.unk_token.empty()) {
    unk_id_ = vocabulary_.find(options_.unk_token);
    if (!unk_id_) {
      throw Error(ErrorCode::corrupt_data,
                  fmt::format("tokenizer: unk_token `{}` is not in the vocabulary", options_.unk_token));
    }
  }
  if (options_.byte_fallback) byte_ids_ = vocabulary_.byte_tokens();
  for (size_t c = 0; c < character_ids_.size(); ++c) {
    std::string character;
    utf8_append(character, static_cast<char32_t>(c));
    character_ids_[c] = vocabulary_.find(character).value_or(-1);
  }
}

Bpe::Bpe(Vocabulary vocabulary, const std::vector<MergeEntry>& merges, BpeOptions options)
    : Bpe(std::move(vocabulary), std::move(options)) {
  for (size_t i = 0; i < merges.size(); ++i) add_merge(merges[i], static_cast<uint32_t>(i));
  find_word_starts();
}

Bpe::Bpe(Vocabulary vocabulary, std::span<const uint32_t> ranks, std::span<const int32_t> whole, BpeOptions options)
    : Bpe(std::move(vocabulary), std::move(options)) {
  size_t n_halves = 0;
  for (size_t id = 0; id < ranks.size(); ++id) {
    const std::string* text = vocabulary_.text(static_cast<int32_t>(id));
    if (text == nullptr || ranks[id] == kNoRank) continue;
    n_halves += text->size() * text->size();
    if (n_halves > kMaxHalves) throw Error(ErrorCode::corrupt_data, "tokenizer: the vocabulary's tokens are too long");
    add_halves(static_cast<int32_t>(id), ranks);
  }
  std::vector<Trie::Entry> cut;
  for (const int32_t id : whole) {
    cut.emplace_back(*vocabulary_.text(id), id);
    note_marks(*vocabulary_.text(id));
  }
  has_whole_ = !cut.empty();
  whole_ = Trie(std::move(cut));
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
  const int32_t merged_id = known(merge.first + merge.second.substr(prefix_size));
  merges_.set(left_id, right_id, {rank, merged_id});
  note_marks(*vocabulary_.text(merged_id));
}

// Every way to join two tokens to this one.
void Bpe::add_halves(int32_t id, std::span<const uint32_t> ranks) {
  const std::string_view text = *vocabulary_.text(id);
  const auto half = [&](std::string_view part) {
    const auto found = vocabulary_.find(part);
    const bool takes_part =
        found && static_cast<size_t>(*found) < ranks.size() && ranks[static_cast<size_t>(*found)] != kNoRank;
    return takes_part ? found : std::nullopt;
  };
  size_t middle = 0;
  for (utf8_decode(text, middle); middle < text.size(); utf8_decode(text, middle)) {
    const auto left = half(text.substr(0, middle));
    const auto right = left ? half(text.substr(middle)) : std::nullopt;
    if (right) merges_.set(*left, *right, {ranks[static_cast<size_t>(id)], id});
  }
  note_marks(text);
}

void Bpe::note_marks(std::string_view token) {
  for (size_t mark = token.find(kMark, 1); mark != token.npos; mark = token.find(kMark, mark + 1)) {
    size_t before = mark - 1;
    while (before > 0 && (token[before] & 0xC0) == 0x80) --before;
    joined_before_mark_.insert(utf8_decode(token, before));
  }
}

void Bpe::find_word_starts() {
  // Every character must give a token of its own: where unknown ones vanish, their neighbours meet. With a token for a
  // byte, "<0x0A>", in a merge, the character before the mark is not what its text says.
  has_word_starts_ = vocabulary_.find(kMark) && !byte_ids_.empty() && std::ranges::count(byte_ids_, -1) == 0 &&
                     !options_.ignore_merges && options_.continuing_subword_prefix.empty() &&
                     options_.end_of_word_suffix.empty() && !joined_before_mark_.contains('>');
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
  const auto met = scratch.words.find(word);
  if (!met.empty()) {
    ids.insert(ids.end(), met.begin(), met.end());
    return;
  }
  const auto all = options_.ignore_merges ? vocabulary_.find(word) : std::nullopt;
  scratch.ids.clear();
  if (all) {
    scratch.ids.push_back(*all);
  } else {
    start_ids(word, scratch.ids);
    scratch.ids.size() <= kMaxShort ? merge_short(scratch.ids) : merge_long(scratch);
  }
  ids.insert(ids.end(), scratch.ids.begin(), scratch.ids.end());
  scratch.words.add(word, scratch.ids);
}

// The ids of the word's characters, and of its whole tokens.
void Bpe::start_ids(std::string_view word, std::vector<int32_t>& ids) const {
  bool unk_waits = false;  // an unk is placed only when a known character follows, as in `tokenizers`
  const auto place_unk = [&] {
    if (unk_waits) ids.push_back(*unk_id_);
    unk_waits = false;
  };
  std::string decorated;
  for (size_t i = 0; i < word.size();) {
    if (has_whole_) {
      if (const Trie::Match match = whole_.longest(word.substr(i)); match.size > 0) {
        place_unk();
        ids.push_back(match.value);
        i += match.size;
        continue;
      }
    }
    const size_t begin = i;
    const char32_t code_point = utf8_decode(word, i);
    std::string_view character = word.substr(begin, i - begin);
    const bool prefixed = begin > 0 && !options_.continuing_subword_prefix.empty();
    const bool suffixed = i == word.size() && !options_.end_of_word_suffix.empty();
    if (prefixed || suffixed) {
      decorated = prefixed ? options_.continuing_subword_prefix : "";
      decorated += character;
      if (suffixed) decorated += options_.end_of_word_suffix;
      character = decorated;
    }
    const bool is_low = code_point < character_ids_.size() && !prefixed && !suffixed;
    const int32_t id = is_low ? character_ids_[code_point] : vocabulary_.find(character).value_or(-1);
    if (id >= 0) {
      place_unk();
      ids.push_back(id);
    } else if (!add_bytes(character, ids) && unk_id_) {
      if (!options_.fuse_unk) place_unk();
      unk_waits = true;
    }
  }
  place_unk();
}

// Appends the character's bytes as tokens, unless one of them has none.
bool Bpe::add_bytes(std::string_view character, std::vector<int32_t>& ids) const {
  if (!options_.byte_fallback) return false;
  const auto id_of = [&](char byte) { return byte_ids_[static_cast<uint8_t>(byte)]; };
  if (!std::all_of(character.begin(), character.end(), [&](char byte) { return id_of(byte) >= 0; })) return false;
  for (const char byte : character) ids.push_back(id_of(byte));
  return true;
}

// Looks through all pairs for the best, again and again: for a few symbols nothing is faster.
void Bpe::merge_short(std::vector<int32_t>& ids) const {
  static constexpr Merge kNone{.rank = kNoRank};
  std::array<Merge, kMaxShort> merges;  // of symbol i and the next
  const auto merge_at = [&](size_t i) {
    const Merge* merge = i + 1 < ids.size() ? merges_.find(ids[i], ids[i + 1]) : nullptr;
    return merge != nullptr ? *merge : kNone;
  };
  for (size_t i = 0; i < ids.size(); ++i) merges[i] = merge_at(i);
  while (ids.size() > 1) {
    const auto end = merges.begin() + static_cast<std::ptrdiff_t>(ids.size());
    const auto best =
        std::min_element(merges.begin(), end, [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    if (best->rank == kNoRank) return;
    const std::ptrdiff_t at = best - merges.begin();
    ids[static_cast<size_t>(at)] = best->merged_id;
    ids.erase(ids.begin() + at + 1);
    std::copy(best + 2, end, best + 1);
    *best = merge_at(static_cast<size_t>(at));
    if (at > 0) *(best - 1) = merge_at(static_cast<size_t>(at - 1));
  }
}

void Bpe::merge_long(BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  const auto n_symbols = static_cast<int32_t>(scratch.ids.size());
  symbols.clear();
  for (int32_t i = 0; i < n_symbols; ++i) {
    symbols.push_back({scratch.ids[static_cast<size_t>(i)], i - 1, i + 1 < n_symbols ? i + 1 : -1});
  }
  heap.clear();
  const auto candidate_at = [&](int32_t position) -> std::optional<BpeScratch::Candidate> {
    const auto& symbol = symbols[static_cast<size_t>(position)];
    if (symbol.next < 0) return std::nullopt;
    const Merge* merge = merges_.find(symbol.id, symbols[static_cast<size_t>(symbol.next)].id);
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
  for (int32_t i = 0; i + 1 < n_symbols; ++i) {
    if (const auto candidate = candidate_at(i)) heap.push_back(*candidate);
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
  scratch.ids.clear();
  for (const auto& symbol : symbols) {
    if (symbol.id >= 0) scratch.ids.push_back(symbol.id);
  }
}

}  // namespace arc
