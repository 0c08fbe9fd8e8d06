// What the kernels that pack full tiles are given.
#pragma once

#include "kernels/cuda/kv_codec.cuh"

namespace arc::cuda {

struct SealSide {
  KvSide from, to;
  float levels[1 << kMaxGridBits] = {}, borders[1 << kMaxGridBits] = {};
};
struct SealCall {
  SealSide side[2];  // keys, values
  KvView open, packed;
  const int32_t *open_table = nullptr, *packed_table = nullptr;
  int32_t open_stride = 0, packed_stride = 0;
  const int32_t* positions = nullptr;
  const int32_t* q_start = nullptr;
  const int32_t* seq_lens = nullptr;
  int32_t n_seqs = 0;
};

// Tile `i` of those that this step fills, and a head's part of it, open and packed.
struct Filled {
  int sequence = -1, tile = 0;  // -1: there are fewer

  __device__ Filled(const SealCall& c, int i) {
    for (int s = 0; s < c.n_seqs; ++s) {
      if (c.q_start[s] == c.q_start[s + 1]) continue;
      const int first = c.positions[c.q_start[s]] / kTileTokens, n = c.seq_lens[s] / kTileTokens - first;
      if (i < n) {
        sequence = s;
        tile = first + i;
        return;
      }
      i -= max(n, 0);
    }
  }
  __device__ const std::byte* open(const SealCall& c, int64_t head) const {
    const int64_t block = c.open_table[static_cast<int64_t>(sequence) * c.open_stride + tile];
    return c.open.data + block * c.open.block_bytes + head * c.open.head_bytes;
  }
  __device__ std::byte* packed(const SealCall& c, int64_t head) const {
    const int64_t block = c.packed_table[static_cast<int64_t>(sequence) * c.packed_stride + tile];
    return c.packed.data + block * c.packed.block_bytes + head * c.packed.head_bytes;
  }
};

// Packs the sides that are a trellis. `tiles`: at least as many as the step fills.
void seal_trellis(const SealCall& call, int64_t tiles, int32_t kv_heads, cudaStream_t stream);

}  // namespace arc::cuda
