#include "quant/trellis.h"

#include <algorithm>

#include "base/check.h"

namespace arc {
namespace {

constexpr Trellis kTrellises[] = {
#include "quant/trellis.inc"
};

// In 16 bits and without branches, for compilers to make vectors of; unrolled loops they do not.
template <int kBits>
void walk_bits(const Trellis& code, const int16_t* x, int n, uint16_t* best, uint8_t* back) {
  constexpr int kStates = kWindows >> kBits, kBranches = 1 << kBits;
  int16_t parts[kWindows];
  for (int w = 0; w < kWindows; ++w) parts[w] = static_cast<int16_t>(code.numbers[w] * trellis_fine(kBits));
  for (int i = 0; i < n; ++i, back += kStates) {
    const int16_t at = x[i];
    uint16_t costs[kWindows], ids[kStates] = {};
    for (int s = 0; s < kStates; ++s) {
      const uint16_t before = best[s];
#pragma GCC unroll 1
      for (int c = 0; c < kBranches; ++c) {
        const auto apart = static_cast<int16_t>(at - parts[s * kBranches + c]);
        costs[s * kBranches + c] = static_cast<uint16_t>(before + static_cast<uint16_t>(int{apart} * apart >> 16));
      }
    }
    for (int v = 1; v < kBranches; ++v) {
#pragma GCC unroll 1
      for (int s = 0; s < kStates; ++s) {
        const uint16_t cost = costs[v * kStates + s];
        ids[s] = cost < costs[s] ? static_cast<uint16_t>(v) : ids[s];
        costs[s] = std::min(costs[s], cost);
      }
    }
    for (int s = 0; s < kStates; ++s) back[s] = static_cast<uint8_t>(ids[s]);
    uint16_t least = 0;
    if ((i + 1) % kRenewSteps == 0) least = *std::min_element(costs, costs + kStates);
    for (int s = 0; s < kStates; ++s) best[s] = static_cast<uint16_t>(costs[s] - least);
  }
}

}  // namespace

const Trellis& find_trellis(int bits) {
  ARC_CHECK(is_trellis_width(bits)) << bits;
  return kTrellises[bits - kMinTrellisBits];
}

void pack_trellis_row(const uint8_t* codes, int dim, int bits, std::byte* row) {
  unsigned held = 0;
  for (int i = 0, n = 0; i < dim; ++i) {
    held |= static_cast<unsigned>(codes[i]) << n;
    n += bits;
    if (n < 8) continue;
    *row++ = static_cast<std::byte>(held & 0xffu);
    held >>= 8;
    n -= 8;
  }
}

void unpack_trellis_row(const std::byte* row, int dim, int bits, uint8_t* codes) {
  const int bytes = trellis_row_bytes(dim, bits), mask = (1 << bits) - 1;
  for (int i = 0; i < dim; ++i) codes[i] = static_cast<uint8_t>(trellis_window(row, bytes, bits, i) & mask);
}

void trellis_numbers(const Trellis& code, const uint8_t* codes, int dim, int8_t* numbers) {
  int window = 0;
  for (int i = dim + kWindowBits; i-- > 0;) {
    window = (window << code.bits | codes[i % dim]) & (kWindows - 1);
    if (i < dim) numbers[i] = code.numbers[window];
  }
}

void walk_trellis(const Trellis& code, const int16_t* x, int n, uint16_t* best, uint8_t* back) {
  if (code.bits == 4) return walk_bits<4>(code, x, n, best, back);
  if (code.bits == 3) return walk_bits<3>(code, x, n, best, back);
  walk_bits<2>(code, x, n, best, back);
}

void encode_trellis(const Trellis& code, const int16_t* x, int dim, uint8_t* codes, TrellisWalk walk) {
  ARC_CHECK(dim >= 2 * kSeamReach && dim <= kMaxTrellisDim) << dim;
  const int states = code.states();
  int16_t way[kMaxTrellisDim];
  uint16_t best[kWindows >> kMinTrellisBits] = {};
  uint8_t back[kMaxTrellisDim * (kWindows >> kMinTrellisBits)];
  for (int i = 0; i < 2 * kSeamReach; ++i) way[i] = x[(kSeamReach - 1 - i + dim) % dim];
  walk(code, way, 2 * kSeamReach, best, back);
  // The window before the state that a walk's step i ended with.
  const auto window = [&](int i, int state) { return back[i * states + state] * states + state; };
  auto state = static_cast<int>(std::min_element(best, best + states) - best);
  for (int i = 2 * kSeamReach; i-- > kSeamReach;) state = window(i, state) >> code.bits;

  std::reverse_copy(x, x + dim, way);
  std::fill_n(best, states, static_cast<uint16_t>(trellis_far(code.bits)));
  best[state] = 0;
  walk(code, way, dim, best, back);
  for (int i = dim; i-- > 0;) {
    const int w = window(i, state);
    codes[dim - 1 - i] = static_cast<uint8_t>(w & (code.branches() - 1));
    state = w >> code.bits;
  }
}

}  // namespace arc
