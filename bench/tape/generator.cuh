// Counter-based values: element (row, column) of tensor `seed` is the same wherever and in whatever order it is made.
#pragma once

#include <cstdint>

namespace arc::tape {

// Uniform in +-amplitude.
__host__ __device__ inline float generated(uint32_t seed, uint64_t row, uint64_t column, float amplitude) {
  uint64_t h = (row << 32 | column) + seed * 0x9e3779b97f4a7c15ull;
  h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ull;
  h = (h ^ h >> 27) * 0x94d049bb133111ebull;
  h ^= h >> 31;
  return (float(uint32_t(h >> 40)) * (2.0f / 16777216.0f) - 1.0f) * amplitude;
}

}  // namespace arc::tape
