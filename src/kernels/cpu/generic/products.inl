// Products of packed weights with token rows: linear, head_linear, expert_linear.
//
// Rows of x become activations in the scratch memory: rounded as the weight's format wants and interleaved by tiles of
// tokens, one 4-byte word of each token after the other. A kernel multiplies a panel of 16 weight rows (pack.h) with a
// tile. Each sum of a weight row and a token runs over the columns in one order, whatever the tile: a token's result
// has the same bits alone and in company.

constexpr int kTileSizes[] = {1, 2, 4, 8, 12};   // up to kMaxTile
constexpr int64_t kMaxPanels = 2;                // panels of one call
constexpr int64_t kItemBytes = 64 << 10;         // weights that a thread claims at a time
constexpr int64_t kActivationBytes = 256 << 10;  // tiles that stay in the second-level cache while panels pass

template <int i>
struct Const {
  static constexpr int value = i;
};
// f(Const<0>{}), f(Const<1>{}), ...
template <int n, int i = 0, typename F>
inline __attribute__((always_inline)) void unroll(F f) {
  if constexpr (i < n) {
    f(Const<i>{});
    unroll<n, i + 1>(f);
  }
}

// What one call multiplies: up to kMaxPanels panels with a tile of `n` tokens.
struct Tile {
  const std::byte* weights;
  int64_t panel_bytes, in;
  const uint32_t* x;
  float* y[kMaxTile];  // of the first row of the first panel, by token
  int64_t n, rows;     // tokens, rows left in the matrix
  const float* bias;   // of the first row, or null
};

// Streams of weights that are used at once run faster than the processor guesses.
constexpr int64_t kPrefetchBytes = 3 << 10;
template <int N>
inline void prefetch(const std::byte* weights) {
  if constexpr (N <= 4) __builtin_prefetch(weights + kPrefetchBytes);
}

inline void store_tile(const Tile& tile, int panel, int token, Vec sum) {
  const int64_t row = panel * kPanelRows, rows = tile.rows - row;
  if (token >= tile.n || rows <= 0) return;
  const int64_t n = smaller(rows, kPanelRows);
  if (tile.bias != nullptr) sum = sum + load_n(tile.bias + row, n);
  if (n == kPanelRows) {
    store(tile.y[token] + row, sum);
  } else {
    store_n(tile.y[token] + row, sum, n);
  }
}

// ---- weights of plain types ----

struct F32Weights {
  static constexpr int kStepBytes = 64, kWords = 1;
  struct Columns {
    Vec w;
  };
  static Columns columns(const std::byte* p) { return {load(reinterpret_cast<const float*>(p))}; }
  static Vec multiply(Vec acc, const Columns& c, const uint32_t* x, int) {
    return fma(c.w, set1(*reinterpret_cast<const float*>(x)), acc);
  }
};

struct F16Weights {
  static constexpr int kStepBytes = 32, kWords = 1;
  using Columns = F32Weights::Columns;
  static Columns columns(const std::byte* p) { return {load_f16(p)}; }
  static Vec multiply(Vec acc, const Columns& c, const uint32_t* x, int tile) {
    return F32Weights::multiply(acc, c, x, tile);
  }
};

// Two columns as floats, the activations too.
struct Bf16Weights {
  static constexpr int kStepBytes = 64, kWords = 2;
  struct Columns {
    Vec even, odd;
  };
  static Columns columns(const std::byte* p) {
    const Ints pairs = load_ints(p);
    return {from_bits(shift_left<16>(pairs)), from_bits(pairs & set1(static_cast<int32_t>(0xffff0000)))};
  }
  static Vec multiply(Vec acc, const Columns& c, const uint32_t* x, int tile) {
    const auto* values = reinterpret_cast<const float*>(x);
    return fma(c.odd, set1(values[tile]), fma(c.even, set1(values[0]), acc));
  }
};

#ifdef __AVX512BF16__
// Two columns with two rounded activations.
struct Bf16Pairs {
  static constexpr int kStepBytes = 64, kWords = 1;
  struct Columns {
    Ints pairs;
  };
  static Columns columns(const std::byte* p) { return {load_ints(p)}; }
  static Vec multiply(Vec acc, const Columns& c, const uint32_t* x, int) {
    return dot_bf16(acc, c.pairs, set1(static_cast<int32_t>(*x)));
  }
};
#endif

