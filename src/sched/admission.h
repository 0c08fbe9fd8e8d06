// The arithmetic of admission: how many blocks something needs, and how many tokens fit. Pure functions.
#pragma once

#include <array>
#include <cstdint>

#include "kv/cache_geometry.h"

namespace arc {

using GroupCounts = std::array<int32_t, kMaxCacheGroups>;

// Blocks that one sequence of `n_positions` holds at the worst moment when it is computed one token at a time.
int32_t peak_blocks(const CacheGroup& group, int32_t n_positions);

// Throws Error(resource) that names both numbers when a sequence of `n_positions` could never fit, even alone.
void check_fits_alone(const CacheGeometry& geometry, int32_t n_positions);

// What decides a sequence's need in one group that is not a state group.
struct TableState {
  int32_t end = 0;         // index after the last block held
  int32_t n_computed = 0;  // positions
  bool must_copy = false;  // the block of position n_computed is shared and must be copied before it is written
};

// Blocks to take so that `n_tokens` more positions can be written.
int32_t blocks_to_take(const CacheGroup& group, const TableState& table, int32_t n_tokens);

// The largest number of tokens up to `n_tokens` for which `n_available` blocks suffice.
int32_t tokens_that_fit(const CacheGroup& group, const TableState& table, int32_t n_tokens, int32_t n_available);

}  // namespace arc
