// Codes of 32 elements with one scale: element i lies in the low half of byte i % 16, element i + 16 in the high half.
#include <algorithm>
#include <bit>
#include <cmath>

#include "base/dtype.h"
#include "quant/codecs.h"

namespace arc::quant {
namespace {

constexpr int kBlock = 32;

int nibble(const uint8_t* codes, int i) {
  return i < 16 ? codes[i] & 15 : codes[i - 16] >> 4;
}

// The fifth bit of element i.
int high_bit(const uint8_t* bits, int i) {
  return ((bits[i / 8] >> (i % 8)) & 1) << 4;
}

// The element of largest magnitude, with its sign; the first of equals.
float extreme(const float* in) {
  float best = 0.0f;
  for (int i = 0; i < kBlock; ++i) {
    if (std::fabs(in[i]) > std::fabs(best)) best = in[i];
  }
  return best;
}

float inverse(float scale) {
  return scale != 0.0f ? 1.0f / scale : 0.0f;
}

}  // namespace

float load_f16(const uint8_t* bytes) {
  return f16_to_float(static_cast<uint16_t>(bytes[0] | bytes[1] << 8));
}

void store_f16(float value, uint8_t* bytes) {
  const uint16_t bits = float_to_f16(value);
  bytes[0] = static_cast<uint8_t>(bits);
  bytes[1] = static_cast<uint8_t>(bits >> 8);
}

// scale, codes
void decode_q4_0(const uint8_t* block, float* out) {
  const float scale = load_f16(block);
  for (int i = 0; i < kBlock; ++i) out[i] = scale * static_cast<float>(nibble(block + 2, i) - 8);
}

// scale, minimum, codes
void decode_q4_1(const uint8_t* block, float* out) {
  const float scale = load_f16(block), minimum = load_f16(block + 2);
  for (int i = 0; i < kBlock; ++i) out[i] = scale * static_cast<float>(nibble(block + 4, i)) + minimum;
}

// scale, high bits, codes
void decode_q5_0(const uint8_t* block, float* out) {
  const float scale = load_f16(block);
  for (int i = 0; i < kBlock; ++i) {
    out[i] = scale * static_cast<float>((nibble(block + 6, i) | high_bit(block + 2, i)) - 16);
  }
}

// scale, minimum, high bits, codes
void decode_q5_1(const uint8_t* block, float* out) {
  const float scale = load_f16(block), minimum = load_f16(block + 2);
  for (int i = 0; i < kBlock; ++i) {
    out[i] = scale * static_cast<float>(nibble(block + 8, i) | high_bit(block + 4, i)) + minimum;
  }
}

// scale, one signed byte per element
void decode_q8_0(const uint8_t* block, float* out) {
  const float scale = load_f16(block);
  for (int i = 0; i < kBlock; ++i) out[i] = scale * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

// scale, codes
void decode_iq4_nl(const uint8_t* block, float* out) {
  const float scale = load_f16(block);
  for (int i = 0; i < kBlock; ++i) out[i] = scale * static_cast<float>(kNonLinear[nibble(block + 2, i)]);
}

// exponent of the scale (OCP microscaling formats 1.0, E8M0), codes (E2M1, here in halves)
void decode_mxfp4(const uint8_t* block, float* out) {
  constexpr int8_t kHalves[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  const uint32_t exponent = block[0];
  // 2^(exponent - 128): half the scale. The two smallest are subnormal.
  const auto half = std::bit_cast<float>(exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23);
  for (int i = 0; i < kBlock; ++i) out[i] = half * static_cast<float>(kHalves[nibble(block + 1, i)]);
}

void encode_q4_0(const float* in, uint8_t* block) {
  const float scale = extreme(in) / -8.0f, factor = inverse(scale);
  const auto code = [&](float value) {
    const float shifted = value * factor + 8.5f;
    return shifted > 0.0f ? static_cast<int>(std::min(shifted, 15.0f)) : 0;
  };
  store_f16(scale, block);
  for (int i = 0; i < 16; ++i) block[2 + i] = static_cast<uint8_t>(code(in[i]) | code(in[i + 16]) << 4);
}

// Rounds to the nearest, ties away from zero.
void encode_q8_0(const float* in, uint8_t* block) {
  const float scale = std::fabs(extreme(in)) / 127.0f, factor = inverse(scale);
  store_f16(scale, block);
  for (int i = 0; i < kBlock; ++i) {
    const float value = in[i] * factor;
    const float clamped = value > -127.0f ? std::min(value, 127.0f) : -127.0f;  // also NaN
    const int whole = static_cast<int>(clamped);
    const float rest = clamped - static_cast<float>(whole);
    block[2 + i] = static_cast<uint8_t>(whole + (rest >= 0.5f) - (rest <= -0.5f));
  }
}

}  // namespace arc::quant
