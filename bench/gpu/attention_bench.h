// Attention of one token of each sequence alone, over caches of every kind, against what the device can read.
#pragma once

#include <string_view>

#include "exec/cuda/cuda_backend.h"

namespace arc::bench {

// A row for each cache and load of the shapes whose name has `shape` in it. `ceiling`: GB/s.
void bench_attention(const CudaDevice& device, double ceiling, std::string_view shape);

}  // namespace arc::bench
