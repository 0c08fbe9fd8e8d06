// The trellis code: its tables are the solver's, a walk is the cheapest one, a ring is near the best, and the
// distortion is below that of levels at equal bits. With ARC_WRITE_TABLES=1 trellis.inc is written anew, with
// ARC_FULL=1 compared with what the solver finds (minutes).
#include "quant/trellis.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "gtest/gtest.h"

#include "base/counter_rng.h"
#include "quant/trellis_solver.h"
#include "quant/turbo.h"

namespace arc {
namespace {

std::string solve_all() {
  std::string text = "// Made by trellis_test.cc (ARC_WRITE_TABLES=1): bits, step, numbers.\n// clang-format off\n";
  for (int bits = kMinTrellisBits; bits <= kMaxTrellisBits; ++bits) {
    const Trellis code = solve_trellis(bits);
    text += fmt::format("{{{}, {:.9g}f, {{{}}}}},\n", bits, code.step, fmt::join(code.numbers, ", "));
  }
  return text + "// clang-format on\n";
}

TEST(Trellis, TablesAreWhatTheSolverFinds) {
  const std::string path = std::string(ARC_SOURCE_DIR) + "/src/quant/trellis.inc";
  if (std::getenv("ARC_WRITE_TABLES") != nullptr) {
    std::ofstream(path) << solve_all();
    GTEST_SKIP() << "written: " << path;
  }
  if (std::getenv("ARC_FULL") == nullptr) GTEST_SKIP() << "takes minutes: ARC_FULL=1";
  std::ostringstream pinned;
  pinned << std::ifstream(path).rdbuf();
  EXPECT_EQ(pinned.str(), solve_all());
}

// The solver stops where it is: every number is the mean of what it stands for, but for what 1000 samples leave open.
TEST(Trellis, NumbersAreMeansOfWhatTheyStandFor) {
  for (int bits = kMinTrellisBits; bits <= kMaxTrellisBits; ++bits) {
    const Trellis &code = find_trellis(bits), next = improve_trellis(code, gaussian_numbers(77, 2000 * 128), 128);
    double moved = 0.0;
    for (int w = 0; w < kWindows; ++w) {
      const double by = next.numbers[w] * double{next.step} - code.numbers[w] * double{code.step};
      EXPECT_LT(std::fabs(by), 0.15) << bits << " " << w;
      moved += by * by / kWindows;
    }
    EXPECT_LT(std::sqrt(moved), 0.04) << bits;
  }
}

// What 16-bit sums need: after kRenewSteps steps from a least of 0 no way costs more than they hold.
TEST(Trellis, SumsFit16Bits) {
  for (int bits = kMinTrellisBits; bits <= kMaxTrellisBits; ++bits) {
    const Trellis& code = find_trellis(bits);
    const int fine = trellis_fine(bits), widest = kLargestTrellisNumber * fine;
    ASSERT_LE(2 * widest, std::numeric_limits<int16_t>::max());
    int most = 0;  // that the best way can grow by in a step
    for (int x = -widest; x <= widest; x += 16) {
      for (int s = 0; s < code.states(); ++s) {
        int least = std::numeric_limits<int>::max();
        for (int c = 0; c < code.branches(); ++c) {
          least = std::min(least, trellis_cost(x, code.numbers[s << bits | c] * fine));
        }
        most = std::max(most, least);
      }
    }
    EXPECT_LT(trellis_far(bits) + trellis_cost(widest, -widest) + kRenewSteps * most, 1 << 16) << bits;
  }
}

std::vector<int16_t> random_parts(const Trellis& code, int n, uint64_t key) {
  std::vector<int16_t> x(static_cast<size_t>(n));
  to_trellis_parts(code, gaussian_numbers(key, n).data(), n, 1.0f, x.data());
  return x;
}

// All ways through a few coordinates, tried one by one.
TEST(Trellis, AWalkFindsTheCheapestWays) {
  for (const auto& [bits, n] : {std::pair{2, 4}, {3, 3}, {4, 3}}) {
    const Trellis& code = find_trellis(bits);
    const int states = code.states(), fine = trellis_fine(bits);
    for (uint64_t key = 0; key < 5; ++key) {
      const std::vector<int16_t> x = random_parts(code, n, key);
      std::vector<int> expected(static_cast<size_t>(states), std::numeric_limits<int>::max());
      for (int way = 0; way < states << n * bits; ++way) {
        int cost = 0, state = way >> n * bits;
        for (int i = 0; i < n; ++i) {
          const int window = state << bits | (way >> i * bits & (code.branches() - 1));
          cost += trellis_cost(x[i], code.numbers[window] * fine);
          state = window % states;
        }
        expected[state] = std::min(expected[state], cost);
      }
      std::vector<uint16_t> best(static_cast<size_t>(states));
      std::vector<uint8_t> back(static_cast<size_t>(n * states));
      walk_trellis(code, x.data(), n, best.data(), back.data());
      for (int s = 0; s < states; ++s) {
        ASSERT_EQ(best[s], expected[s]) << bits << " " << s;
        int cost = 0;
        for (int i = n, state = s; i-- > 0;) {
          const int window = back[i * states + state] * states + state;
          cost += trellis_cost(x[i], code.numbers[window] * fine);
          state = window >> bits;
        }
        ASSERT_EQ(cost, expected[s]) << bits << " " << s;
      }
    }
  }
}

int64_t ring_cost(const Trellis& code, const std::vector<int16_t>& x, const std::vector<uint8_t>& codes) {
  std::vector<int8_t> numbers(x.size());
  trellis_numbers(code, codes.data(), static_cast<int>(x.size()), numbers.data());
  int64_t cost = 0;
  for (size_t i = 0; i < x.size(); ++i) cost += trellis_cost(x[i], numbers[i] * trellis_fine(code.bits));
  return cost;
}

// Rings that close in any state: the one chosen costs hardly more than the cheapest.
TEST(Trellis, RingsAreNearTheBest) {
  constexpr int kDim = 64, kVectors = 60;
  for (int bits = kMinTrellisBits; bits <= kMaxTrellisBits; ++bits) {
    const Trellis& code = find_trellis(bits);
    double chosen = 0.0, best = 0.0;
    for (uint64_t key = 0; key < kVectors; ++key) {
      const std::vector<int16_t> x = random_parts(code, kDim, 1000 + key);
      std::vector<uint8_t> codes(x.size());
      encode_trellis(code, x.data(), kDim, codes.data());
      const int64_t cost = ring_cost(code, x, codes);
      int64_t least = cost;
      const std::vector<int16_t> way(x.rbegin(), x.rend());
      for (int seam = 0; seam < code.states(); ++seam) {
        std::vector<uint16_t> ends(static_cast<size_t>(code.states()), static_cast<uint16_t>(trellis_far(bits)));
        std::vector<uint8_t> back(x.size() * ends.size());
        ends[seam] = 0;
        walk_trellis(code, way.data(), kDim, ends.data(), back.data());
        std::vector<uint8_t> other(x.size());
        for (int i = kDim, state = seam; i-- > 0;) {
          const int window = back[i * code.states() + state] * code.states() + state;
          other[kDim - 1 - i] = static_cast<uint8_t>(window & (code.branches() - 1));
          state = window >> bits;
        }
        least = std::min(least, ring_cost(code, x, other));
      }
      chosen += static_cast<double>(cost);
      best += static_cast<double>(least);
    }
    EXPECT_LT(chosen, 1.01 * best) << bits;
  }
}

TEST(Trellis, RowsHoldEveryCodeAndWindowsAreRead) {
  for (int dim : kCodebookDims) {
    for (int bits = kMinTrellisBits; bits <= kMaxTrellisBits; ++bits) {
      std::vector<uint8_t> codes(static_cast<size_t>(dim)), again(codes.size());
      for (int i = 0; i < dim; ++i) codes[i] = static_cast<uint8_t>(philox(3, i, dim).word[0] >> (32 - bits));
      std::vector<std::byte> row(static_cast<size_t>(trellis_row_bytes(dim, bits)));
      pack_trellis_row(codes.data(), dim, bits, row.data());
      unpack_trellis_row(row.data(), dim, bits, again.data());
      EXPECT_EQ(again, codes);
      std::vector<int8_t> numbers(codes.size());
      trellis_numbers(find_trellis(bits), codes.data(), dim, numbers.data());
      for (int i = 0; i < dim; ++i) {
        int window = 0;
        for (int b = 0; b < kWindowBits; ++b) window |= (codes[(i + b / bits) % dim] >> b % bits & 1) << b;
        ASSERT_EQ(trellis_window(row.data(), static_cast<int>(row.size()), bits, i), window);
        ASSERT_EQ(numbers[i], find_trellis(bits).numbers[window]);
      }
    }
  }
}

// Mean squared error of Gaussian vectors, with the norm that is stored and all.
double codec_error(int dim, KvPolicy::Codec code, int bits, int n) {
  const TurboCodec codec(KvRole::value, dim, {.codec = code, .bits = static_cast<uint8_t>(bits)}, 7);
  double error = 0.0;
  for (int v = 0; v < n; ++v) {
    std::vector<float> x = gaussian_numbers(static_cast<uint64_t>(5000 + v), dim), y(x.size());
    std::vector<uint8_t> codes(x.size());
    uint16_t norm = 0;
    codec.rotate(x.data());
    codec.encode(x.data(), codes.data(), &norm);
    codec.decode(codes.data(), norm, y.data());
    for (int i = 0; i < dim; ++i) error += std::pow(x[i] - y[i], 2) / dim / n;
  }
  return error;
}

// Beside Lloyd-Max levels with as many bits: the whole of what a trellis is for.
TEST(Trellis, DistortionBesideLevels) {
  const double shares[] = {0.70, 0.62, 0.70};
  for (int bits = kMinTrellisBits; bits <= kMaxTrellisBits; ++bits) {
    for (int dim : kCodebookDims) {
      const int n = dim == 128 ? 400 : 60;
      const double trellis = codec_error(dim, KvPolicy::Codec::trellis, bits, n);
      const double levels = codec_error(dim, KvPolicy::Codec::turbo, bits, n);
      if (dim == 128) std::printf("  %d bits: %.5f, of levels' %.5f %.3f\n", bits, trellis, levels, trellis / levels);
      EXPECT_NEAR(trellis / levels, shares[bits - kMinTrellisBits], dim == 128 ? 0.02 : 0.05) << dim << " " << bits;
      EXPECT_LE(trellis, (bits == 3 ? 0.75 : 0.8) * levels) << dim;
    }
  }
}

TEST(Trellis, NaNGivesCodesOfTheRightWidth) {
  const TurboCodec codec(KvRole::key, 128, {.codec = KvPolicy::Codec::trellis, .bits = 3}, 7);
  std::vector<uint8_t> codes(128);
  uint16_t norm = 0;
  std::vector<float> x(128, 1.0f);
  x[7] = std::nanf("");
  codec.encode(x.data(), codes.data(), &norm);
  EXPECT_LT(*std::ranges::max_element(codes), 8);
}

}  // namespace
}  // namespace arc
