// Roundings to few bits, for host and device.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/host_device.h"

namespace arc::quant {

// The whole number nearest to `value`, ties to even, clamped to [low, high]; NaN gives `low`. |low|, |high| < 2^22.
ARC_HOST_DEVICE inline int nearest(float value, int low, int high) {
  const auto floor = static_cast<float>(low), ceiling = static_cast<float>(high);
  const float clamped = value > floor ? (value < ceiling ? value : ceiling) : floor;
  constexpr float kSnap = 12582912.0f;  // 1.5 * 2^23: the sum has no room for a fraction
  return static_cast<int>((clamped + kSnap) - kSnap);
}

// E4M3, to nearest, ties to even; what is larger than the format's largest becomes that.
ARC_HOST_DEVICE inline uint8_t float_to_f8e4m3(float x) {
  constexpr float kLargest = 448.0f, kSmallestNormal = 0x1p-6f;
  const float magnitude = fabsf(x) < kLargest ? fabsf(x) : kLargest;
  uint32_t bits = 0, rounded = 0x7f;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t sign = bits >> 31 << 7;
  if (x != x) return static_cast<uint8_t>(sign | rounded);
  if (magnitude < kSmallestNormal) {
    rounded = static_cast<uint32_t>(nearest(magnitude * 0x1p9f, 0, 8));
  } else {
    memcpy(&bits, &magnitude, sizeof bits);
    rounded = (bits + 0x7ffffu + (bits >> 20 & 1u) - (120u << 23)) >> 20;
  }
  return static_cast<uint8_t>(sign | rounded);
}

}  // namespace arc::quant
