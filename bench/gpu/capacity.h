// How many tokens a device holds beside a model's weights, uncompressed and by default, and that it decodes with a full
// cache.
#pragma once

#include <string>

#include "exec/cuda/cuda_backend.h"
#include "gpu/bench_model.h"

namespace arc::bench {

// `read_ceiling` in GB/s. False when a check of the decoded tokens failed.
bool bench_capacity(const Shape& shape, const CudaDevice& device, double read_ceiling);

}  // namespace arc::bench
