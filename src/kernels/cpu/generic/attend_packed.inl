// Attention over packed tiles in whole numbers. Queries and weights are taken apart into two bytes, codes are looked up
// once for all rows of a tile, and products are dot4(). What a tile gives is exact but for the 16 bits of queries (of
// their largest coordinate) and weights (of the tile's largest), so it depends on nothing else than the row and the
// tile.

constexpr float kLargestWeight = 65535.0f;  // whose bytes are unsigned

// Whose bytes are signed, and with which a key's sum fits 32 bits.
constexpr int32_t largest_query(int64_t dim) {
  return static_cast<int32_t>(smaller<int64_t>(127 * 256 + 127, INT32_MAX / (128 * dim)));
}

// What belongs to a query's bytes, which lie behind it in the order of key_byte(): [2][stride], upper and lower ones.
struct PackedQuery {
  int32_t start[16];  // of each lane's sum: takes off the 128 that keys' entries have too many
  float scale;        // of a sum, without the key's step and norm
  float rest;         // added to each sum: the half that entries have too few

  int8_t* bytes() { return reinterpret_cast<int8_t*>(this + 1); }
  const int8_t* bytes() const { return reinterpret_cast<const int8_t*>(this + 1); }
};

// Lane i of row j: the sign of entry (i, j) of the Walsh-Hadamard matrix.
struct Hadamard16 {
  float rows[16][16];
};
constexpr Hadamard16 hadamard16() {
  Hadamard16 h{};
  for (int j = 0; j < 16; ++j) {
    for (int i = 0; i < 16; ++i)
      h.rows[j][i] = __builtin_popcount(static_cast<unsigned>(i & j)) % 2 != 0 ? -1.0f : 1.0f;
  }
  return h;
}
constexpr Hadamard16 kHadamard16 = hadamard16();

// Queries and outputs into the codec's space and back: as rotate(), sums in another order.
inline void rotate_vectors(const TurboCodec& codec, const TurboTable& table, float* x, int64_t dim) {
  if (dim % 16 != 0 || (dim & (dim - 1)) != 0) return rotate(codec, x);
  for (int64_t i = 0; i < dim; i += 16) store(x + i, load(x + i) * load(table.signs + i));
  for (int64_t step = 16; step < dim; step *= 2) {
    for (int64_t begin = 0; begin < dim; begin += 2 * step) {
      for (int64_t i = begin; i < begin + step; i += 16) {
        const Vec left = load(x + i), right = load(x + i + step);
        store(x + i, left + right);
        store(x + i + step, left - right);
      }
    }
  }
  const Vec scale = set1(1.0f / __builtin_sqrtf(static_cast<float>(dim)));
  for (int64_t i = 0; i < dim; i += 16) {
    Vec sums[2] = {set1(0.0f), set1(0.0f)};
    for (int j = 0; j < 16; j += 2) {
      for (int k = 0; k < 2; ++k) sums[k] = fma(set1(x[i + j + k]), load(kHadamard16.rows[j + k]), sums[k]);
    }
    store(x + i, (sums[0] + sums[1]) * scale * load(table.signs + i));
  }
}

// q [dim], rotated.
inline void pack_query(const float* q, int64_t dim, int64_t stride, const TurboTable& keys, PackedQuery& packed) {
  Vec most = set1(0.0f);
  for_vectors(dim, [&](int64_t i, int64_t n) { most = max(most, abs(load_part(q + i, n))); });
  const float top = largest(most), scale = top > 0 ? top / static_cast<float>(largest_query(dim)) : 1.0f;
  int8_t* bytes = packed.bytes();
  for (int64_t i = 0; i < 2 * stride; ++i) bytes[i] = 0;
  const Vec inverse = set1(1.0f / scale);
  for_vectors(dim, [&](int64_t i, int64_t n) {
    const Ints number = to_ints(load_part(q + i, n) * inverse), half = set1(int32_t{128});
    const Ints low = ((number + half) & set1(int32_t{255})) - half;
    int8_t upper[16], lower[16];
    store_i8(upper, shift_right<8>(number - low + set1(int32_t{1 << 16})) - set1(int32_t{1 << 8}));
    store_i8(lower, low);
    for (int64_t j = 0; j < 16; ++j) {
      const int64_t at = key_byte(even_first(keys), i + j);
      bytes[at] = upper[j];
      bytes[stride + at] = lower[j];
    }
  });
  Ints high = set1(int32_t{0}), low = high;
  for (int64_t i = 0; i < stride; i += 16) {
    high = dot4<false>(high, set1(int32_t{0x01010101}), load_quarters(bytes + i));
    low = dot4<false>(low, set1(int32_t{0x01010101}), load_quarters(bytes + stride + i));
  }
  const Ints total = shift_left<8>(high) + low;  // in each quarter
  store_ints(packed.start, set1(int32_t{0}) - shift_left<7>(total));
  packed.scale = scale;
  packed.rest = (128.0f - keys.offset) * 0.25f * sum(to_floats(total));
}

