// Attention over packed tiles in whole numbers. Queries and weights are taken apart into two bytes, codes are looked up
// once for all rows of a tile, and products are dot4(). What a tile gives is exact but for the 16 bits of queries (of
// their largest coordinate) and weights (of the tile's largest), so it depends on nothing else than the row and the
// tile.

constexpr int32_t kLargestQuery = 127 * 256 + 127;  // whose bytes are signed
constexpr float kLargestWeight = 65535.0f;          // whose bytes are not

// What belongs to a query's bytes, which lie behind it: [2][stride], upper and lower ones.
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
inline void pack_query(const float* q, int64_t dim, int64_t stride, float offset, PackedQuery& packed) {
  Vec most = set1(0.0f);
  for_vectors(dim, [&](int64_t i, int64_t n) { most = max(most, abs(load_part(q + i, n))); });
  const float top = largest(most), scale = top > 0 ? top / kLargestQuery : 1.0f;
  int8_t* bytes = packed.bytes();
  for (int64_t i = 0; i < 2 * stride; ++i) bytes[i] = 0;
  const Vec inverse = set1(1.0f / scale);
  for_vectors(dim, [&](int64_t i, int64_t n) {
    const Ints number = to_ints(load_part(q + i, n) * inverse), half = set1(int32_t{128});
    const Ints low = ((number + half) & set1(int32_t{255})) - half;
    int8_t upper[16], lower[16];
    store_i8(upper, shift_right<8>(number - low + set1(int32_t{1 << 16})) - set1(int32_t{1 << 8}));
    store_i8(lower, low);
    for (int64_t run = 0; run < 2; ++run) {
      __builtin_memcpy(bytes + key_byte(i + 8 * run), upper + 8 * run, 8);
      __builtin_memcpy(bytes + stride + key_byte(i + 8 * run), lower + 8 * run, 8);
    }
  });
  Ints high = set1(int32_t{0}), low = high;
  for (int64_t i = 0; i < stride; i += 64) {
    high = dot4<false>(high, set1(int32_t{0x01010101}), load_ints(bytes + i));
    low = dot4<false>(low, set1(int32_t{0x01010101}), load_ints(bytes + stride + i));
  }
  const Ints total = shift_left<8>(high) + low;
  store_ints(packed.start, set1(int32_t{0}) - shift_left<7>(total));
  packed.scale = scale;
  packed.rest = (128.0f - offset) * sum(to_floats(total));
}

