// Vectors of 16 floats or 32-bit integers, for AVX-512. The same functions exist for each instruction set.
constexpr int kMaxTile = 12;  // tokens whose sums with 16 weight rows fit the registers

struct Vec {
  __m512 v;
};
struct Ints {
  __m512i v;
};

inline Vec set1(float x) {
  return {_mm512_set1_ps(x)};
}
inline Vec load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
inline void store(float* p, Vec a) {
  _mm512_storeu_ps(p, a.v);
}
// The first n of 16 lanes, 0 <= n <= 16; the others are zero, or are left as they were.
inline Vec load_n(const float* p, int64_t n) {
  return {_mm512_maskz_loadu_ps((1u << n) - 1, p)};
}
inline void store_n(float* p, Vec a, int64_t n) {
  _mm512_mask_storeu_ps(p, (1u << n) - 1, a.v);
}

inline Vec operator+(Vec a, Vec b) {
  return {_mm512_add_ps(a.v, b.v)};
}
inline Vec operator-(Vec a, Vec b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
inline Vec operator*(Vec a, Vec b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
inline Vec operator/(Vec a, Vec b) {
  return {_mm512_div_ps(a.v, b.v)};
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
inline Vec max(Vec a, Vec b) {
  return {_mm512_max_ps(a.v, b.v)};
}
inline Vec min(Vec a, Vec b) {
  return {_mm512_min_ps(a.v, b.v)};
}
inline Vec abs(Vec a) {
  return {_mm512_abs_ps(a.v)};
}

// Lane i joins lane i + 8, then i + 4, i + 2, i + 1: the same order for each instruction set.
inline float sum(Vec a) {
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float largest(Vec a) {
  const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

inline Ints set1(int32_t x) {
  return {_mm512_set1_epi32(x)};
}
inline Ints load_ints(const void* p) {
  return {_mm512_loadu_si512(p)};
}
inline void store_ints(void* p, Ints a) {
  _mm512_storeu_si512(p, a.v);
}
// The same 16 bytes in each quarter.
inline Ints load_quarters(const void* p) {
  return {_mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
inline Ints operator+(Ints a, Ints b) {
  return {_mm512_add_epi32(a.v, b.v)};
}
inline Ints operator-(Ints a, Ints b) {
  return {_mm512_sub_epi32(a.v, b.v)};
}
inline Ints operator&(Ints a, Ints b) {
  return {_mm512_and_si512(a.v, b.v)};
}
inline Ints operator|(Ints a, Ints b) {
  return {_mm512_or_si512(a.v, b.v)};
}
template <int n>
inline Ints shift_left(Ints a) {
  return {_mm512_slli_epi32(a.v, n)};
}
template <int n>
inline Ints shift_right(Ints a) {  // logical
  return {_mm512_srli_epi32(a.v, n)};
}
// To nearest, ties to even.
inline Ints to_ints(Vec a) {
  return {_mm512_cvtps_epi32(a.v)};
}
inline Vec to_floats(Ints a) {
  return {_mm512_cvtepi32_ps(a.v)};
}
inline Ints bits_of(Vec a) {
  return {_mm512_castps_si512(a.v)};
}
inline Vec from_bits(Ints a) {
  return {_mm512_castsi512_ps(a.v)};
}

// 16 small elements to 32 bits and back. Floats are rounded to nearest, ties to even; integers must fit.
inline Ints load_i8(const void* p) {
  return {_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
inline void store_i8(void* p, Ints a) {
  _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
}
inline Vec load_f16(const void* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)))};
}
inline void store_f16(void* p, Vec a) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline Vec load_bf16(const void* p) {
  const __m256i half = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16))};
}
// Denormals keep their bits and NaN stays NaN, as float_to_bf16 does.
inline void store_bf16(void* p, Vec a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  const __m512i top = _mm512_srli_epi32(_mm512_mask_blend_epi32(nan, rounded, quiet), 16);
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(top));
}

// Lane i: acc + the dot product of its 4 unsigned bytes of `a` and 4 signed bytes of `b`; or of 2 signed words each.
// With `wide` false the bytes of `a` must be under 128.
template <bool wide>
inline Ints dot4(Ints acc, Ints a, Ints b) {
  return {_mm512_dpbusd_epi32(acc.v, a.v, b.v)};
}
inline Ints dot2(Ints acc, Ints a, Ints b) {
  return {_mm512_dpwssd_epi32(acc.v, a.v, b.v)};
}

// Lane 4 k + n: the sum of lanes 4 k to 4 k + 3 of x[n].
inline Ints quarter_sums(const Ints (&x)[4]) {
  const auto halves = [](__m512i a, __m512i b) {
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  };
  const __m512i ab = halves(x[0].v, x[1].v), cd = halves(x[2].v, x[3].v);
  return {_mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd))};
}

#ifdef __AVX512BF16__
// Lane i: acc + the dot product of two bf16 of `a` and of `b`, summed as VDPBF16PS does.
inline Vec dot_bf16(Vec acc, Ints a, Ints b) {
  return {_mm512_dpbf16_ps(acc.v, reinterpret_cast<__m512bh>(a.v), reinterpret_cast<__m512bh>(b.v))};
}
#endif

constexpr int kVecRegisters = 32;  // vectors that fit the registers

// out[0..3] = sum() of each.
inline void store_sums(float* out, Vec a, Vec b, Vec c, Vec d) {
  const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a.v, b.v, 0x44), _mm512_shuffle_f32x4(a.v, b.v, 0xee));
  const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c.v, d.v, 0x44), _mm512_shuffle_f32x4(c.v, d.v, 0xee));
  const __m512 four = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  const __m512 two = _mm512_add_ps(four, _mm512_permute_ps(four, 0xee));
  const __m512 one = _mm512_add_ps(two, _mm512_movehdup_ps(two));
  _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, one)));
}
