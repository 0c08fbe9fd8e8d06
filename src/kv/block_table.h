// Which block holds which positions of one sequence, in one cache group.
#pragma once

#include <cstdint>
#include <vector>

namespace arc {

// Entry i covers positions [(first + i) * B, (first + i + 1) * B) of a group with B tokens per block. Blocks before
// `first` lie behind the window. Of a state group the only entry is the sequence's state.
struct BlockTable {
  int32_t first = 0;
  std::vector<int32_t> blocks;

  int32_t end() const { return first + static_cast<int32_t>(blocks.size()); }
  int32_t at(int32_t index) const { return blocks[index - first]; }
  int32_t& at(int32_t index) { return blocks[index - first]; }

  // Where a position's entry lies in the group's storage, counted in tokens.
  int64_t slot(int32_t position, int32_t tokens_per_block) const {
    return int64_t{at(position / tokens_per_block)} * tokens_per_block + position % tokens_per_block;
  }
};

}  // namespace arc
