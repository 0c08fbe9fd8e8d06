// One decoder per block code, and an encoder where Arc writes the code: one block at a time, as ggml lays it out.
#pragma once

#include <cstdint>

namespace arc::quant {

// 32 elements a block.
void decode_q4_0(const uint8_t* block, float* out);
void decode_q4_1(const uint8_t* block, float* out);
void decode_q5_0(const uint8_t* block, float* out);
void decode_q5_1(const uint8_t* block, float* out);
void decode_q8_0(const uint8_t* block, float* out);
void decode_iq4_nl(const uint8_t* block, float* out);
void decode_mxfp4(const uint8_t* block, float* out);
void encode_q4_0(const float* in, uint8_t* block);
void encode_q8_0(const float* in, uint8_t* block);

// 256 elements a block.
void decode_q2_k(const uint8_t* block, float* out);
void decode_q3_k(const uint8_t* block, float* out);
void decode_q4_k(const uint8_t* block, float* out);
void decode_q5_k(const uint8_t* block, float* out);
void decode_q6_k(const uint8_t* block, float* out);
void decode_iq4_xs(const uint8_t* block, float* out);
void encode_q4_k(const float* in, uint8_t* block);
void encode_q5_k(const float* in, uint8_t* block);
void encode_q6_k(const float* in, uint8_t* block);

// ---- shared ----

float load_f16(const uint8_t* bytes);
void store_f16(float value, uint8_t* bytes);

// What the four bits of the non-linear codes stand for.
inline constexpr int8_t kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// The whole number nearest to `value`, ties to even, clamped to [low, high]; NaN gives `low`. |low|, |high| < 2^22.
inline int nearest(float value, int low, int high) {
  const auto floor = static_cast<float>(low), ceiling = static_cast<float>(high);
  const float clamped = value > floor ? (value < ceiling ? value : ceiling) : floor;
  constexpr float kSnap = 12582912.0f;  // 1.5 * 2^23: the sum has no room for a fraction
  return static_cast<int>((clamped + kSnap) - kSnap);
}

}  // namespace arc::quant
