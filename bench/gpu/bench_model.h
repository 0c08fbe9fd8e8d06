// Models of published shapes with random weights, made on the device.
#pragma once

#include <span>
#include <string>

#include "exec/cuda/cuda_executor.h"

namespace arc::bench {

struct Shape {
  const char* name;
  const char* config;  // config.json
};

// Small to large: 0.6B, 8B, 30B-A3B and 32B of Qwen3.
std::span<const Shape> shapes();

// For gpu::kernels(); matrices bf16 or in `code`, the cache as --pa-cache-type says over bf16.
Plan lowered(const Shape& shape, const std::string& cache, BlockCode code);

// Matrices random, small enough that nothing overflows (in a block code: any codes, small scales); norms one. Throws
// Error(resource).
LoadedWeights random_weights(const Plan& plan, const CudaDevice& device);

// The better of two readers over 16 GB, or half of what is free; median of 5. GB/s.
double read_ceiling(const CudaDevice& device);

// Dense products of bf16 per second at the highest clock: what sm_90's matrix units do in a cycle (4096 operations a
// processor), were they always fed.
double matrix_peak(const CudaDevice& device);

// What a product does per second: cuBLASLt's of 8192 x 8192 x 8192 in bf16, where LD_LIBRARY_PATH has the library, else
// matrix_peak(). Prints which.
double matrix_ceiling(const CudaDevice& device);

// Bytes that the stages which `chosen` takes must read of weights for `batch` tokens: of experts those that as many
// random choices meet.
double weight_bytes_read(const Plan& plan, int batch, const std::function<bool(const Stage&)>& chosen);

inline bool any_stage(const Stage&) {
  return true;
}

}  // namespace arc::bench
