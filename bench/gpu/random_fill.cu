// Fills device memory with random numbers.
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "random_fill.h"

namespace arc::bench {
namespace {

// SplitMix64's finaliser of the index.
__device__ uint32_t hashed(uint64_t i) {
  i = (i ^ (i >> 30)) * 0xBF58476D1CE4E5B9u;
  i = (i ^ (i >> 27)) * 0x94D049BB133111EBu;
  return static_cast<uint32_t>(i >> 32);
}

__global__ void fill_kernel(__nv_bfloat16* out, int64_t count, float amplitude, uint64_t seed) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    const float unit = static_cast<float>(hashed(seed + static_cast<uint64_t>(i))) * 0x1p-31f - 1.0f;
    out[i] = __float2bfloat16(amplitude * unit);
  }
}

}  // namespace

void fill_random_bf16(void* device, int64_t count, float amplitude, uint64_t seed) {
  fill_kernel<<<1024, 256>>>(static_cast<__nv_bfloat16*>(device), count, amplitude, seed);
}

}  // namespace arc::bench
