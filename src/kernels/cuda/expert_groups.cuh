// Tokens' choices sorted by expert, on the device and without the host.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/limits.h"

namespace arc::cuda {

// What tokens chose: a pair is token * top_k + choice. Experts from `first` on are here, `experts` of them.
struct ExpertChoices {
  Rows ids;  // [T, top_k] i32
  int32_t top_k = 0, first = 0, experts = 0;

  int64_t n_pairs() const { return ids.rows * top_k; }
};

// Up to a tile's rows of one expert, of which `n_rows` lie from first_row on, cut into tiles from first_tile on.
struct alignas(16) ExpertTile {
  int32_t expert, first_tile, first_row, n_rows;
};
struct ExpertTotals {
  int32_t tiles, rows;  // of experts that are here; those of others lie behind, as if of one more
  int32_t all_tiles;
};

// Pairs in the order of experts, those of an expert in their own order.
struct ExpertGroups {
  int32_t* rows = nullptr;      // [pairs]: where a pair lies in that order
  int32_t* pairs = nullptr;     // [pairs]: which pair lies there
  ExpertTile* tiles = nullptr;  // at most max_expert_tiles()
  ExpertTotals* totals = nullptr;
};

inline constexpr int64_t kMaxPairs = 1 << 16, kLeastTile = 8;
inline constexpr int64_t max_expert_tiles(int64_t pairs, int64_t experts, int64_t tile) {
  return pairs / tile + (pairs <= experts ? pairs : experts + 1);
}
inline constexpr int64_t kExpertGroupsBytes =
    (256 + 2 * kMaxPairs * 4 + max_expert_tiles(kMaxPairs, kMaxExperts, kLeastTile) * 16 + 1023) / 1024 * 1024;

// At most kMaxPairs of at most kMaxExperts, in tiles of at least kLeastTile rows. `scratch` has kExpertGroupsBytes.
ExpertGroups group_by_expert(const ExpertChoices& choices, int tile, std::byte* scratch, cudaStream_t stream);

}  // namespace arc::cuda
