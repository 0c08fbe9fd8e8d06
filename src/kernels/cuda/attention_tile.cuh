// Attention on tensor cores: the order of its sums, and what a warp does with a tile of the cache.
//
// Rows are pairs of a token and a query head; 16 of them meet a tile of 64 positions at a time. Queries and weights are
// taken apart in two bf16, high and low, so a product is exact to 2^-17 of its size. Within a segment of positions,
// weights are relative to the largest score so far; segments are merged in ascending order. What a row sums, and in
// which order, follows from its position alone: attention_many.cu (prefill) and attention_few.cu (decode) give the same
// bits, and so do one block that walks all segments and a block for each.
#pragma once

#include "kernels/cuda/attention_stage.cuh"

namespace arc::cuda::attention {

inline constexpr int kRows = 16;  // of a warp's products
inline constexpr float kLog2e = 1.4426950408889634f;

using Call = AttendCall;

// attend_few() takes the sequences with one token in this step, attend_many() those with several.
template <int kDim, bool kF8>
void attend_few(const Call& c, int processors, cudaStream_t stream);
template <int kDim, bool kF8>
void attend_many(const Call& c, cudaStream_t stream);

// The query heads of a chunk: up to c.chunk_heads of those that share a key/value head.
struct Heads {
  int kv_head, first, count;

  __device__ __forceinline__ Heads(const Call& c, int chunk)
      : kv_head(chunk / c.chunks_per_group),
        first(kv_head * group_of(c) + first_of(c, chunk)),
        count(min(c.chunk_heads, group_of(c) - first_of(c, chunk))) {}

 private:
  __device__ static int group_of(const Call& c) { return c.a.heads / c.a.kv_heads; }
  __device__ static int first_of(const Call& c, int chunk) { return chunk % c.chunks_per_group * c.chunk_heads; }
};

// ---- the order of sums: every function below is written so that the compiler cannot fuse it in one place only ----

// A score in units of log 2.
__device__ __forceinline__ float scaled(const AttendArgs& a, float dot) {
  const float score = __fmul_rn(dot, a.scale);
  return __fmul_rn(a.softcap > 0 ? __fmul_rn(a.softcap, tanhf(__fdiv_rn(score, a.softcap))) : score, kLog2e);
}

// Weights are relative to this when `top` is the largest score so far.
__device__ __forceinline__ float base_of(float top) {
  return top == -INFINITY ? 0.0f : top;
}

// How a sum so far and a part that joins it are weighted.
struct Blend {
  float top, keep, take;
};
__device__ __forceinline__ Blend blend(float top, float part_top) {
  const float both = fmaxf(top, part_top), base = base_of(both);
  return {both, exp2_of(__fsub_rn(top, base)), exp2_of(__fsub_rn(part_top, base))};
}
__device__ __forceinline__ float blended(const Blend& b, float sum, float part) {
  return __fmaf_rn(part, b.take, __fmul_rn(sum, b.keep));
}

// What a row's values are multiplied with at the end. A sink joins last.
__device__ __forceinline__ float share_of(const Call& c, int head, float top, float mass) {
  if (c.sinks == nullptr) return __fdiv_rn(1.0f, mass);
  const float sink = __fmul_rn(c.sinks[head], kLog2e), both = fmaxf(top, sink);
  const float keep = exp2_of(__fsub_rn(top, both));
  return __fdiv_rn(keep, __fmaf_rn(mass, keep, exp2_of(__fsub_rn(sink, both))));
}

// A warp's 16 rows of queries: high and low bf16. Column 8 c + 4 s + i of every 32 stands for place
// (2 c + i % 2) + 8 (i / 2) of step s.
template <int kDim>
struct Queries {
  uint32_t high[kDim / 16][4], low[kDim / 16][4];

  // `top`, `bottom`: rows g and g + 8, null for none.
  __device__ __forceinline__ void load(const float* top, const float* bottom, int c) {
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) {
      const Split a = load8(top, j * 32 + c * 8), b = load8(bottom, j * 32 + c * 8);
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        const int step = 2 * j + s;
        high[step][0] = a.high[2 * s], high[step][1] = b.high[2 * s];
        high[step][2] = a.high[2 * s + 1], high[step][3] = b.high[2 * s + 1];
        low[step][0] = a.low[2 * s], low[step][1] = b.low[2 * s];
        low[step][2] = a.low[2 * s + 1], low[step][3] = b.low[2 * s + 1];
      }
    }
  }

 private:
  static __device__ __forceinline__ Split load8(const float* row, int at) {
    float v[8] = {};
    if (row != nullptr) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 pair = reinterpret_cast<const float2*>(row + at)[i];
        v[2 * i] = pair.x, v[2 * i + 1] = pair.y;
      }
    }
    return split(v);
  }
};

// The rows' products with the eight keys of `keys` that start at row `first`: [g or g + 8][2 c, 2 c + 1].
template <int kDim>
__device__ __forceinline__ void dots8(float (&dots)[4], const Queries<kDim>& q, const uint4* keys, int first, int g,
                                      int c) {
  float high[4] = {}, low[4] = {};
#pragma unroll
  for (int j = 0; j < kDim / 32; ++j) {
    const uint4 k = keys[place<kDim>(first + g, 4 * j + c)];
    multiply_add(high, q.high[2 * j], k.x, k.y);
    multiply_add(low, q.low[2 * j], k.x, k.y);
    multiply_add(high, q.high[2 * j + 1], k.z, k.w);
    multiply_add(low, q.low[2 * j + 1], k.z, k.w);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) dots[i] = __fadd_rn(high[i], low[i]);
}

