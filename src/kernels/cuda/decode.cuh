// Eight neighbouring weights of a row of blocks as floats, and floats as bf16 pairs for matrix fragments.
// Block layouts: see quant/block_code.h.
#pragma once

#include <cstdint>

#include "kernels/cuda/common.cuh"

namespace arc::cuda {

// Eight neighbours as bf16 pairs: elements (0, 1), (2, 3), (4, 5), (6, 7), the first of a pair in the lower half of a
// word. A value is high + low, to 2^-18 of it.
struct Split {
  uint32_t high[4] = {}, low[4] = {};
};

__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ void split_pair(float first, float second, uint32_t& high, uint32_t& low) {
  high = bf16_pair(first, second);
  low = bf16_pair(first - __uint_as_float(high << 16), second - __uint_as_float(high & 0xffff0000u));
}
__device__ __forceinline__ Split split(const float (&v)[8]) {
  Split s;
#pragma unroll
  for (int i = 0; i < 4; ++i) split_pair(v[2 * i], v[2 * i + 1], s.high[i], s.low[i]);
  return s;
}

__device__ __forceinline__ float half_at(const uint8_t* p) {
  return __half2float(__ushort_as_half(static_cast<uint16_t>(p[0] | p[1] << 8)));
}

// The 6-bit scale and minimum of 32-element group `g` of a K-block's 12 bytes.
__device__ __forceinline__ void k_scale(const uint8_t* packed, int g, int& scale, int& minimum) {
  if (g < 4) {
    scale = packed[g] & 63;
    minimum = packed[g + 4] & 63;
  } else {
    scale = (packed[g + 4] & 15) | (packed[g - 4] >> 6 << 4);
    minimum = (packed[g + 4] >> 4) | (packed[g] >> 6 << 4);
  }
}

// A row's blocks: elements [k, k + 8), k a multiple of 8.
template <BlockCode kCode>
__device__ __forceinline__ void decode8(const uint8_t* row, int64_t k, float (&v)[8]);

template <>
__device__ __forceinline__ void decode8<BlockCode::q8_0>(const uint8_t* row, int64_t k, float (&v)[8]) {
  const uint8_t* block = row + k / 32 * 34;
  const float scale = half_at(block);
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = scale * static_cast<int8_t>(block[2 + k % 32 + i]);
}

template <>
__device__ __forceinline__ void decode8<BlockCode::q4_0>(const uint8_t* row, int64_t k, float (&v)[8]) {
  const uint8_t* block = row + k / 32 * 18;
  const float scale = half_at(block);
  const int at = static_cast<int>(k % 32), shift = at >= 16 ? 4 : 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = scale * ((block[2 + at % 16 + i] >> shift & 15) - 8);
}

template <>
__device__ __forceinline__ void decode8<BlockCode::q4_k>(const uint8_t* row, int64_t k, float (&v)[8]) {
  const uint8_t* block = row + k / 256 * 144;
  const int at = static_cast<int>(k % 256), g = at / 32;
  int scale = 0, minimum = 0;
  k_scale(block + 4, g, scale, minimum);
  const float d = half_at(block) * scale, m = half_at(block + 2) * minimum;
  const uint8_t* codes = block + 16 + g / 2 * 32 + at % 32;
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = d * (codes[i] >> (g % 2 * 4) & 15) - m;
}

template <>
__device__ __forceinline__ void decode8<BlockCode::q5_k>(const uint8_t* row, int64_t k, float (&v)[8]) {
  const uint8_t* block = row + k / 256 * 176;
  const int at = static_cast<int>(k % 256), g = at / 32;
  int scale = 0, minimum = 0;
  k_scale(block + 4, g, scale, minimum);
  const float d = half_at(block) * scale, m = half_at(block + 2) * minimum;
  const uint8_t *high = block + 16 + at % 32, *codes = block + 48 + g / 2 * 32 + at % 32;
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = d * ((codes[i] >> (g % 2 * 4) & 15) | (high[i] >> g & 1) << 4) - m;
}

template <>
__device__ __forceinline__ void decode8<BlockCode::q6_k>(const uint8_t* row, int64_t k, float (&v)[8]) {
  const uint8_t* block = row + k / 256 * 210;
  const int at = static_cast<int>(k % 256), half = at / 128, quarter = at % 128 / 32, l = at % 32;
  const float d = half_at(block + 208) * static_cast<int8_t>(block[192 + at / 16]);
  const uint8_t *low = block + half * 64 + quarter % 2 * 32 + l, *high = block + 128 + half * 32 + l;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int code = (low[i] >> (quarter / 2 * 4) & 15) | (high[i] >> (2 * quarter) & 3) << 4;
    v[i] = d * (code - 32);
  }
}

}  // namespace arc::cuda