// scores[r][n] = sums of R rows with N keys; rows lie `row_bytes` apart.
template <int R, int N>
inline void packed_score_block(const std::byte* queries, int64_t row_bytes, int64_t stride, const uint8_t* keys,
                               float* scores) {
  const auto query = [&](int r) { return reinterpret_cast<const PackedQuery*>(queries + r * row_bytes); };
  Ints high[R][N], low[R][N];
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < N; ++n) {
      high[r][n] = set1(int32_t{0});
      low[r][n] = load_ints(query(r)->start);
    }
  }
  for (int64_t i = 0; i < stride; i += 64) {
    Ints k[N];
    for (int n = 0; n < N; ++n) k[n] = load_ints(keys + n * stride + i);
    for (int r = 0; r < R; ++r) {
      const int8_t* bytes = query(r)->bytes() + i;
      const Ints upper = load_ints(bytes), lower = load_ints(bytes + stride);
      for (int n = 0; n < N; ++n) {
        high[r][n] = dot4<true>(high[r][n], k[n], upper);
        low[r][n] = dot4<true>(low[r][n], k[n], lower);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    Vec sums[N];
    for (int n = 0; n < N; ++n) sums[n] = to_floats(shift_left<8>(high[r][n]) + low[r][n]);
    for (int n = 0; n < N; n += 4) {
      store_sums(scores + r * kTile + n, sums[n], sums[n + 1], sums[n + 2], sums[n + 3]);
    }
  }
}

// The scores of R rows with a tile's keys, times the keys' norms.
template <int R>
inline void packed_scores(const std::byte* queries, int64_t row_bytes, int64_t stride, const uint8_t* keys, float step,
                          const float* norms, float* scores) {
  constexpr int kKeys = kVecRegisters >= 32 && R <= 2 ? 8 / R : 4;
  for (int64_t j = 0; j < kTile; j += kKeys) {
    packed_score_block<R, kKeys>(queries, row_bytes, stride, keys + j * stride, scores + j);
  }
  for (int r = 0; r < R; ++r) {
    const auto* query = reinterpret_cast<const PackedQuery*>(queries + r * row_bytes);
    const Vec rest = set1(query->rest), scale = set1(query->scale * step);
    for (int64_t j = 0; j < kTile; j += 16) {
      float* to = scores + r * kTile + j;
      store(to, (load(to) + rest) * (scale * load(norms + j)));
    }
  }
}

// The 64 weights of a row, times their values' norms, as bytes [2][64]; gives what one unit is worth, 0 for none.
inline float pack_weights(const float* weights, const float* norms, uint8_t* bytes) {
  Vec w[4];
  for (int i = 0; i < 4; ++i) w[i] = load(weights + 16 * i) * load(norms + 16 * i);
  const float top = largest(max(max(w[0], w[1]), max(w[2], w[3])));
  if (!(top > 1e-30f)) {
    for (int i = 0; i < 2 * kTile; ++i) bytes[i] = 0;
    return 0.0f;
  }
  const Vec scale = set1(kLargestWeight / top);
  for (int i = 0; i < 4; ++i) {
    const Ints number = to_ints(w[i] * scale);
    store_i8(bytes + 16 * i, shift_right<8>(number));
    store_i8(bytes + kTile + 16 * i, number & set1(int32_t{255}));
  }
  return top / kLargestWeight;
}

// Two vectors of unpack_values() as coordinates 0 to 15 and 16 to 31 of their group.
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

// sums[r] += unit[r] * weights[r] . values, for R rows and G groups of 32 coordinates.
template <int R, int G>
inline void packed_value_block(const uint8_t* weights, const float* units, const int8_t* values, int64_t n_vectors,
                               int64_t dims, float* sums, int64_t sums_stride) {
  Ints high[R][2 * G], low[R][2 * G];
  for (int r = 0; r < R; ++r) {
    for (int n = 0; n < 2 * G; ++n) high[r][n] = low[r][n] = set1(int32_t{0});
  }
  for (int64_t quad = 0; quad < kQuads; ++quad) {
    Ints v[2 * G];
    for (int n = 0; n < 2 * G; ++n) v[n] = load_ints(values + (quad * n_vectors + n) * 64);
    for (int r = 0; r < R; ++r) {
      const uint8_t* w = weights + r * 2 * kTile + 4 * quad;
      int32_t upper, lower;
      __builtin_memcpy(&upper, w, 4);
      __builtin_memcpy(&lower, w + kTile, 4);
      for (int n = 0; n < 2 * G; ++n) {
        high[r][n] = dot4<true>(high[r][n], set1(upper), v[n]);
        low[r][n] = dot4<true>(low[r][n], set1(lower), v[n]);
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    const Vec unit = set1(units[r]);
    for (int g = 0; g < G; ++g) {
      Vec x, y;
      natural_order(to_floats(shift_left<8>(high[r][2 * g]) + low[r][2 * g]),
                    to_floats(shift_left<8>(high[r][2 * g + 1]) + low[r][2 * g + 1]), x, y);
      float* to = sums + r * sums_stride + 32 * g;
      store(to, fma(x, unit, load(to)));
      if (32 * g + 16 < dims) store(to + 16, fma(y, unit, load(to + 16)));
    }
  }
}

template <int R>
inline void packed_values(const uint8_t* weights, const float* units, const int8_t* values, int64_t groups,
                          int64_t dims, float* sums, int64_t sums_stride) {
  constexpr int kGroups = R <= 2 && kVecRegisters >= 32 ? 2 : 1;
  int64_t g = 0;
  for (; g + kGroups <= groups; g += kGroups) {
    packed_value_block<R, kGroups>(weights, units, values + g * 128, 2 * groups, dims - 32 * g, sums + 32 * g,
                                   sums_stride);
  }
  for (; g < groups; ++g) {
    packed_value_block<R, 1>(weights, units, values + g * 128, 2 * groups, dims - 32 * g, sums + 32 * g, sums_stride);
  }
}
