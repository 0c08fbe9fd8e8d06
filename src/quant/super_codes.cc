// Codes of 256 elements in 8 or 16 groups: the groups' scales are whole numbers times one f16.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/codecs.h"

namespace arc::quant {
namespace {

constexpr int kBlock = 256, kGroups = 8, kGroup = kBlock / kGroups;

// Where the two 6-bit numbers of group g lie in the twelve bytes of q4_k and q5_k: the first four groups have bytes of
// their own, the others a nibble and the two high bits that those leave free.
struct ScaleMin {
  int scale = 0, minimum = 0;
};

ScaleMin load_scale_min(const uint8_t* packed, int g) {
  if (g < 4) return {.scale = packed[g] & 63, .minimum = packed[g + 4] & 63};
  return {.scale = (packed[g + 4] & 15) | packed[g - 4] >> 6 << 4, .minimum = packed[g + 4] >> 4 | packed[g] >> 6 << 4};
}

// Groups in ascending order, on zeroed bytes.
void store_scale_min(ScaleMin value, uint8_t* packed, int g) {
  if (g < 4) {
    packed[g] = static_cast<uint8_t>(value.scale);
    packed[g + 4] = static_cast<uint8_t>(value.minimum);
    return;
  }
  packed[g + 4] = static_cast<uint8_t>((value.scale & 15) | (value.minimum & 15) << 4);
  packed[g - 4] |= static_cast<uint8_t>(value.scale >> 4 << 6);
  packed[g] |= static_cast<uint8_t>(value.minimum >> 4 << 6);
}

// The 6-bit scale of 16-element group g in q3_k's twelve bytes: low nibbles of two groups share a byte, then the high
// bits of four.
int load_q3_scale(const uint8_t* packed, int g) {
  const int low = g < 8 ? packed[g] & 15 : packed[g - 8] >> 4;
  return (low | ((packed[8 + g % 4] >> (2 * (g / 4))) & 3) << 4) - 32;
}

// scale, scale of minima, scales and minima, [high bits], codes: one group in the low, the next in the high halves
void decode_with_minima(const uint8_t* block, const uint8_t* high_bits, const uint8_t* codes, float* out) {
  const float scale = load_f16(block), min_scale = load_f16(block + 2);
  for (int g = 0; g < kGroups; ++g) {
    const ScaleMin group = load_scale_min(block + 4, g);
    const float d = scale * static_cast<float>(group.scale), m = min_scale * static_cast<float>(group.minimum);
    for (int l = 0; l < kGroup; ++l) {
      int code = (codes[g / 2 * kGroup + l] >> (4 * (g % 2))) & 15;
      if (high_bits != nullptr) code |= ((high_bits[l] >> g) & 1) << 4;
      out[g * kGroup + l] = d * static_cast<float>(code) - m;
    }
  }
}

}  // namespace

// scale and minimum of each 16 elements in a byte, codes, scale, scale of minima
void decode_q2_k(const uint8_t* block, float* out) {
  const uint8_t* codes = block + 16;
  const float scale = load_f16(block + 80), min_scale = load_f16(block + 82);
  for (int i = 0; i < kBlock; ++i) {
    const int group = block[i / 16], code = (codes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
    out[i] =
        scale * static_cast<float>(group & 15) * static_cast<float>(code) - min_scale * static_cast<float>(group >> 4);
  }
}

// high bits (inverted), codes, scales of 16 elements, scale
void decode_q3_k(const uint8_t* block, float* out) {
  const uint8_t* codes = block + 32;
  const float scale = load_f16(block + 108);
  for (int i = 0; i < kBlock; ++i) {
    const int low = (codes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
    const int code = (block[i % 32] >> (i / 32)) & 1 ? low : low - 4;
    out[i] = scale * static_cast<float>(load_q3_scale(block + 96, i / 16)) * static_cast<float>(code);
  }
}

void decode_q4_k(const uint8_t* block, float* out) {
  decode_with_minima(block, nullptr, block + 16, out);
}

void decode_q5_k(const uint8_t* block, float* out) {
  decode_with_minima(block, block + 16, block + 48, out);
}

// low halves, high bits, scales of 16 elements, scale
void decode_q6_k(const uint8_t* block, float* out) {
  const uint8_t *high = block + 128, *scales = block + 192;
  const float scale = load_f16(block + 208);
  for (int i = 0; i < kBlock; ++i) {
    const int half = i / 128, r = i % 128;
    const int low = (block[half * 64 + r % 64] >> (r / 64 * 4)) & 15;
    const int code = (low | ((high[half * 32 + r % 32] >> (r / 32 * 2)) & 3) << 4) - 32;
    out[i] = scale * static_cast<float>(static_cast<int8_t>(scales[i / 16])) * static_cast<float>(code);
  }
}

// scale, high bits of the groups' scales, their low halves, codes of the non-linear table
void decode_iq4_xs(const uint8_t* block, float* out) {
  const float scale = load_f16(block);
  const int high = block[2] | block[3] << 8;
  for (int g = 0; g < kGroups; ++g) {
    const int low = (block[4 + g / 2] >> (4 * (g % 2))) & 15;
    const float d = scale * static_cast<float>((low | ((high >> (2 * g)) & 3) << 4) - 32);
    for (int l = 0; l < kGroup; ++l) {
      const int code = (block[8 + g * 16 + l % 16] >> (l / 16 * 4)) & 15;
      out[g * kGroup + l] = d * static_cast<float>(kNonLinear[code]);
    }
  }
}

// ---- encoders: ggml's reference search, in its order of sums, so that the bytes are the same ------------------------

namespace {

// A line scale * code - minimum through one group of 32, and each element's code.
struct Line {
  float scale = 0.0f, minimum = 0.0f;
  int codes[kGroup] = {};
};

// What a search for a group's line tries: inverse scales (max_code + first + step / 10) / range.
struct Search {
  int max_code = 0;
  float first = 0.0f;
  int steps = 0;
};

void code_all(const float* x, float factor, float low, int max_code, int* codes) {
  for (int i = 0; i < kGroup; ++i) codes[i] = nearest(factor * (x[i] - low), 0, max_code);
}

// Sum of w (scale * code - minimum - x)^2.
float weighted_error(const float* x, const float* w, const Line& line) {
  float error = 0.0f;
  for (int i = 0; i < kGroup; ++i) {
    const float difference = line.scale * static_cast<float>(line.codes[i]) - line.minimum - x[i];
    error += w[i] * (difference * difference);
  }
  return error;
}

// The least-squares line for the codes of `line`, which it replaces; its minimum is not negative. False: there is none.
bool refit(const float* x, const float* w, float sum_w, float sum_x, Line& line) {
  float sum_l = 0.0f, sum_l2 = 0.0f, sum_xl = 0.0f;
  for (int i = 0; i < kGroup; ++i) {
    const auto l = static_cast<float>(line.codes[i]);
    sum_l += w[i] * l;
    sum_l2 += w[i] * l * l;
    sum_xl += w[i] * l * x[i];
  }
  const float determinant = sum_w * sum_l2 - sum_l * sum_l;
  if (!(determinant > 0.0f)) return false;
  line.scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
  const float low = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
  line.minimum = -std::min(low, 0.0f);
  if (low > 0.0f) line.scale = sum_xl / sum_l2;
  return true;
}

// The best line that the search finds, errors weighted by rms + |x|.
Line fit_line(const float* x, const Search& search) {
  float w[kGroup], square = 0.0f;
  for (int i = 0; i < kGroup; ++i) square += x[i] * x[i];
  const float rms = std::sqrt(square / static_cast<float>(kGroup));
  for (int i = 0; i < kGroup; ++i) w[i] = rms + std::fabs(x[i]);

  float low = x[0], high = x[0], sum_w = w[0], sum_x = w[0] * x[0];
  for (int i = 1; i < kGroup; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
    sum_w += w[i];
    sum_x += w[i] * x[i];
  }
  Line best{.minimum = -std::min(low, 0.0f)};
  if (high == -best.minimum) return best;
  const auto max_code = static_cast<float>(search.max_code);
  const float factor = max_code / (high + best.minimum);
  best.scale = 1.0f / factor;
  code_all(x, factor, -best.minimum, search.max_code, best.codes);
  float best_error = weighted_error(x, w, best);
  for (int step = 0; step <= search.steps; ++step) {
    const float trial_codes = search.first + 0.1f * static_cast<float>(step) + max_code;
    Line trial;
    code_all(x, trial_codes / (high + best.minimum), -best.minimum, search.max_code, trial.codes);
    if (!refit(x, w, sum_w, sum_x, trial)) continue;
    const float error = weighted_error(x, w, trial);
    if (!(error < best_error)) continue;
    best_error = error;
    best = trial;
  }
  return best;
}

// scale, scale of minima, scales and minima, [high bits], codes
void encode_with_minima(const float* in, const Search& search, uint8_t* block, uint8_t* high_bits, uint8_t* codes) {
  Line lines[kGroups];
  float max_scale = 0.0f, max_minimum = 0.0f;
  for (int g = 0; g < kGroups; ++g) {
    lines[g] = fit_line(in + g * kGroup, search);
    max_scale = std::max(max_scale, lines[g].scale);
    max_minimum = std::max(max_minimum, lines[g].minimum);
  }
  store_f16(max_scale / 63.0f, block);
  store_f16(max_minimum / 63.0f, block + 2);
  const float to_scale = max_scale > 0.0f ? 63.0f / max_scale : 0.0f;
  const float to_minimum = max_minimum > 0.0f ? 63.0f / max_minimum : 0.0f;
  const float scale = load_f16(block), min_scale = load_f16(block + 2);
  for (int g = 0; g < kGroups; ++g) {
    const ScaleMin group{.scale = nearest(to_scale * lines[g].scale, 0, 63),
                         .minimum = nearest(to_minimum * lines[g].minimum, 0, 63)};
    store_scale_min(group, block + 4, g);
    const float d = scale * static_cast<float>(group.scale), m = min_scale * static_cast<float>(group.minimum);
    for (int l = 0; l < kGroup; ++l) {
      const int code = d != 0.0f ? nearest((in[g * kGroup + l] + m) / d, 0, search.max_code) : lines[g].codes[l];
      codes[g / 2 * kGroup + l] |= static_cast<uint8_t>((code & 15) << (4 * (g % 2)));
      if (high_bits != nullptr) high_bits[l] |= static_cast<uint8_t>(code >> 4 << g);
    }
  }
}

constexpr int kFine = 16;           // elements of a group of q6_k
constexpr float kNothing = 1e-15f;  // smaller magnitudes count as zero

// The best scale for codes -32 .. 31, errors weighted by x^2; `codes` follow.
float fit_scale(const float* x, int* codes) {
  float extreme = 0.0f;
  for (int i = 0; i < kFine; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  std::fill_n(codes, kFine, -32);
  if (std::fabs(extreme) < kNothing) return 0.0f;
  float scale = 0.0f, best = 0.0f;
  for (const int step : {0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
    const float factor = -(32.0f + 0.1f * static_cast<float>(step)) / extreme;
    int trial[kFine];
    float sum_xl = 0.0f, sum_l2 = 0.0f;
    for (int i = 0; i < kFine; ++i) {
      trial[i] = nearest(factor * x[i], -32, 31);
      const float w = x[i] * x[i];
      const auto l = static_cast<float>(trial[i]);
      sum_xl += w * x[i] * l;
      sum_l2 += w * l * l;
    }
    const bool better = step == 0 || (sum_l2 > 0.0f && sum_xl * sum_xl > best * sum_l2);
    if (!better) continue;
    scale = sum_l2 != 0.0f ? sum_xl / sum_l2 : 0.0f;
    best = scale * sum_xl;
    std::copy_n(trial, kFine, codes);
  }
  return scale;
}

}  // namespace

void encode_q4_k(const float* in, uint8_t* block) {
  std::memset(block, 0, 144);
  encode_with_minima(in, {.max_code = 15, .first = -1.0f, .steps = 20}, block, nullptr, block + 16);
}

void encode_q5_k(const float* in, uint8_t* block) {
  std::memset(block, 0, 176);
  encode_with_minima(in, {.max_code = 31, .first = -0.5f, .steps = 15}, block, block + 16, block + 48);
}

void encode_q6_k(const float* in, uint8_t* block) {
  std::memset(block, 0, 210);
  int codes[kBlock];
  float scales[kBlock / kFine], largest = 0.0f;
  for (int g = 0; g < kBlock / kFine; ++g) {
    scales[g] = fit_scale(in + g * kFine, codes + g * kFine);
    if (std::fabs(scales[g]) > std::fabs(largest)) largest = scales[g];
  }
  if (std::fabs(largest) < kNothing) return;
  const float factor = -128.0f / largest;
  store_f16(1.0f / factor, block + 208);
  const float scale = load_f16(block + 208);
  for (int i = 0; i < kBlock; ++i) {
    const int group = nearest(factor * scales[i / kFine], -128, 127);
    block[192 + i / kFine] = static_cast<uint8_t>(group);
    const float d = scale * static_cast<float>(group);
    const int code = 32 + (d != 0.0f ? nearest(in[i] / d, -32, 31) : codes[i]);
    const int half = i / 128, r = i % 128;
    block[half * 64 + r % 64] |= static_cast<uint8_t>((code & 15) << (r / 64 * 4));
    block[128 + half * 32 + r % 32] |= static_cast<uint8_t>(code >> 4 << (r / 32 * 2));
  }
}

}  // namespace arc::quant
