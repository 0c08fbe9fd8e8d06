// Tiles of prompts' contexts, from any codec, as bf16 in scratch memory, for attention_prompt.cu.
#pragma once

#include <climits>

#include "kernels/cuda/attention_call.cuh"

namespace arc::cuda {

// Tiles of some sequences and key/value heads: [tile][head][keys, values][kTileTokens, dim]. Null data: none.
struct Unpacked {
  std::byte* data = nullptr;
  int32_t first_seq = 0, n_seqs = 0, first_head = 0, n_heads = 0;

  // A row of `data`: the first of a tile's keys; values are kTileTokens further.
  __device__ __forceinline__ int32_t row_of(int tile, int head) const {
    return (tile * n_heads + head - first_head) * 2 * kTileTokens;
  }
};

// The tiles that queries at positions [first, last] of a sequence read: closed ones [begin, split), then open ones
// [open, end). Where some read open what others read packed, both are there.
struct TileRange {
  int begin, split, open, end;

  __device__ __forceinline__ TileRange(const AttendCall& c, int s, int first, int last)
      : begin(Reach(c, s, first).first / kTileTokens), end(Reach(c, s, last).last / kTileTokens + 1) {
    split = min(end, max(begin, open_from(c, last)));
    open = min(end, max(begin, open_from(c, first)));
  }
  // The first tile that a query at `position` reads open.
  static __device__ __forceinline__ int open_from(const AttendCall& c, int position) {
    return c.open_table == nullptr ? INT_MAX / kTileTokens : position / kTileTokens - c.kv.policy.recent;
  }
};

// Where the tiles of one of the sequences lie in Unpacked: closed tile i at base + i, open tile i at base + open + i.
struct TilePlace {
  TileRange range;
  int base, open;

  // `base`: of the sequence behind the one before.
  __device__ __forceinline__ TilePlace(const AttendCall& c, int s, int base)
      : range(c, s, c.positions[c.q_start[s]], c.positions[c.q_start[s + 1] - 1]),
        base(base - range.begin),
        open(range.split - range.open) {}
  __device__ __forceinline__ int end() const { return base + open + range.end; }
};

// Tiles of Unpacked for contexts of `context_tiles` in all, of which queries have `rows` positions of `n_seqs`
// sequences: at most so many.
inline int64_t unpacked_tiles(const AttendCall& c, int64_t context_tiles, int64_t rows, int64_t n_seqs) {
  return context_tiles + (c.open_table == nullptr ? 0 : rows / kTileTokens + (c.kv.policy.recent + 2) * n_seqs);
}

// `n_tiles`: at least as many as there are.
void unpack_tiles(const AttendCall& c, const Unpacked& to, int64_t n_tiles, cudaStream_t stream);

}  // namespace arc::cuda
