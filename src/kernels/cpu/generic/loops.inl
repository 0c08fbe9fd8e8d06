// Walking rows and vectors.

inline Vec load_part(const float* p, int64_t n) {
  return n == 16 ? load(p) : load_n(p, n);
}
inline void store_part(float* p, Vec a, int64_t n) {
  if (n == 16) {
    store(p, a);
  } else {
    store_n(p, a, n);
  }
}

// The others become zero.
inline Vec first_lanes(Vec a, int64_t n) {
  if (n == 16) return a;
  float lanes[16];
  store(lanes, a);
  return load_n(lanes, n);
}

// Calls f(i, count) for the vectors of [0, n): count is 16 but for the last.
template <typename F>
inline void for_vectors(int64_t n, F f) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) f(i, int64_t{16});
  if (i < n) f(i, n - i);
}

// Sum over [0, n) of f(i, count), whose lanes behind count are zero.
template <typename F>
inline float sum_over(int64_t n, F f) {
  Vec sums[4] = {set1(0.0f), set1(0.0f), set1(0.0f), set1(0.0f)};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    for (int k = 0; k < 4; ++k) sums[k] = sums[k] + f(i + 16 * k, int64_t{16});
  }
  for (int k = 0; i < n; i += 16, ++k) sums[k] = sums[k] + f(i, smaller<int64_t>(16, n - i));
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// Runs of a [rows, cols] view, dealt out to the team: f(row, first column).
constexpr int64_t kGrainElements = 2048;  // a claim's worth of light work

template <typename F>
inline void for_runs(const Team& team, int64_t rows, int64_t cols, int64_t run, F f) {
  const int64_t per_row = cols / run;
  const int64_t grain = larger<int64_t>(1, kGrainElements / run);
  for (int64_t begin = 0, end = 0; claim(team, rows * per_row, grain, begin, end);) {
    for (int64_t i = begin; i < end; ++i) f(i / per_row, i % per_row * run);
  }
}

// Of a raw cache.
inline int64_t element_bytes(DType dtype) {
  return dtype == DType::f32 ? 4 : 2;
}
