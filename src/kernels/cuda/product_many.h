// Products with many tokens; linear.cu does the rest.
#pragma once

#include <cuda_runtime.h>

#include "kernels/api/kernel.h"

namespace arc::cuda {

// The order of a row's sum: its columns are dealt in runs of kRun to kChains chains, whose sums are added in order.
inline constexpr int kRun = 64, kChains = 8;
inline constexpr int kManyTokens = 16;

bool fits_many(const MatrixView& w, int64_t tokens);
void product_many(const MatrixView& w, const TensorView& x, const TensorView& y, std::byte* scratch,
                  cudaStream_t stream);

}  // namespace arc::cuda
