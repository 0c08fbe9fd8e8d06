#include "kv/hash128.h"

#include <xxhash.h>

namespace arc {

Hash128 hash128(std::span<const int32_t> words, uint64_t seed) {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(words.data(), words.size_bytes(), seed);
  return {.low = hash.low64, .high = hash.high64};
}

}  // namespace arc
