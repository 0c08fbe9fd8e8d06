// Prefill: which tokens and heads a block of attention has.
#pragma once

#include "kernels/cuda/attention_tile.cuh"

namespace arc::cuda::attention {

// The sequence and its first token of block `tile`, when each sequence with several tokens has blocks of `per_block`
// tokens of its own; -1: none.
__device__ __forceinline__ int find_tokens(const Call& c, int tile, int per_block, int& first_token) {
  for (int s = 0; s < c.n_seqs; ++s) {
    const int n = c.q_start[s + 1] - c.q_start[s], tiles = n > 1 ? (n + per_block - 1) / per_block : 0;
    if (tile < tiles) {
      first_token = c.q_start[s] + tile * per_block;
      return s;
    }
    tile -= tiles;
  }
  return -1;
}

// Up to `rows` rows: head by head of a token, then the next token. grid: (chunks of heads, blocks of tokens).
struct TokenBlock {
  int s, first_token = 0, last_token = 0, per_block;
  Heads heads;

  __device__ TokenBlock(const Call& c, int rows) : per_block(rows / c.chunk_heads), heads(c, blockIdx.x) {
    s = find_tokens(c, gridDim.y - 1 - blockIdx.y, per_block, first_token);
    if (s >= 0) last_token = min(first_token + per_block, c.q_start[s + 1]) - 1;
  }
  // -1: there is no such row.
  __device__ __forceinline__ int token_of(const Call& c, int row) const {
    const int t = first_token + row / c.chunk_heads;
    return row < per_block * c.chunk_heads && t <= last_token && row % c.chunk_heads < heads.count ? t : -1;
  }
  __device__ __forceinline__ int head_of(const Call& c, int row) const { return heads.first + row % c.chunk_heads; }
};

}  // namespace arc::cuda::attention
