// Rows of one expert as a block's tokens: its weights are read once for all of them.
#pragma once

#include "kernels/cuda/expert_groups.cuh"
#include "kernels/cuda/product.cuh"

namespace arc::cuda {

struct ExpertRows : Product {
  ExpertChoices choices;
  ExpertGroups groups;  // in tiles of as many rows as a block has
};

// As Work, for a tile of up to kTiles * kTokens rows. grid: (blocks of 16 rows, at most as many tiles as there are).
template <int kTiles>
struct ExpertWork {
  using Call = ExpertRows;
  int64_t row, n_tokens = 0, matrix = 0;  // no tokens: nothing is to be done
  bool elsewhere = false;                 // an expert of another shard
  const int32_t* pairs = nullptr;         // of the tokens
  const float* x_rows[kTiles] = {};       // of the lane's tokens: every eighth

  __device__ __forceinline__ ExpertWork(const ExpertRows& p, int) : row(static_cast<int64_t>(blockIdx.x) * kRows) {
    const int at = static_cast<int>(blockIdx.y);
    if (at >= p.groups.totals->all_tiles) return;
    const ExpertTile tile = p.groups.tiles[at];
    const int before = (at - tile.first_tile) * kTiles * kTokens;
    n_tokens = tile.n_rows - before;
    matrix = tile.expert;
    elsewhere = matrix >= p.w.count;
    pairs = p.groups.pairs + tile.first_row + before;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const int t = i * kTokens + static_cast<int>(threadIdx.x) % kWarp / 4;
      if (t < n_tokens) x_rows[i] = at_choice(p.x, p, t, p.in_step);
    }
  }
  __device__ __forceinline__ const float* x_row(const ExpertRows&, int tile, int) const { return x_rows[tile]; }
  __device__ __forceinline__ float* y_row(const ExpertRows& p, int64_t i) const {
    return at_choice(p.y, p, i, p.out_step);
  }
  __device__ __forceinline__ const uint8_t* weights_of(const ExpertRows& p, int i) const {
    const int64_t in_all = (elsewhere ? 0 : matrix) * p.w.out + min(row + i, p.w.out - 1);
    return static_cast<const uint8_t*>(p.w.data) + in_all * p.row_bytes;
  }

 private:
  __device__ __forceinline__ float* at_choice(const Rows& rows, const ExpertRows& p, int64_t i, int step) const {
    const int pair = pairs[i], token = pair / p.choices.top_k;
    return rows.row(token) + (pair - token * p.choices.top_k) * step;
  }
};

}  // namespace arc::cuda
