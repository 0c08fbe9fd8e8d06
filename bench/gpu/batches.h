// Decoding in batches of 8 to 256 sequences, as a share of what the bytes and operations of a step allow.
#pragma once

#include <string>

#include "gpu/bench_model.h"

namespace arc::bench {

// `read_ceiling` in GB/s. False when a check of the decoded tokens failed.
bool bench_batches(const Shape& shape, const std::string& cache, const CudaDevice& device, double read_ceiling);

}  // namespace arc::bench
