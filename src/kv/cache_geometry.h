// The shape of the cache in numbers: groups of layers that share one kind of storage, and the blocks each group has.
#pragma once

#include <cstdint>
#include <vector>

#include "quant/kv_policy.h"

namespace arc {

inline constexpr int32_t kNoBlock = -1;
inline constexpr int32_t kDummyBlock = 0;  // of every group: owned by the sequence that pads a batch

// Layers with equal needs and equal cache policy. What a block's bytes mean is the executor's business.
struct CacheGroup {
  enum class Kind : uint8_t {
    full,     // keys and values of every position
    sliding,  // keys and values of the last `window` positions
    latent,   // one latent vector per position
    state,    // one recurrent state per sequence; a block is a state
  };
  Kind kind = Kind::full;
  int32_t tokens_per_block = 64;  // the tile; of a state group: distance of the positions where states are kept
  int32_t window = 0;             // sliding: a query at p sees p - window + 1 to p
  int64_t bytes_per_block = 0;
  int32_t n_blocks = 0;       // on the device, block 0 included
  int32_t n_swap_blocks = 0;  // on the host, for preempted sequences
};

struct CacheGeometry {
  std::vector<CacheGroup> groups;

  // Positions per tile: the unit of prefix reuse.
  int32_t tile_tokens() const;
  // Distance of state checkpoints; 0 without state groups.
  int32_t checkpoint_tokens() const;
};

// Throws Error(invalid_argument) unless there are at most kMaxCacheGroups groups, all non-state groups have one block
// length, all state groups one checkpoint distance that is a multiple of it, and every count is sensible.
void check_geometry(const CacheGeometry& geometry);

// Blocks that `n_tokens` positions fill, the last perhaps in part.
inline int32_t blocks_for_tokens(int32_t n_tokens, int32_t tokens_per_block) {
  return n_tokens / tokens_per_block + (n_tokens % tokens_per_block != 0);
}

// Index of the first block that a sequence with `n_computed` positions still reads. Not for state groups.
int32_t first_needed_block(const CacheGroup& group, int32_t n_computed);

// Whether a sequence that goes on behind a full tile reads it. A window of one token does not: such a group holds what
// belongs to the tile being filled.
inline bool outlives_tile(const CacheGroup& group) {
  return group.window != 1;
}

}  // namespace arc