// sums[r][n]: of R rows with N rows of keys from `first` on, a token in each quarter. Rows lie `row_bytes` apart.
template <int R, int N, typename Keys>
inline void packed_score_block(const std::byte* queries, int64_t row_bytes, const Keys& keys, int64_t groups,
                               int64_t first, Ints (*sums)[4]) {
  const auto query = [&](int r) { return reinterpret_cast<const PackedQuery*>(queries + r * row_bytes); };
  Ints high[R][N], low[R][N];
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) {
      high[r][n] = set1(int32_t{0});
      low[r][n] = load_ints(query(r)->start);
    }
  }
  for (int64_t g = 0; g < groups; ++g) {
    Ints k[N][2];
    for (int n = 0; n < N; ++n) keys.at(first + n, g, k[n]);
    for (int p = 0; p < 2; ++p) {
      for (int r = 0; r < R; ++r) {
        const int8_t* bytes = query(r)->bytes() + 32 * g + 16 * p;
        const Ints upper = load_quarters(bytes), lower = load_quarters(bytes + 32 * groups);
        for (int n = 0; n < N; ++n) {
          high[r][n] = dot4<true>(high[r][n], k[n][p], upper);
          low[r][n] = dot4<true>(low[r][n], k[n][p], lower);
        }
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) sums[r][n] = shift_left<8>(high[r][n]) + low[r][n];
  }
}

// The scores of R rows with a tile's keys, times the keys' norms, in the order of these.
template <int R, typename Keys>
inline void packed_scores(const std::byte* queries, int64_t row_bytes, const Keys& keys, int64_t groups, float step,
                          const float* norms, Fetch fetch, float* scores) {
  constexpr int kRows = kVecRegisters < 32 ? 1 : R <= 2 ? 4 : 2;  // of keys
  for (int64_t b = 0; b < kTile / 16; ++b) {
    Ints sums[R][4];
    for (int n = 0; n < 4; n += kRows) {
      for (int i = 0; i < kRows; ++i) fetch(4 * b + n + i);
      Ints part[R][4];
      packed_score_block<R, kRows>(queries, row_bytes, keys, groups, 4 * b + n, part);
      for (int r = 0; r < R; ++r) {
        for (int i = 0; i < kRows; ++i) sums[r][n + i] = part[r][i];
      }
    }
    for (int r = 0; r < R; ++r) {
      const auto* query = reinterpret_cast<const PackedQuery*>(queries + r * row_bytes);
      const Vec scale = set1(query->scale * step) * load(norms + 16 * b);
      store(scores + r * kTile + 16 * b, (to_floats(quarter_sums(sums[r])) + set1(query->rest)) * scale);
    }
  }
}

