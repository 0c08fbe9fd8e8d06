// Pieces of all sizes arrive where they should, from unaligned places, more than there are buffers.
#include "tensor/staging.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace arc {
namespace {

TEST(Staging, PiecesArrive) {
  constexpr size_t kTotal = 40'000'003;
  std::vector<std::byte> source(kTotal + 1), target(kTotal + 1), expected(kTotal + 1);
  std::mt19937 random(3);
  for (std::byte& b : source) b = static_cast<std::byte>(random());
  // From the source's end to the target's start, one byte left out between any two.
  std::vector<HostPiece> pieces;
  size_t at = 0;
  for (size_t size = 1; at + size < kTotal; size = size * 5 + random() % 3) {
    const std::span<const std::byte> bytes = std::span(source).subspan(kTotal - at - size, size);
    pieces.push_back({at, bytes});
    std::copy(bytes.begin(), bytes.end(), expected.begin() + static_cast<std::ptrdiff_t>(at));
    at += size + 1;
  }
  pieces.push_back({at, {}});
  Staging staging{Device{}};
  EXPECT_TRUE(staging.copy(target.data(), pieces));
  EXPECT_TRUE(staging.copy(target.data(), {}));
  EXPECT_TRUE(target == expected);
}

}  // namespace
}  // namespace arc
