// Vectors of 16 floats or 32-bit integers in plain C++. The same functions exist for each instruction set.
constexpr int kMaxTile = 1;  // tokens whose sums with 16 weight rows fit the registers

struct Vec {
  float v[16];
};
struct Ints {
  int32_t v[16];
};

template <typename T, typename F>
inline T each(F f) {
  T out;
  for (int i = 0; i < 16; ++i) out.v[i] = f(i);
  return out;
}

inline Vec set1(float x) {
  return each<Vec>([&](int) { return x; });
}
inline Vec load(const float* p) {
  return each<Vec>([&](int i) { return p[i]; });
}
inline void store(float* p, Vec a) {
  for (int i = 0; i < 16; ++i) p[i] = a.v[i];
}
// The first n of 16 lanes, 0 <= n <= 16; the others are zero, or are left as they were.
inline Vec load_n(const float* p, int64_t n) {
  return each<Vec>([&](int i) { return i < n ? p[i] : 0.0f; });
}
inline void store_n(float* p, Vec a, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = a.v[i];
}

inline Vec operator+(const Vec& a, const Vec& b) {
  return each<Vec>([&](int i) { return a.v[i] + b.v[i]; });
}
inline Vec operator-(const Vec& a, const Vec& b) {
  return each<Vec>([&](int i) { return a.v[i] - b.v[i]; });
}
inline Vec operator*(const Vec& a, const Vec& b) {
  return each<Vec>([&](int i) { return a.v[i] * b.v[i]; });
}
inline Vec operator/(const Vec& a, const Vec& b) {
  return each<Vec>([&](int i) { return a.v[i] / b.v[i]; });
}
// Rounded twice, unlike the others'.
inline Vec fma(const Vec& a, const Vec& b, const Vec& c) {
  return each<Vec>([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
}
inline Vec max(const Vec& a, const Vec& b) {
  return each<Vec>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec min(const Vec& a, const Vec& b) {
  return each<Vec>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec abs(const Vec& a) {
  return each<Vec>([&](int i) { return __builtin_fabsf(a.v[i]); });
}

// Lane i joins lane i + 8, then i + 4, i + 2, i + 1: the same order for each instruction set.
inline float sum(Vec a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  }
  return a.v[0];
}
inline float largest(const Vec& a) {
  float best = a.v[0];
  for (int i = 1; i < 16; ++i) best = a.v[i] > best ? a.v[i] : best;
  return best;
}

inline Ints set1(int32_t x) {
  return each<Ints>([&](int) { return x; });
}
inline Ints load_ints(const void* p) {
  Ints out;
  __builtin_memcpy(out.v, p, sizeof(out.v));
  return out;
}
inline void store_ints(void* p, const Ints& a) {
  __builtin_memcpy(p, a.v, sizeof(a.v));
}
// The same 16 bytes in each quarter.
inline Ints load_quarters(const void* p) {
  Ints out;
  for (int k = 0; k < 4; ++k) __builtin_memcpy(out.v + 4 * k, p, 16);
  return out;
}
inline Ints operator+(const Ints& a, const Ints& b) {
  return each<Ints>([&](int i) { return a.v[i] + b.v[i]; });
}
inline Ints operator-(const Ints& a, const Ints& b) {
  return each<Ints>([&](int i) { return a.v[i] - b.v[i]; });
}
inline Ints operator&(const Ints& a, const Ints& b) {
  return each<Ints>([&](int i) { return a.v[i] & b.v[i]; });
}
inline Ints operator|(const Ints& a, const Ints& b) {
  return each<Ints>([&](int i) { return a.v[i] | b.v[i]; });
}
template <int n>
inline Ints shift_left(const Ints& a) {
  return each<Ints>([&](int i) { return static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) << n); });
}
template <int n>
inline Ints shift_right(const Ints& a) {  // logical
  return each<Ints>([&](int i) { return static_cast<int32_t>(static_cast<uint32_t>(a.v[i]) >> n); });
}
// To nearest, ties to even; what does not fit gives the smallest integer.
inline Ints to_ints(const Vec& a) {
  return each<Ints>([&](int i) {
    const bool fits = a.v[i] >= -0x1p31f && a.v[i] < 0x1p31f;
    return fits ? static_cast<int32_t>(__builtin_rintf(a.v[i])) : INT32_MIN;
  });
}
inline Vec to_floats(const Ints& a) {
  return each<Vec>([&](int i) { return static_cast<float>(a.v[i]); });
}
inline Ints bits_of(const Vec& a) {
  return load_ints(a.v);
}
inline Vec from_bits(const Ints& a) {
  Vec out;
  __builtin_memcpy(out.v, a.v, sizeof(out.v));
  return out;
}

// 16 small elements to 32 bits and back. Floats are rounded to nearest, ties to even; integers must fit.
inline Ints load_i8(const void* p) {
  return each<Ints>([&](int i) { return static_cast<const int8_t*>(p)[i]; });
}
inline void store_i8(void* p, const Ints& a) {
  for (int i = 0; i < 16; ++i) static_cast<int8_t*>(p)[i] = static_cast<int8_t>(a.v[i]);
}
inline Vec load_f16(const void* p) {
  return each<Vec>([&](int i) { return f16_to_float(static_cast<const uint16_t*>(p)[i]); });
}
inline void store_f16(void* p, const Vec& a) {
  for (int i = 0; i < 16; ++i) static_cast<uint16_t*>(p)[i] = float_to_f16(a.v[i]);
}
inline Vec load_bf16(const void* p) {
  return from_bits(each<Ints>(
      [&](int i) { return static_cast<int32_t>(static_cast<uint32_t>(static_cast<const uint16_t*>(p)[i]) << 16); }));
}
inline void store_bf16(void* p, const Vec& a) {
  for (int i = 0; i < 16; ++i) static_cast<uint16_t*>(p)[i] = float_to_bf16(a.v[i]);
}

// Lane i: acc + the dot product of its 4 unsigned bytes of `a` and 4 signed bytes of `b`; or of 2 signed words each.
// With `wide` false the bytes of `a` must be under 128.
// A call of its own, for inside bigger functions compilers do not see the vectors.
template <bool wide>
__attribute__((noinline)) Ints dot4(Ints acc, const Ints& a, const Ints& b) {
  const auto* u = reinterpret_cast<const uint8_t*>(a.v);
  const auto* s = reinterpret_cast<const int8_t*>(b.v);
  int16_t products[64];  // each fits
  for (int i = 0; i < 64; ++i) products[i] = static_cast<int16_t>(u[i] * s[i]);
  for (int i = 0; i < 16; ++i) {
    const int16_t* p = products + 4 * i;
    acc.v[i] += p[0] + p[1] + p[2] + p[3];
  }
  return acc;
}
inline Ints dot2(Ints acc, const Ints& a, const Ints& b) {
  for (int i = 0; i < 16; ++i) {
    for (int shift = 0; shift < 32; shift += 16) {
      acc.v[i] += static_cast<int16_t>(a.v[i] >> shift) * static_cast<int16_t>(b.v[i] >> shift);
    }
  }
  return acc;
}

// Lane 4 k + n: the sum of lanes 4 k to 4 k + 3 of x[n].
inline Ints quarter_sums(const Ints (&x)[4]) {
  return each<Ints>([&](int i) {
    const int32_t* p = x[i % 4].v + i / 4 * 4;
    return p[0] + p[1] + (p[2] + p[3]);
  });
}

constexpr int kVecRegisters = 4;  // vectors that fit the registers

// out[0..3] = sum() of each.
inline void store_sums(float* out, const Vec& a, const Vec& b, const Vec& c, const Vec& d) {
  const Vec* all[4] = {&a, &b, &c, &d};
  for (int i = 0; i < 4; ++i) out[i] = sum(*all[i]);
}
