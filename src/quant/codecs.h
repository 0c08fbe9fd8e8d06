// One decoder per block code, and an encoder where Arc writes the code: one block at a time, as ggml lays it out.
#pragma once

#include <cstdint>

#include "quant/rounding.h"

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

}  // namespace arc::quant
