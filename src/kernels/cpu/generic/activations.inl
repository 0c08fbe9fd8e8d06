// Activations of products: a row of x in the form that a weight's kernels multiply with, as 4-byte words.

// `words` of one row for `in` columns; word w of the row goes to out[w * stride]. A null x is a row of zeros.
struct ActivationForm {
  int64_t words;
  void (*write)(const float* x, int64_t in, uint32_t* out, int64_t stride);
};

// 16 values from column k on; zeros past `in`.
inline Vec columns_at(const float* x, int64_t in, int64_t k) {
  if (x == nullptr || k >= in) return set1(0.0f);
  return k + 16 <= in ? load(x + k) : load_n(x + k, in - k);
}

// Floats, as many as `words`.
template <int multiple>
inline void write_floats(const float* x, int64_t in, uint32_t* out, int64_t stride) {
  const int64_t words = (in + multiple - 1) / multiple * multiple;
  for (int64_t k = 0; k < words; ++k) {
    uint32_t bits = 0;
    if (x != nullptr && k < in) __builtin_memcpy(&bits, x + k, sizeof(bits));
    out[k * stride] = bits;
  }
}

// Pairs of bf16, rounded to nearest.
inline void write_bf16_pairs(const float* x, int64_t in, uint32_t* out, int64_t stride) {
  const int64_t words = (in + 1) / 2;
  for (int64_t w = 0; w < words; w += 8) {
    alignas(64) uint32_t pairs[8];
    store_bf16(pairs, columns_at(x, in, 2 * w));
    for (int64_t i = 0; i < smaller<int64_t>(8, words - w); ++i) out[(w + i) * stride] = pairs[i];
  }
}

// Rounds a block of 16 * `n` values to 8 bits with one scale, which it returns: the largest becomes 127. A value that
// is not finite makes the scale so, and with it the result.
template <int n>
inline float quantize_block(const float* x, int64_t in, int64_t k, uint32_t* out, int64_t stride, int32_t (&sums)[n]) {
  Vec values[n], most = set1(0.0f), poison = set1(0.0f);
  for (int i = 0; i < n; ++i) {
    values[i] = columns_at(x, in, k + 16 * i);
    most = max(most, abs(values[i]));
    poison = fma(values[i], set1(0.0f), poison);
  }
  const float top = largest(most), finite = sum(poison);
  const Vec inverse = set1(top > 0.0f && finite == 0.0f ? 127.0f / top : 0.0f);
  for (int i = 0; i < n; ++i) {
    const Ints codes = to_ints(min(max(values[i] * inverse, set1(-127.0f)), set1(127.0f)));
    alignas(16) uint32_t words[4];
    store_i8(words, codes);
    for (int w = 0; w < 4; ++w) out[(4 * i + w) * stride] = words[w];
    sums[i] = static_cast<int32_t>(sum(to_floats(codes)));
  }
  return top / 127.0f + finite;
}

inline uint32_t float_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// Blocks of 32 for codes stored with `offset` added: see Block32Kernel.
template <int offset>
inline void write_blocks32(const float* x, int64_t in, uint32_t* out, int64_t stride) {
  for (int64_t k = 0; k < in; k += 32, out += 10 * stride) {
    int32_t sums[2];
    const float scale = quantize_block<2>(x, in, k, out, stride, sums);
    out[8 * stride] = static_cast<uint32_t>(-offset * (sums[0] + sums[1]));
    out[9 * stride] = float_bits(scale);
  }
}

// Blocks of 256: see Block256Kernel.
inline void write_blocks256(const float* x, int64_t in, uint32_t* out, int64_t stride) {
  for (int64_t k = 0; k < in; k += 256, out += 85 * stride) {
    int32_t sums[16];
    const float scale = quantize_block<16>(x, in, k, out, stride, sums);
    for (int i = 0; i < 16; ++i) out[(64 + i) * stride] = static_cast<uint32_t>(-32 * sums[i]);
    for (int i = 0; i < 4; ++i) {
      const int32_t* first = sums + (i / 2 * 4 + i % 2) * 2;  // runs 0 1 4 5, and the second of the pair two runs later
      const auto low = static_cast<uint16_t>(first[0] + first[1]), high = static_cast<uint16_t>(first[4] + first[5]);
      out[(80 + i) * stride] = low | static_cast<uint32_t>(high) << 16;
    }
    out[84 * stride] = float_bits(scale);
  }
}
