// What all device kernels share: sums in a fixed order, rows of views, numbers of every dtype.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/api/kernel.h"

namespace arc::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

inline cudaStream_t stream_of(const Operands& o) {
  return static_cast<cudaStream_t>(o.stream);
}

// The row from which on writes[0] hold bf16.
inline int64_t first_rounded(const Operands& o) {
  return o.writes[0].rows - (o.rounded_out ? o.n_prompt : 0);
}

inline int blocks_for(int64_t n, int64_t per_block) {
  return static_cast<int>((n + per_block - 1) / per_block);
}

// A view as kernels take it: the same fields, by value.
struct Rows {
  void* data = nullptr;
  int64_t rows = 0, cols = 0, stride = 0;

  Rows() = default;
  explicit Rows(const TensorView& view) : data(view.data), rows(view.rows), cols(view.cols), stride(view.row_stride) {}

  template <typename T = float>
  __device__ T* row(int64_t r) const {
    return static_cast<T*>(data) + r * stride;
  }
};

// Sum over the warp; every lane gets it. The same tree in every kernel.
__device__ __forceinline__ float warp_sum(float v) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) v += __shfl_xor_sync(kAllLanes, v, lanes);
  return v;
}
__device__ __forceinline__ float warp_max(float v) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, lanes));
  return v;
}

// Sum over a block of kThreads threads, the same for every thread. Warps are added in order.
template <int kThreads>
__device__ __forceinline__ float block_sum(float v) {
  __shared__ float parts[kThreads / kWarp];
  v = warp_sum(v);
  __syncthreads();  // `parts` of an earlier call has been read
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = v;
  __syncthreads();
  float sum = 0.0f;
  for (float part : parts) sum += part;
  return sum;
}

__device__ __forceinline__ float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

__device__ __forceinline__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Element `i` of an array of a dtype that caches and tables have: f32, f16 or bf16.
__device__ __forceinline__ float load_as_float(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::bf16:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
    case DType::f16:
      return __half2float(static_cast<const __half*>(data)[i]);
    default:
      return static_cast<const float*>(data)[i];
  }
}
__device__ __forceinline__ void store_from_float(void* data, DType dtype, int64_t i, float value) {
  switch (dtype) {
    case DType::bf16:
      static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16(value);
      return;
    case DType::f16:
      static_cast<__half*>(data)[i] = __float2half(value);
      return;
    default:
      static_cast<float*>(data)[i] = value;
  }
}

}  // namespace arc::cuda
