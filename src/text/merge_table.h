// Which two neighbouring tokens merge, and to what: a hash table in one block, as it is looked into for every pair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace arc {

struct Merge {
  uint32_t rank = 0;
  int32_t merged_id = -1;
};

class MergeTable {
 public:
  // Ids are not negative. Of equal pairs the last counts.
  void set(int32_t left, int32_t right, Merge merge) {
    if (2 * (n_ + 1) > entries_.size()) grow();
    Entry& entry = entries_[place(key_of(left, right))];
    if (entry.merge.merged_id < 0) ++n_;
    entry = {key_of(left, right), merge};
  }

  // Null: they do not merge.
  const Merge* find(int32_t left, int32_t right) const {
    const Entry& entry = entries_[place(key_of(left, right))];
    return entry.merge.merged_id < 0 ? nullptr : &entry.merge;
  }

 private:
  struct Entry {
    uint64_t key = 0;
    Merge merge;  // no merged_id: an empty place
  };

  static uint64_t key_of(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }

  // Where the key is, or would go. Half of the places are empty.
  size_t place(uint64_t key) const {
    uint64_t hash = (key ^ key >> 33) * 0xFF51AFD7ED558CCD;
    hash = (hash ^ hash >> 33) * 0xC4CEB9FE1A85EC53;
    size_t i = (hash ^ hash >> 33) & (entries_.size() - 1);
    while (entries_[i].merge.merged_id >= 0 && entries_[i].key != key) i = (i + 1) & (entries_.size() - 1);
    return i;
  }

  void grow() {
    std::vector<Entry> old(2 * entries_.size());
    std::swap(old, entries_);
    for (const Entry& entry : old) {
      if (entry.merge.merged_id >= 0) entries_[place(entry.key)] = entry;
    }
  }

  std::vector<Entry> entries_ = std::vector<Entry>(16);  // a power of two
  size_t n_ = 0;
};

}  // namespace arc
