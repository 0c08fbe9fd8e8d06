// The ids of words met before in a text. Words and ids lie one after the other, so a new word costs no allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace arc {

class WordCache {
 public:
  // Empty: not met, or forgotten. The ids stay where they are until the next `add`.
  std::span<const int32_t> find(std::string_view word) const {
    const Entry& entry = entries_[place(word)];
    if (word_of(entry) != word) return {};
    return std::span(ids_).subspan(entry.ids, entry.n_ids);
  }

  // Takes the place of another word with the same hash. Long words and those without ids are not kept.
  void add(std::string_view word, std::span<const int32_t> ids) {
    if (word.size() > kMaxWordBytes || ids.empty()) return;
    if (bytes_.size() > kMaxBytes) *this = {};
    if (++n_added_ > entries_.size() && entries_.size() < kMaxPlaces) grow();
    entries_[place(word)] = {static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(ids_.size()),
                             static_cast<uint32_t>(word.size()), static_cast<uint32_t>(ids.size())};
    bytes_ += word;
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  }

 private:
  static constexpr size_t kMaxPlaces = 1 << 14;  // powers of two
  static constexpr size_t kMaxWordBytes = 256;
  static constexpr size_t kMaxBytes = 1 << 22;

  struct Entry {
    uint32_t word = 0, ids = 0;  // where they begin
    uint32_t n_bytes = 0, n_ids = 0;
  };

  size_t place(std::string_view word) const { return std::hash<std::string_view>()(word) & (entries_.size() - 1); }
  std::string_view word_of(const Entry& entry) const {
    return std::string_view(bytes_).substr(entry.word, entry.n_bytes);
  }

  void grow() {
    std::vector<Entry> old(4 * entries_.size());
    std::swap(old, entries_);
    for (const Entry& entry : old) {
      if (entry.n_ids > 0) entries_[place(word_of(entry))] = entry;
    }
  }

  std::vector<Entry> entries_ = std::vector<Entry>(64);
  std::string bytes_;
  std::vector<int32_t> ids_;
  size_t n_added_ = 0;
};

}  // namespace arc
