// Heads as caches of bytes want them: turned (quant/rotation.h), queries as whole numbers of 16 bits, new rows as int8.
// A lane holds coordinates 4 lane to 4 lane + 3 of a head. Roundings are those of quant/, in its order.
#pragma once

#include "kernels/cuda/tape/attention_bytes.cuh"
#include "quant/rounding.h"

namespace arc::tape::bytes {

__device__ __forceinline__ float sign_of(const CacheTurn& turn, uint32_t i) {
  return (turn.negative[i / 32] >> (i % 32) & 1u) != 0 ? -1.0f : 1.0f;
}

// x in the lower lane, y in the upper one become x + y, x - y.
__device__ __forceinline__ float butterfly(float x, uint32_t lane, uint32_t step) {
  const float other = __shfl_xor_sync(kAllLanes, x, step);
  return (lane & step) != 0 ? other - x : x + other;
}

__device__ __forceinline__ float4 turned(const float4& head, const CacheTurn& turn, uint32_t lane) {
  float x[4] = {head.x, head.y, head.z, head.w}, sign[4];
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i) x[i] *= sign[i] = sign_of(turn, 4 * lane + i);
#pragma unroll
  for (uint32_t step = 1; step < 4; step *= 2) {
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      if ((i & step) != 0) continue;
      const float a = x[i], b = x[i + step];
      x[i] = a + b;
      x[i + step] = a - b;
    }
  }
#pragma unroll
  for (uint32_t step = 1; step < 32; step *= 2) {
#pragma unroll
    for (float& one : x) one = butterfly(one, lane, step);
  }
  return {turn.factor * x[0] * sign[0], turn.factor * x[1] * sign[1], turn.factor * x[2] * sign[2],
          turn.factor * x[3] * sign[3]};
}

// The same for four warps that hold 32 coordinates each, a lane one, in two halves: within a warp, then from the row
// that they have left in shared memory.
__device__ __forceinline__ float turned_quarter(float x, const CacheTurn& turn, uint32_t i, uint32_t lane) {
  x *= sign_of(turn, i);
#pragma unroll
  for (uint32_t step = 1; step < 32; step *= 2) x = butterfly(x, lane, step);
  return x;
}
__device__ __forceinline__ float joined_quarters(const float* row, const CacheTurn& turn, uint32_t quarter,
                                                 uint32_t lane) {
  const float even = quarter & 1 ? row[lane] - row[32 + lane] : row[lane] + row[32 + lane];
  const float odd = quarter & 1 ? row[64 + lane] - row[96 + lane] : row[64 + lane] + row[96 + lane];
  return turn.factor * (quarter & 2 ? even - odd : even + odd) * sign_of(turn, 32 * quarter + lane);
}

// Row `row` of the queries: ByteQueries::set().
__device__ __forceinline__ void put_query(Queries& to, uint32_t row, const float4& head, uint32_t lane) {
  const float x[4] = {head.x, head.y, head.z, head.w};
  const float size = fmaxf(fmaxf(fabsf(x[0]), fabsf(x[1])), fmaxf(fabsf(x[2]), fabsf(x[3])));
  const float largest = fmaxf(warp_max(size), 1e-30f), inverse = __fdiv_rn(kQuerySteps, largest);
  uint32_t high_bytes = 0, low_bytes = 0;
  int total = 0;
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i) {
    const int number = __float2int_rn(__fmul_rn(x[i], inverse)), high = (number + 128) >> 8;
    high_bytes |= (uint32_t(high) & 0xffu) << (8 * i);
    low_bytes |= (uint32_t(number - high * 256) & 0xffu) << (8 * i);
    total += number;
  }
  reinterpret_cast<uint2*>(&to.sets[lane / 2][row])[lane % 2] = make_uint2(high_bytes, low_bytes);
  total = int(__reduce_add_sync(kAllLanes, uint32_t(total)));
  if (lane == 0) {
    to.scale[row] = __fmul_rn(largest, 1.0f / kQuerySteps);
    to.sum[row] = total;
  }
}

// Four coordinates of a row of int8, and the scale of the 32 that they are of.
struct Int8 {
  uint32_t numbers = 0;
  __half scale;

  __device__ __forceinline__ explicit Int8(const float4& head) {
    const float x[4] = {head.x, head.y, head.z, head.w};
    float largest = fmaxf(fmaxf(fabsf(x[0]), fabsf(x[1])), fmaxf(fabsf(x[2]), fabsf(x[3])));
#pragma unroll
    for (uint32_t step = 1; step < 8; step *= 2) largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, step));
    scale = __float2half_rn(fminf(__fdiv_rn(largest, 127.0f), kMaxF16));
    const float size = __half2float(scale), inverse = size > 0.0f ? __fdiv_rn(1.0f, size) : 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i)
      numbers |= (uint32_t(quant::nearest(__fmul_rn(x[i], inverse), -127, 127)) & 0xffu) << (8 * i);
  }
  // `scales`: of the row.
  __device__ __forceinline__ void store(uint8_t* row, uint8_t* scales, uint32_t lane) const {
    reinterpret_cast<uint32_t*>(row)[lane] = numbers;
    if (lane % 8 == 0) reinterpret_cast<__half*>(scales)[lane / 8] = scale;
  }
};

}  // namespace arc::tape::bytes
