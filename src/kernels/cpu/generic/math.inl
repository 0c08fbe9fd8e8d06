// Functions of vectors. Errors (u = 2^-24; ops_test.cc proves them over the whole range against double):
//   exp_v      2 u of the value for x in [-87, 88]; exactly 0 below -104; above 88 the value at 88
//   sigmoid_v  4 u of the value for x >= -87
//   tanh_v     5 u of the value
//   erf_v      6 u
// NaN gives NaN.

// 2^n for n in [-252, 254], as two factors that are normal numbers.
inline Vec scale_by_power(Vec x, Ints n) {
  // An arithmetic shift of n by one, by way of an offset that keeps it positive.
  const Ints half = shift_right<1>(n + set1(int32_t{512})) - set1(int32_t{256});
  const Ints bias = set1(int32_t{127});
  return x * from_bits(shift_left<23>(half + bias)) * from_bits(shift_left<23>(n - half + bias));
}

// x = n ln 2 + r, |r| <= ln 2 / 2 and a little.
struct Reduced {
  Ints n;
  Vec r;
};
inline Reduced reduce_exp(Vec x) {
  const Ints n = to_ints(x * set1(1.44269504088896341f));
  const Vec f = to_floats(n);
  // ln 2 in two parts, the first short enough that its product with n is exact.
  return {n, fma(f, set1(-0x1.7f7d1cp-20f), fma(f, set1(-0x1.62e4p-1f), x))};
}

// (e^r - 1 - r) / r^2
inline Vec exp_tail(Vec r) {
  Vec p = set1(1.0f / 5040.0f);
  p = fma(p, r, set1(1.0f / 720.0f));
  p = fma(p, r, set1(1.0f / 120.0f));
  p = fma(p, r, set1(1.0f / 24.0f));
  p = fma(p, r, set1(1.0f / 6.0f));
  return fma(p, r, set1(0.5f));
}

inline Vec exp_v(Vec x) {
  x = min(set1(88.0f), max(set1(-110.0f), x));  // the second operand wins over NaN
  const Reduced a = reduce_exp(x);
  const Vec p = fma(exp_tail(a.r) * a.r, a.r, a.r) + set1(1.0f);
  return scale_by_power(p, a.n);
}

// e^x - 1 for x in [0, 40], precise near 0 too.
inline Vec expm1_positive(Vec x) {
  const Reduced a = reduce_exp(x);
  const Vec p = fma(exp_tail(a.r) * a.r, a.r, a.r);
  const Vec power = from_bits(shift_left<23>(a.n + set1(int32_t{127})));
  return fma(p, power, power - set1(1.0f));
}

inline Vec with_sign_of(Vec magnitude, Vec sign) {
  return from_bits(bits_of(magnitude) | (bits_of(sign) & set1(INT32_MIN)));
}

inline Vec tanh_v(Vec x) {
  const Vec e = expm1_positive(min(set1(40.0f), abs(x) + abs(x)));
  return with_sign_of(e / (e + set1(2.0f)), x);
}

inline Vec sigmoid_v(Vec x) {
  const Vec one = set1(1.0f);
  return one / (one + exp_v(set1(0.0f) - x));
}

inline Vec silu_v(Vec x) {
  return x * sigmoid_v(x);
}

// Abramowitz and Stegun 7.1.26.
inline Vec erf_v(Vec x) {
  const Vec one = set1(1.0f), size = abs(x);
  const Vec t = one / fma(size, set1(0.3275911f), one);
  Vec p = set1(1.061405429f);
  p = fma(p, t, set1(-1.453152027f));
  p = fma(p, t, set1(1.421413741f));
  p = fma(p, t, set1(-0.284496736f));
  p = fma(p, t, set1(0.254829592f));
  return with_sign_of(one - p * t * exp_v(set1(0.0f) - size * size), x);
}
