// 128-bit content hash (XXH3) that names a prefix of tokens.
#pragma once

#include <cstdint>
#include <span>

namespace arc {

struct Hash128 {
  uint64_t low = 0, high = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
};

// Not cryptographic: whoever relies on it also compares the content.
Hash128 hash128(std::span<const int32_t> words, uint64_t seed);

struct Hash128Hasher {
  size_t operator()(const Hash128& hash) const { return hash.low; }
};

}  // namespace arc
