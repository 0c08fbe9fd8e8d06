// Random weights made where they are read.
#pragma once

#include <cstdint>

namespace arc::bench {

// Uniform in [-amplitude, amplitude], on the default stream.
void fill_random_bf16(void* device, int64_t count, float amplitude, uint64_t seed);

}  // namespace arc::bench
