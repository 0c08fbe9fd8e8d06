#include "quant/trellis_solver.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/counter_rng.h"
#include "quant/codebook_solver.h"
#include "quant/rounding.h"

namespace arc {
namespace {

constexpr int kSolverDim = 128, kSolverVectors = 1500, kSolverRounds = 200;

// Calls visit(coordinate in numbers of `code`, its window) for all of x.
template <typename Visit>
void for_windows(const Trellis& code, const std::vector<float>& x, int dim, const Visit& visit) {
  std::vector<int16_t> parts(static_cast<size_t>(dim));
  std::vector<uint8_t> codes(parts.size());
  std::vector<std::byte> row(static_cast<size_t>(trellis_row_bytes(dim, code.bits)));
  for (size_t at = 0; at + parts.size() <= x.size(); at += parts.size()) {
    to_trellis_parts(code, &x[at], dim, 1.0f, parts.data());
    encode_trellis(code, parts.data(), dim, codes.data());
    pack_trellis_row(codes.data(), dim, code.bits, row.data());
    for (int i = 0; i < dim; ++i) {
      visit(static_cast<double>(x[at + static_cast<size_t>(i)]),
            trellis_window(row.data(), static_cast<int>(row.size()), code.bits, i));
    }
  }
}

// Numbers [kWindows] of standard deviations onto the grid.
Trellis on_grid(int bits, const std::vector<double>& numbers) {
  const double top = *std::ranges::max_element(numbers, {}, [](double n) { return std::fabs(n); });
  Trellis code{.bits = bits, .step = static_cast<float>(std::fabs(top) / kLargestTrellisNumber)};
  for (int w = 0; w < kWindows; ++w) code.numbers[w] = static_cast<int8_t>(std::lround(numbers[w] / code.step));
  return code;
}

}  // namespace

std::vector<float> gaussian_numbers(uint64_t key, int64_t n) {
  std::vector<float> x;
  for (int64_t i = 0; i < n; ++i) {
    const Philox r = philox(key, static_cast<uint64_t>(i), 0);
    const double u = open_uniform(r.word[0], r.word[1]), v = open_uniform(r.word[2], r.word[3]);
    x.push_back(static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v)));
  }
  return x;
}

void to_trellis_parts(const Trellis& code, const float* x, int dim, float scale, int16_t* parts) {
  const float factor = scale / code.step * static_cast<float>(trellis_fine(code.bits));
  const int most = kLargestTrellisNumber * trellis_fine(code.bits);
  for (int i = 0; i < dim; ++i) parts[i] = static_cast<int16_t>(quant::nearest(x[i] * factor, -most, most));
}

Trellis improve_trellis(const Trellis& code, const std::vector<float>& x, int dim) {
  std::vector<double> sums(kWindows);
  std::vector<int64_t> counts(kWindows);
  for_windows(code, x, dim, [&](double value, int window) {
    sums[window] += value;
    ++counts[window];
  });
  for (int w = 0; w < kWindows; ++w) {
    sums[w] = counts[w] > 0 ? sums[w] / static_cast<double>(counts[w]) : code.numbers[w] * double{code.step};
  }
  return on_grid(code.bits, sums);
}

double trellis_distortion(const Trellis& code, const std::vector<float>& x, int dim) {
  double error = 0.0, n = 0.0;
  for_windows(code, x, dim, [&](double value, int window) {
    error += std::pow(value - code.numbers[window] * double{code.step}, 2);
    ++n;
  });
  return error / n;
}

Trellis solve_trellis(int bits) {
  // Of a law of many dimensions, where a coordinate is nearly Gaussian: the quantile that leaves `share` below.
  const auto quantile = [](double share) {
    double low = -6.0, high = 6.0;
    for (int i = 0; i < 60; ++i) {
      const double middle = (low + high) / 2;
      (std::erfc(-middle / std::numbers::sqrt2) / 2 < share ? low : high) = middle;
    }
    return low;
  };
  const int states = kWindows >> bits;
  std::vector<int> order(static_cast<size_t>(states));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {},
                    [&](int s) { return philox(static_cast<uint64_t>(bits), static_cast<uint64_t>(s), 1).word[0]; });
  std::vector<double> numbers(kWindows);
  for (int w = 0; w < kWindows; ++w) {
    numbers[w] = quantile(((w & ((1 << bits) - 1)) * states + order[w >> bits] + 0.5) / kWindows);
  }
  Trellis code = on_grid(bits, numbers);
  for (int round = 0; round < kSolverRounds; ++round) {
    code =
        improve_trellis(code, gaussian_numbers(static_cast<uint64_t>(round), kSolverVectors * kSolverDim), kSolverDim);
  }
  return code;
}

}  // namespace arc