template <typename W>
struct PlainKernel {
  template <int P, int N>
  static void run(const Tile& tile) {
    const int64_t steps = tile.panel_bytes / W::kStepBytes;
    const std::byte* w = tile.weights;
    const uint32_t* x = tile.x;
    Vec acc[P][N];
    unroll<P>([&](auto p) { unroll<N>([&](auto t) { acc[p.value][t.value] = set1(0.0f); }); });
    for (int64_t s = 0; s < steps; ++s, w += W::kStepBytes, x += W::kWords * N) {
      unroll<P>([&](auto p) {
        prefetch<N>(w + p.value * tile.panel_bytes);
        const typename W::Columns c = W::columns(w + p.value * tile.panel_bytes);
        unroll<N>([&](auto t) { acc[p.value][t.value] = W::multiply(acc[p.value][t.value], c, x + t.value, N); });
      });
    }
    unroll<P>([&](auto p) { unroll<N>([&](auto t) { store_tile(tile, p.value, t.value, acc[p.value][t.value]); }); });
  }
};

// ---- weights in block codes ----

inline Ints low_nibbles(Ints bytes) {
  return bytes & set1(0x0f0f0f0f);
}
inline Ints high_nibbles(Ints bytes) {
  return low_nibbles(shift_right<4>(bytes));
}

// To the left by n bits, or to the right by -n.
template <int n>
inline Ints shift(Ints a) {
  if constexpr (n >= 0) {
    return shift_left<n>(a);
  } else {
    return shift_right<-n>(a);
  }
}

// Columns 4 g .. 4 g + 3 of a run of 32.
template <int g>
inline Ints nibble_group(const std::byte* run) {
  const Ints bytes = load_ints(run + g % 4 * 64);
  return g < 4 ? low_nibbles(bytes) : high_nibbles(bytes);
}

struct Q8Code {
  static constexpr bool kBytes = true;  // codes above 127
  template <int g>
  static Ints group(const std::byte* run) {
    return load_ints(run + g * 64);
  }
  static constexpr int kRunBytes = 512;
};

struct Q4Code {
  static constexpr bool kBytes = false;
  template <int g>
  static Ints group(const std::byte* run) {
    return nibble_group<g>(run);
  }
  static constexpr int kRunBytes = 256;
};

// Blocks of 32 with one scale. Activations per block: 8 words of codes, the start of the sum, the scale.
template <typename Code>
struct Block32Kernel {
  static constexpr int kWords = 10;

  template <int P, int N>
  static void run(const Tile& tile) {
    for (int p = 0; p < P; ++p) panel<N>(tile, p);
  }

  template <int N>
  static void panel(const Tile& tile, int p) {
    const std::byte* w = tile.weights + p * tile.panel_bytes;
    const std::byte* end = w + tile.panel_bytes;
    const uint32_t* x = tile.x;
    Vec total[N];
    unroll<N>([&](auto t) { total[t.value] = set1(0.0f); });
    for (; w < end; w += 32 + Code::kRunBytes, x += kWords * N) {
      Ints acc[N];
      unroll<N>([&](auto t) { acc[t.value] = set1(static_cast<int32_t>(x[8 * N + t.value])); });
      unroll<8>([&](auto g) {
        if constexpr (g.value * 64 < Code::kRunBytes) prefetch<N>(w + 64 * g.value);
        const Ints c = Code::template group<g.value>(w + 32);
        unroll<N>([&](auto t) {
          acc[t.value] = dot4<Code::kBytes>(acc[t.value], c, set1(static_cast<int32_t>(x[g.value * N + t.value])));
        });
      });
      const Vec d = load_f16(w);
      const auto* scales = reinterpret_cast<const float*>(x + 9 * N);
      unroll<N>(
          [&](auto t) { total[t.value] = fma(to_floats(acc[t.value]), d * set1(scales[t.value]), total[t.value]); });
    }
    unroll<N>([&](auto t) { store_tile(tile, p, t.value, total[t.value]); });
  }
};

// Eight 6-bit scales and minima of q4_k and q5_k, by row: scales[s] as floats; mins[i] the minima (0, 2), (1, 3),
// (4, 6), (5, 7) as pairs of words.
inline void unpack_scales(const std::byte* p, Vec (&scales)[8], Ints (&mins)[4]) {
  const Ints w0 = load_ints(p), w1 = load_ints(p + 64), w2 = load_ints(p + 128);
  const Ints six = set1(0x3f3f3f3f), two = set1(0x30303030), words = set1(0x00ff00ff);
  const Ints scale[2] = {w0 & six, low_nibbles(w2) | (shift_right<2>(w0) & two)};
  const Ints min[2] = {w1 & six, high_nibbles(w2) | (shift_right<2>(w1) & two)};
  unroll<2>([&](auto h) {
    unroll<4>([&](auto i) {
      scales[4 * h.value + i.value] = to_floats(shift_right<8 * i.value>(scale[h.value]) & set1(0xff));
    });
    mins[2 * h.value] = min[h.value] & words;
    mins[2 * h.value + 1] = shift_right<8>(min[h.value]) & words;
  });
}

