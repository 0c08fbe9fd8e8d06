// Rows of the cache (or of scratch) as floats, and what attention does with those of a tile: scores, weighted sums.

// f8e4m3 as floats: exponent and fraction in a float's places, times what their biases differ by. NaN stays NaN.
inline Vec load_f8(const std::byte* p) {
  const Ints bits = load_i8(p), size = bits & set1(int32_t{0x7f}), sign = shift_left<24>(bits & set1(int32_t{0x80}));
  const Vec value = from_bits(shift_left<20>(size)) * set1(0x1p120f);
  const Ints nan = set1(int32_t{0}) - shift_right<7>(size + set1(int32_t{1}));
  return from_bits(bits_of(value) | sign | (nan & set1(int32_t{0x7fc00000})));
}

// A row of int8_block or f8e4m3 as `dim` floats, a multiple of 16.
inline void widen_coded(const KvTile& tile, int64_t row, float* out) {
  const std::byte* codes = tile.data + row * tile.dim;
  if (tile.codec == KvPolicy::Codec::f8e4m3) {
    for (int64_t d = 0; d < tile.dim; d += 16) store(out + d, load_f8(codes + d));
    return;
  }
  constexpr int64_t kBlock = 32;  // coordinates of a scale
  const int64_t n_scales = (tile.dim + kBlock - 1) / kBlock;
  const uint16_t* scales = tile.scales + row * n_scales;
  for (int64_t first = 0; first < n_scales; first += 16) {
    uint16_t halves[16] = {};
    float wide[16];
    __builtin_memcpy(halves, scales + first, static_cast<size_t>(2 * smaller<int64_t>(16, n_scales - first)));
    store(wide, load_f16(halves));
    for (int64_t d = first * kBlock; d < smaller<int64_t>(tile.dim, (first + 16) * kBlock); d += 16) {
      store(out + d, to_floats(load_i8(codes + d)) * set1(wide[d / kBlock - first]));
    }
  }
}

// Keys or values of one tile as floats: at(j, d, v) gives columns d to d + kColumns of row j. Rows lie `stride` bytes
// apart, in the cache or in scratch.
struct RowsAt {
  const std::byte* data;
  int64_t stride;
  const std::byte* row(int64_t j) const { return data + j * stride; }
};
struct F32Rows : RowsAt {
  static constexpr int kColumns = 16;
  void at(int64_t j, int64_t d, Vec* v) const { v[0] = load(reinterpret_cast<const float*>(row(j)) + d); }
};
struct F16Rows : RowsAt {
  static constexpr int kColumns = 16;
  void at(int64_t j, int64_t d, Vec* v) const { v[0] = load_f16(row(j) + 2 * d); }
};
struct Bf16Rows : RowsAt {
  static constexpr int kColumns = 16;
  void at(int64_t j, int64_t d, Vec* v) const { v[0] = load_bf16(row(j) + 2 * d); }
};
// In pair order: of 32 columns those of even places, then those of odd ones. Nothing is widened.
struct PairRows : RowsAt {
  static constexpr int kColumns = 32;
  void at(int64_t j, int64_t d, Vec* v) const {
    const Ints both = load_ints(row(j) + 2 * d);
    v[0] = from_bits(shift_left<16>(both));
    v[1] = from_bits(both & set1(static_cast<int32_t>(0xffff0000)));
  }
};
struct F8Rows : RowsAt {
  static constexpr int kColumns = 16;
  void at(int64_t j, int64_t d, Vec* v) const { v[0] = load_f8(row(j) + d); }
};
struct Int8Rows : RowsAt {
  static constexpr int kColumns = 32;  // of one scale
  const float* scales = nullptr;       // [tile, n_scales]
  int64_t n_scales = 0;
  void at(int64_t j, int64_t d, Vec* v) const {
    const Vec scale = set1(scales[j * n_scales + d / 32]);
    v[0] = to_floats(load_i8(row(j) + d)) * scale;
    v[1] = to_floats(load_i8(row(j) + d + 16)) * scale;
  }
};