// The scores of rows g and g + 8, which see what `reach` says, with the eight positions from `first` of tile `tile` on;
// -infinity where a row sees nothing. Raises `largest`.
template <int kDim>
__device__ __forceinline__ void scores8(float (&scores)[4], float (&largest)[2], const Call& c, const Queries<kDim>& q,
                                        const uint4* keys, const Reach (&reach)[2], int tile, int first, int lane) {
  const int g = lane / 4, quad = lane % 4;
  dots8<kDim>(scores, q, keys, first, g, quad);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int position = tile * kTile + first + 2 * quad + i % 2;
    const bool seen = position >= reach[i / 2].first && position <= reach[i / 2].last;
    scores[i] = seen ? scaled(c.a, scores[i]) : -INFINITY;
    largest[i / 2] = fmaxf(largest[i / 2], scores[i]);
  }
}

__device__ __forceinline__ float quad_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, 1));
  return fmaxf(v, __shfl_xor_sync(kAllLanes, v, 2));
}

// Weights of 16 positions as an operand: high and low bf16.
struct Weights {
  uint32_t high[4], low[4];

  // `left`, `right`: scores of the first and the last eight positions as dots8() places them.
  __device__ __forceinline__ Weights(const float (&left)[4], const float (&right)[4], const float (&base)[2]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // row g + 8 (i % 2), positions 8 (i / 2) + 2 quad, + 1
      const float b = base[i % 2];
      const float* pair = (i < 2 ? left : right) + 2 * (i % 2);
      set(i, exp2_of(__fsub_rn(pair[0], b)), exp2_of(__fsub_rn(pair[1], b)));
    }
  }
  // From shared memory: `row_high`, `row_low` as load_matrices() takes them.
  __device__ __forceinline__ Weights(const void* row_high, const void* row_low) {
    load_matrices(high, row_high);
    load_matrices(low, row_low);
  }

 private:
  __device__ __forceinline__ void set(int i, float left, float right) {
    high[i] = bf16_pair(left, right);
    low[i] = bf16_pair(__fsub_rn(left, __uint_as_float(high[i] << 16)),
                       __fsub_rn(right, __uint_as_float(high[i] & 0xffff0000u)));
  }
};

// What a warp has summed of its rows g and g + 8: kCols value columns (a lane: 2 c, 2 c + 1 of every 8) and the mass,
// which is one more column, of ones.
template <int kCols>
struct Sums {
  float top[2], mass[4], values[kCols / 8][4];

  __device__ __forceinline__ void clear() {
    top[0] = top[1] = -INFINITY;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      mass[i] = 0.0f;
#pragma unroll
      for (int n = 0; n < kCols / 8; ++n) values[n][i] = 0.0f;
    }
  }

  // `largest`: of a tile's scores. Returns what its weights are relative to.
  __device__ __forceinline__ void raise(const float (&largest)[2], float (&base)[2]) {
    float keep[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float both = fmaxf(top[r], largest[r]);
      base[r] = base_of(both);
      keep[r] = exp2_of(__fsub_rn(top[r], base[r]));
      top[r] = both;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      mass[i] = __fmul_rn(mass[i], keep[i / 2]);
#pragma unroll
      for (int n = 0; n < kCols / 8; ++n) values[n][i] = __fmul_rn(values[n][i], keep[i / 2]);
    }
  }

  // A finished segment joins the sum of those before it.
  __device__ __forceinline__ void join(const Sums& part) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Blend b = blend(top[r], part.top[r]);
      top[r] = b.top;
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        mass[i] = blended(b, mass[i], part.mass[i]);
#pragma unroll
        for (int n = 0; n < kCols / 8; ++n) values[n][i] = blended(b, values[n][i], part.values[n][i]);
      }
    }
  }

  // Adds the values of positions 16 step .. 16 step + 15 of a tile; the columns start at `first_col`.
  template <int kDim>
  __device__ __forceinline__ void add(const Weights& w, const uint4* tile_values, int step, int first_col, int lane) {
    constexpr uint32_t kOnes = 0x3f803f80;
    multiply_add(mass, w.high, kOnes, kOnes);
    multiply_add(mass, w.low, kOnes, kOnes);
#pragma unroll
    for (int n = 0; n < kCols / 8; n += 2) {
      uint32_t v[4];
      load_matrices_transposed(
          v, tile_values + place<kDim>(step * 16 + (lane / 8 % 2) * 8 + lane % 8, first_col / 8 + n + lane / 16));
      multiply_add(values[n], w.high, v[0], v[1]);
      multiply_add(values[n], w.low, v[0], v[1]);
      multiply_add(values[n + 1], w.high, v[2], v[3]);
      multiply_add(values[n + 1], w.low, v[2], v[3]);
    }
  }
};

}  // namespace arc::cuda::attention
