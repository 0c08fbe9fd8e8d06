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

// The tiles of a sequence that this step fills.
struct Filled {
  int first = 0, count = 0;

  __device__ Filled(const SealCall& c, int sequence) {
    if (c.q_start[sequence] == c.q_start[sequence + 1]) return;
    first = c.positions[c.q_start[sequence]] / kTileTokens;
    count = max(0, c.seq_lens[sequence] / kTileTokens - first);
  }
};

// A tile of a sequence, and a head's part of it, open and packed.
struct SealTile {
  int sequence = -1, tile = 0;  // -1: none

  __device__ SealTile(int sequence, int tile) : sequence(sequence), tile(tile) {}
  // The i-th of all that this step fills.
  __device__ SealTile(const SealCall& c, int i) {
    for (int s = 0; s < c.n_seqs; ++s) {
      const Filled filled(c, s);
      if (i < filled.count) {
        sequence = s;
        tile = filled.first + i;
        return;
      }
      i -= filled.count;
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
