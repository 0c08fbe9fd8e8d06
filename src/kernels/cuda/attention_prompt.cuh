// Attention of a prompt's tokens, heads of 64 or 128 coordinates. Tiles are those of a raw bf16 cache, or of any other
// as bf16 in scratch memory, some heads at a time.
//
// Queries and weights are rounded to bf16. A row's sums run over spans of kSpan positions, in ascending order. Segments
// of kSegmentSpans spans have sums of their own, which are joined in ascending order: the same bits whether one block
// walks all segments, or each has a block (few tokens, long context). All are aligned to position 0, whatever else the
// step computes. The tiles that a row reads open are a segment behind all others.
#pragma once

#include "kernels/cuda/attention_unpack.cuh"
#include "kernels/cuda/hopper.cuh"

namespace arc::cuda::prompt {

inline constexpr int kTokens = 128;  // of a block
inline constexpr int kSpan = 128;    // positions whose scores are there at once: kPages tiles of the cache
inline constexpr int kPages = kSpan / kTileTokens;
inline constexpr int kSegmentSpans = 16;
inline constexpr float kLog2e = 1.4426950408889634f;

// Some prompts, whose rows are among the last `n_rows`, and query heads.
// c.a.parts: [segments, rows, heads, kDim + 2]: sums, largest, mass. Null: one block walks all segments.
struct Call {
  AttendCall a;
  Unpacked unpacked;  // the prompts, and their tiles, if the cache is not bf16
  int64_t n_rows = 0;
  int32_t first_head = 0, n_heads = 0;
  int32_t n_segments = 0;  // of closed tiles
  bool rounded = false;    // rows of a.out hold bf16
  CUtensorMap cache;       // [rows, 64 columns, halves]: all of the layer's memory
};

// How totals and a segment that joins them are weighted.
struct Blend {
  float top, keep, take;

  __device__ __forceinline__ Blend(float total_top, float part_top) : top(fmaxf(total_top, part_top)) {
    const float base = top == -INFINITY ? 0.0f : top;
    keep = exp2_of(total_top - base), take = exp2_of(part_top - base);
  }
  __device__ __forceinline__ float of(float total, float part) const { return __fmaf_rn(part, take, total * keep); }
};

// What a row's sums are multiplied with at the end. A sink joins last.
__device__ __forceinline__ float share_of(const AttendCall& c, int head, float top, float mass) {
  if (c.sinks == nullptr) return 1.0f / mass;
  const float sink = c.sinks[head] * kLog2e, both = fmaxf(top, sink), keep = exp2_of(top - both);
  return keep / __fmaf_rn(mass, keep, exp2_of(sink - both));
}

template <int kDim>
__device__ __forceinline__ float* part_of(const AttendCall& c, int64_t segment, int64_t t, int head) {
  return c.parts + ((segment * c.q.rows + t) * c.a.heads + head) * (kDim + 2);
}

// Blocks of kTokens tokens and a head. grid: (heads, blocks, segments or 1).
template <int kDim>
void attend_blocks(const Call& call, const dim3& grid, cudaStream_t stream);

}  // namespace arc::cuda::prompt