// The bytes [2][64] of 64 numbers of 16 bits, upper and lower ones; of each eight first those at even places, which
// belong to one quad of values.
inline void store_split(uint8_t* bytes, const Ints (&x)[4]) {
#ifdef __AVX512VBMI__
  alignas(64) static constexpr uint8_t kPlaces[64] = {0,  2,  16, 18, 1,  3,  17, 19, 32, 34, 48, 50, 33, 35, 49, 51,
                                                      4,  6,  20, 22, 5,  7,  21, 23, 36, 38, 52, 54, 37, 39, 53, 55,
                                                      8,  10, 24, 26, 9,  11, 25, 27, 40, 42, 56, 58, 41, 43, 57, 59,
                                                      12, 14, 28, 30, 13, 15, 29, 31, 44, 46, 60, 62, 45, 47, 61, 63};
  const __m512i places = _mm512_load_si512(kPlaces);
  const __m512i low = _mm512_packus_epi32(x[0].v, x[1].v), high = _mm512_packus_epi32(x[2].v, x[3].v);
  const __m512i byte = _mm512_set1_epi16(255);
  const auto put = [&](uint8_t* to, __m512i a, __m512i b) {
    _mm512_storeu_si512(to, _mm512_permutexvar_epi8(places, _mm512_packus_epi16(a, b)));
  };
  put(bytes, _mm512_srli_epi16(low, 8), _mm512_srli_epi16(high, 8));
  put(bytes + kTile, _mm512_and_si512(low, byte), _mm512_and_si512(high, byte));
#else
  int32_t numbers[kTile];
  for (int64_t i = 0; i < 4; ++i) store_ints(numbers + 16 * i, x[i]);
  for (int64_t i = 0; i < kTile; ++i) {
    const int32_t number = numbers[i / 8 * 8 + i % 4 * 2 + i / 4 % 2];
    bytes[i] = static_cast<uint8_t>(number >> 8);
    bytes[kTile + i] = static_cast<uint8_t>(number);
  }
#endif
}

// The 64 weights of a row, times their values' norms, as store_split() lays them out; gives what one unit is worth, 0
// for none.
inline float pack_weights(const float* weights, const float* norms, uint8_t* bytes) {
  Vec w[4];
  for (int i = 0; i < 4; ++i) w[i] = load(weights + 16 * i) * load(norms + 16 * i);
  const float top = largest(max(max(w[0], w[1]), max(w[2], w[3])));
  if (!(top > 1e-30f)) {
    for (int i = 0; i < 2 * kTile; ++i) bytes[i] = 0;
    return 0.0f;
  }
  const Vec scale = set1(kLargestWeight / top);
  Ints numbers[4];
  for (int i = 0; i < 4; ++i) numbers[i] = to_ints(w[i] * scale);
  store_split(bytes, numbers);
  return top / kLargestWeight;
}

// Two vectors of values as coordinates 0 to 15 and 16 to 31 of their group.
inline void natural_order(Vec a, Vec b, Vec& x, Vec& y) {
#ifdef __AVX512VBMI__
  const __m512i first = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
  x = {_mm512_permutex2var_ps(a.v, first, b.v)};
  y = {_mm512_permutex2var_ps(a.v, _mm512_add_epi32(first, _mm512_set1_epi32(2)), b.v)};
#else
  float from[32], to[32];
  store(from, a);
  store(from + 16, b);
  for (int d = 0; d < 32; ++d) to[d] = from[d % 8 * 4 + d / 8];
  x = load(to);
  y = load(to + 16);
#endif
}

// sums[r] += units[r] * weights[r] . values, for R rows.
template <int R, typename Values>
inline void packed_values(const uint8_t* weights, const float* units, const Values& values, int64_t groups,
                          int64_t dims, Fetch fetch, float* sums, int64_t sums_stride) {
  for (int64_t g = 0; g < groups; ++g) {
    Ints high[R][2], low[R][2];
    for (int r = 0; r < R; ++r) high[r][0] = high[r][1] = low[r][0] = low[r][1] = set1(int32_t{0});
    for (int64_t half = 0; half < 2; ++half) {
      for (int b = 0; b < 2; ++b) {
        Ints v[8];
        values.at(g, half, b, v);
        fetch(kKeyRows + 4 * g + 2 * half + b);
        for (int64_t q = 0; q < 8; ++q) {
          for (int r = 0; r < R; ++r) {
            const uint8_t* w = weights + r * 2 * kTile + 32 * half + 4 * q;
            int32_t upper, lower;
            __builtin_memcpy(&upper, w, 4);
            __builtin_memcpy(&lower, w + kTile, 4);
            high[r][b] = dot4<true>(high[r][b], set1(upper), v[q]);
            low[r][b] = dot4<true>(low[r][b], set1(lower), v[q]);
          }
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      const Vec unit = set1(units[r]);
      Vec x, y;
      natural_order(to_floats(shift_left<8>(high[r][0]) + low[r][0]), to_floats(shift_left<8>(high[r][1]) + low[r][1]),
                    x, y);
      float* to = sums + r * sums_stride + 32 * g;
      store(to, fma(x, unit, load(to)));
      if (32 * g + 16 < dims) store(to + 16, fma(y, unit, load(to + 16)));
    }
  }
}