struct Q4KCode : Q4Code {
  static constexpr int kScaleBytes = 256, kShared = 8;  // groups that share a scale
};

struct Q5KCode {
  static constexpr bool kBytes = false;
  static constexpr int kRunBytes = 320, kScaleBytes = 256, kShared = 8;
  template <int g>
  static Ints group(const std::byte* run) {
    const Ints high = load_ints(run + 256), bit = set1(0x10101010);
    return nibble_group<g>(run) | (shift<4 - g>(high) & bit);
  }
};

struct Q6KCode {
  static constexpr bool kBytes = false;
  static constexpr int kRunBytes = 384, kScaleBytes = 288, kShared = 4;
  template <int g>
  static Ints group(const std::byte* run) {
    const Ints high = load_ints(run + 256 + g / 4 * 64), bits = set1(0x30303030);
    return nibble_group<g>(run) | (shift<4 - g % 4 * 2>(high) & bits);
  }
};

// Blocks of 256. Activations per block: 64 words of codes, 16 starts of sums, 4 pairs of sums, the scale.
template <typename Code>
struct Block256Kernel {
  static constexpr int kWords = 85;
  static constexpr bool kMinima = Code::kShared == 8;

  template <int P, int N>
  static void run(const Tile& tile) {
    for (int p = 0; p < P; ++p) panel<N>(tile, p);
  }

  template <int N>
  static void panel(const Tile& tile, int p) {
    const std::byte* w = tile.weights + p * tile.panel_bytes;
    const std::byte* end = w + tile.panel_bytes;
    const uint32_t* x = tile.x;
    Vec total[N];
    unroll<N>([&](auto t) { total[t.value] = set1(0.0f); });
    for (; w < end; w += Code::kScaleBytes + 8 * Code::kRunBytes, x += kWords * N) {
      const auto* scales = reinterpret_cast<const float*>(x + 84 * N);
      const Vec d = load_f16(w);
      Vec part[N];
      if constexpr (kMinima) {
        Vec factors[8];
        Ints mins[4];
        unpack_scales(w + 64, factors, mins);
        subtract_minima<N>(mins, load_f16(w + 32), x, total);
        sum_runs<N>(w, x, part, [&](int i) { return factors[i]; });
      } else {
        sum_runs<N>(w, x, part, [&](int i) { return to_floats(load_i8(w + 32 + i * 16)); });
      }
      unroll<N>([&](auto t) { total[t.value] = fma(part[t.value], d * set1(scales[t.value]), total[t.value]); });
    }
    unroll<N>([&](auto t) { store_tile(tile, p, t.value, total[t.value]); });
  }

  // part = the block's codes times activation codes, by scale i.
  template <int N, typename Scale>
  static void sum_runs(const std::byte* w, const uint32_t* x, Vec (&part)[N], Scale scale) {
    unroll<N>([&](auto t) { part[t.value] = set1(0.0f); });
    const std::byte* codes = w + Code::kScaleBytes;
    for (int r = 0; r < 8; ++r, codes += Code::kRunBytes) {
      unroll<8 / Code::kShared>([&](auto half) {
        const int i = r * (8 / Code::kShared) + half.value;
        Ints acc[N];
        unroll<N>(
            [&](auto t) { acc[t.value] = kMinima ? set1(0) : set1(static_cast<int32_t>(x[(64 + i) * N + t.value])); });
        unroll<Code::kShared>([&](auto g) {
          constexpr int group = half.value * Code::kShared + g.value;
          if constexpr (group * 64 < Code::kRunBytes) prefetch<N>(codes + 64 * group);
          const Ints c = Code::template group<group>(codes);
          const uint32_t* words = x + (r * 8 + group) * N;
          unroll<N>(
              [&](auto t) { acc[t.value] = dot4<false>(acc[t.value], c, set1(static_cast<int32_t>(words[t.value]))); });
        });
        const Vec factor = scale(i);
        unroll<N>([&](auto t) { part[t.value] = fma(to_floats(acc[t.value]), factor, part[t.value]); });
      });
    }
  }

  template <int N>
  static void subtract_minima(const Ints (&mins)[4], Vec dmin, const uint32_t* x, Vec (&total)[N]) {
    const auto* scales = reinterpret_cast<const float*>(x + 84 * N);
    const Vec minus = set1(0.0f) - dmin;
    unroll<N>([&](auto t) {
      Ints acc = set1(0);
      unroll<4>(
          [&](auto i) { acc = dot2(acc, mins[i.value], set1(static_cast<int32_t>(x[(80 + i.value) * N + t.value]))); });
      total[t.value] = fma(to_floats(acc), minus * set1(scales[t.value]), total[t.value]);
    });
  }
};
