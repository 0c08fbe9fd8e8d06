// A trellis code for rows that TurboQuant has rotated, in place of a codebook. The codes of a row form a ring of bits;
// the number of a coordinate is one look-up of the kWindowBits bits of the ring that begin with its own code. So
// neighbours share bits, and any coordinate decodes alone. Source: the bitshift trellis of QTIP (arXiv 2406.11235),
// here without bits for a start; the encoder is Viterbi's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/host_device.h"

namespace arc {

inline constexpr int kWindowBits = 8, kWindows = 1 << kWindowBits;
inline constexpr int kMinTrellisBits = 2, kMaxTrellisBits = 4;
inline constexpr int kLargestTrellisNumber = 127;

constexpr bool is_trellis_width(int bits) {
  return bits >= kMinTrellisBits && bits <= kMaxTrellisBits;
}

struct Trellis {
  int32_t bits = 0;
  float step = 1.0f;              // standard deviations of a coordinate that the number 1 stands for
  int8_t numbers[kWindows] = {};  // by window
  constexpr int branches() const { return 1 << bits; }
  constexpr int states() const { return kWindows >> bits; }
};

// The pinned table (trellis.inc, made and checked by trellis_test.cc); is_trellis_width(bits).
const Trellis& find_trellis(int bits);

// ---- rows: code i in bits [i * bits, (i + 1) * bits), the lowest bit first
// ----------------------------------------------

// `dim` is a multiple of 8.
ARC_HOST_DEVICE constexpr int trellis_row_bytes(int dim, int bits) {
  return dim / 8 * bits;
}

// The window of coordinate i in a row of `row_bytes`.
ARC_HOST_DEVICE inline int trellis_window(const std::byte* row, int row_bytes, int bits, int i) {
  const int at = i * bits, byte = at / 8, next = byte + 1 < row_bytes ? byte + 1 : 0;
  return (static_cast<int>(row[byte]) | static_cast<int>(row[next]) << 8) >> at % 8 & (kWindows - 1);
}

void pack_trellis_row(const uint8_t* codes, int dim, int bits, std::byte* row);
void unpack_trellis_row(const std::byte* row, int dim, int bits, uint8_t* codes);

// Numbers [dim] of a ring of codes [dim].
void trellis_numbers(const Trellis& code, const uint8_t* codes, int dim, int8_t* numbers);

// ---- encoder -------------------------------------------------------------------------------------------------------
//
// A walk takes coordinates from the last to the first. Its state is the bits that a window shares with the one before,
// the next coordinate's; branch c leads from state s through window w = s << bits | c to state w % states. A window
// costs (x - number)^2 in units of 2^16 / fine^2, rounded down. Everything is whole numbers, and every sum fits 16 bits
// when the least is taken off each kRenewSteps steps, so that any way to compute a walk gives the same codes.

// Parts of a number that coordinates are rounded to.
ARC_HOST_DEVICE constexpr int trellis_fine(int bits) {
  return 32 * bits;
}
inline constexpr int kRenewSteps = 8;

ARC_HOST_DEVICE constexpr int trellis_cost(int x, int number_in_parts) {
  return (x - number_in_parts) * (x - number_in_parts) >> 16;
}

// More than a way can cost until it could as well have begun in any other state: what a walk costs that begins
// elsewhere than it must.
ARC_HOST_DEVICE constexpr int trellis_far(int bits) {
  const int widest = kLargestTrellisNumber * trellis_fine(bits), mixing_steps = (kWindowBits - 1) / bits;
  return mixing_steps * trellis_cost(widest, -widest) + 1;
}

// Walks n coordinates x, in walking order and parts. best [states]: the costs of ways into each state, of which the
// least is 0; updated, in relation to the least of the last renewal. back [n][states]: w / states of the cheapest
// window into each state, of equal ones the first.
using TrellisWalk = void (*)(const Trellis& code, const int16_t* x, int n, uint16_t* best, uint8_t* back);
void walk_trellis(const Trellis& code, const int16_t* x, int n, uint16_t* best, uint8_t* back);

// Coordinates x [dim], in parts of a number (at most kLargestTrellisNumber of them), to the codes of a near ring: the
// walk over kSeamReach coordinates to both sides of the ring's seam says in which state it closes, a second walk begins
// and ends with that. `dim` is at most kMaxTrellisDim, and at least 2 kSeamReach.
inline constexpr int kSeamReach = 32, kMaxTrellisDim = 576;
void encode_trellis(const Trellis& code, const int16_t* x, int dim, uint8_t* codes, TrellisWalk walk = walk_trellis);

}  // namespace arc
