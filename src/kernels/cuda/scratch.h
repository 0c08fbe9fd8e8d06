// How much scratch memory device kernels ask for.
#pragma once

#include <cstdint>
#include <cuda_runtime.h>

#include "kernels/api/kernel.h"

namespace arc::cuda {

// Positions of a context that are summed up together; see attention.cu.
inline constexpr int kSegment = 256;
inline constexpr int64_t kFewBlocks = 512;  // fewer blocks than this are split over the context
inline constexpr int64_t kMaxPartsBytes = int64_t{64} << 20;
inline constexpr int64_t kPromptBytes = 2 * kMaxPartsBytes;  // of a product: tokens, and weights or groups, as bf16

// A tile of a head's keys and values as bf16; see attention_unpack.cuh.
constexpr int64_t unpacked_tile_bytes(int64_t dim) {
  return 2 * kTileTokens * dim * 2;
}

// Where segment i starts when long contexts are split by position alone.
constexpr int kShortSegment = 512, kShortSegments = 64, kLongSegment = 1024, kLongFrom = kShortSegments * kShortSegment;
__host__ __device__ constexpr int segment_begin(int i) {
  return i < kShortSegments ? i * kShortSegment : kLongFrom + (i - kShortSegments) * kLongSegment;
}
__host__ __device__ constexpr int segment_of(int position) {
  return position < kLongFrom ? position / kShortSegment : kShortSegments + (position - kLongFrom) / kLongSegment;
}

// Bytes of the parts of `tokens` queries over `segments` segments.
constexpr int64_t attend_parts_bytes(const AttendArgs& a, int64_t tokens, int64_t segments) {
  const int64_t padded_heads = a.heads + 3 * a.kv_heads;  // chunks of four within a group
  return tokens * padded_heads * segments * (a.v_dim + 2) * 4;
}

// The most that a stage may ask for with `tokens` token rows, of sequences of up to `positions`.
int64_t scratch_bytes(const Args& args, int64_t tokens, int64_t positions);

}  // namespace arc::cuda