// Floats in pair order, and back; n is a multiple of 32.
inline void to_pairs(float* x, int64_t n) {
  for (int64_t d = 0; d < n; d += 32) {
    float halves[32];
    for (int64_t i = 0; i < 16; ++i) {
      halves[i] = x[d + 2 * i];
      halves[16 + i] = x[d + 2 * i + 1];
    }
    for (int64_t i = 0; i < 32; i += 16) store(x + d + i, load(halves + i));
  }
}
inline void from_pairs(float* x, int64_t n) {
  for (int64_t d = 0; d < n; d += 32) {
    float halves[32];
    for (int64_t i = 0; i < 32; i += 16) store(halves + i, load(x + d + i));
    for (int64_t i = 0; i < 16; ++i) {
      x[d + 2 * i] = halves[i];
      x[d + 2 * i + 1] = halves[16 + i];
    }
  }
}

// scores[r][n] = q[r] . keys of rows [j, j + N), for R rows.
template <int R, int N, typename Rows>
inline void score_block(const float* q, int64_t dims, const Rows& keys, int64_t j, float* scores) {
  constexpr int kVectors = Rows::kColumns / 16;
  Vec sums[R][N];
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) sums[r][n] = set1(0.0f);
  }
  for (int64_t d = 0; d < dims; d += Rows::kColumns) {
    Vec x[R][kVectors];
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < kVectors; ++i) x[r][i] = load(q + r * dims + d + 16 * i);
    }
    for (int n = 0; n < N; ++n) {
      Vec k[kVectors];
      keys.at(j + n, d, k);
      for (int r = 0; r < R; ++r) {
        for (int i = 0; i < kVectors; ++i) sums[r][n] = fma(x[r][i], k[i], sums[r][n]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    if constexpr (N % 4 == 0) {
      for (int n = 0; n < N; n += 4) {
        store_sums(scores + r * kTile + n, sums[r][n], sums[r][n + 1], sums[r][n + 2], sums[r][n + 3]);
      }
    } else {
      for (int n = 0; n < N; ++n) scores[r * kTile + n] = sum(sums[r][n]);
    }
  }
}

template <int R, typename Rows>
inline void score_rows(const float* q, int64_t dims, const Rows& keys, Fetch fetch, int64_t begin, int64_t end,
                       float* scores) {
  constexpr int kKeys = larger(1, smaller(4, kVecRegisters / 2 / R));
  for (int64_t j = begin / kKeys * kKeys; j < end; j += kKeys) {
    for (int n = 0; n < kKeys; ++n) fetch(j + n);
    score_block<R, kKeys>(q, dims, keys, j, scores + j);
  }
}

// sums[r] += sum over keys j of weights[r][j] * values[j], for R rows and N vectors of columns from `d` on.
template <int R, int N, typename Rows>
inline void value_block(const float* weights, const Rows& values, Fetch fetch, int64_t d, int64_t begin, int64_t end,
                        float* sums, int64_t sums_stride) {
  constexpr int kVectors = Rows::kColumns / 16;
  Vec acc[R][N];
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) acc[r][n] = load(sums + r * sums_stride + d + 16 * n);
  }
  for (int64_t j = begin; j < end; ++j) {
    fetch(j);
    Vec v[N];
    for (int n = 0; n < N; n += kVectors) values.at(j, d + 16 * n, v + n);
    for (int r = 0; r < R; ++r) {
      const Vec w = set1(weights[r * kTile + j]);
      for (int n = 0; n < N; ++n) acc[r][n] = fma(w, v[n], acc[r][n]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) store(sums + r * sums_stride + d + 16 * n, acc[r][n]);
  }
}

template <int R, typename Rows>
inline void value_rows(const float* weights, const Rows& values, Fetch fetch, int64_t begin, int64_t end, int64_t dims,
                       float* sums, int64_t sums_stride) {
  constexpr int kLeast = Rows::kColumns / 16, kMost = larger(kLeast, smaller(8, kVecRegisters / 2 / R));
  int64_t d = 0;
  for (; d + 16 * kMost <= dims; d += 16 * kMost) {
    value_block<R, kMost>(weights, values, d == 0 ? fetch : Fetch{}, d, begin, end, sums, sums_stride);
  }
  for (; d < dims; d += 16 * kLeast) value_block<R, kLeast>(weights, values, {}, d, begin, end, sums, sums_stride);
}
