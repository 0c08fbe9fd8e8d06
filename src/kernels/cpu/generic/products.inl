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

#define ARC_INLINE __attribute__((always_inline))

template <int i>
struct Const {
  static constexpr int value = i;
};
// f(Const<0>{}), f(Const<1>{}), ...
template <int n, int i = 0, typename F>
ARC_INLINE inline void unroll(F f) {
  if constexpr (i < n) {
    f(Const<i>{});
    unroll<n, i + 1>(f);
  }
}

// What one call multiplies: `panels` neighbouring panels with a tile of `n` tokens.
struct Tile {
  const std::byte* weights;
  int64_t panels, panel_bytes;
  const uint32_t* x;
  float* y[kMaxTile];  // of the first row of the first panel, by token
  int64_t n, rows;     // tokens, rows left in the matrix
  const float* bias;   // of the first row, or null
};

// Sums of P panels from `panel` on with N tokens from `token` on: bias added, surplus tokens and rows left out.
template <int P, int N>
inline void store_sums(const Tile& tile, int64_t panel, int64_t token, const Vec (&sums)[P][N]) {
  for (int64_t p = 0; p < P; ++p) {
    const int64_t row = (panel + p) * kPanelRows, n = smaller(tile.rows - row, kPanelRows);
    for (int64_t t = 0; t < smaller<int64_t>(N, tile.n - token); ++t) {
      const Vec sum = tile.bias == nullptr ? sums[p][t] : sums[p][t] + load_n(tile.bias + row, n);
      store_n(tile.y[token + t] + row, sum, n);
    }
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
  template <int N>
  static void run(const Tile& tile) {
    if constexpr (N >= 8) {
      if (tile.panels == 2) return multiply<2, N>(tile, 0);
    }
    for (int64_t p = 0; p < tile.panels; ++p) multiply<1, N>(tile, p);  // one stream is read fastest
  }

  template <int P, int N>
  static void multiply(const Tile& tile, int64_t panel) {
    const std::byte* w = tile.weights + panel * tile.panel_bytes;
    const uint32_t* x = tile.x;
    Vec acc[P][N];
    unroll<P>([&](auto p) { unroll<N>([&](auto t) { acc[p.value][t.value] = set1(0.0f); }); });
    for (const std::byte* end = w + tile.panel_bytes; w < end; w += W::kStepBytes, x += W::kWords * N) {
      unroll<P>([&](auto p) ARC_INLINE {
        const typename W::Columns c = W::columns(w + p.value * tile.panel_bytes);
        unroll<N>([&](auto t) { acc[p.value][t.value] = W::multiply(acc[p.value][t.value], c, x + t.value, N); });
      });
    }
    Vec sums[P][N];  // a copy, so that the sums above may live in registers
    unroll<P>([&](auto p) { unroll<N>([&](auto t) { sums[p.value][t.value] = acc[p.value][t.value]; }); });
    store_sums(tile, panel, 0, sums);
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

inline Ints set_word(uint32_t word) {
  return set1(static_cast<int32_t>(word));
}

// A call of a block kernel: P panels with N tokens, of a tile of S. Big tiles are done in halves, whose sums fit the
// registers for two panels.
template <typename Kernel, int S>
inline void run_blocks(const Tile& tile) {
  constexpr int N = S >= 8 ? S / 2 : S;
  for (int64_t token = 0; token < S; token += N) {
    if constexpr (S >= 8) {
      if (tile.panels == 2) {
        Kernel::template multiply<2, N, S>(tile, 0, token);
        continue;
      }
    }
    for (int64_t p = 0; p < tile.panels; ++p) Kernel::template multiply<1, N, S>(tile, p, token);
  }
}

// Blocks of 32 with one scale. Activations per block: 8 words of codes, the start of the sum, the scale.
template <typename Code>
struct Block32Kernel {
  static constexpr int kBlockBytes = 32 + Code::kRunBytes, kWords = 10;

  template <int S>
  static void run(const Tile& tile) {
    run_blocks<Block32Kernel, S>(tile);
  }

  template <int P, int N, int S>
  static void multiply(const Tile& tile, int64_t panel, int64_t token) {
    const std::byte* w = tile.weights + panel * tile.panel_bytes;
    const uint32_t* x = tile.x + token;
    Vec total[P][N];
    unroll<P>([&](auto p) { unroll<N>([&](auto t) { total[p.value][t.value] = set1(0.0f); }); });
    for (const std::byte* end = w + tile.panel_bytes; w < end; w += kBlockBytes, x += kWords * S) {
      Ints acc[P][N];
      unroll<P>([&](auto p) { unroll<N>([&](auto t) { acc[p.value][t.value] = set_word(x[8 * S + t.value]); }); });
      unroll<8>([&](auto g) ARC_INLINE {
        Ints c[P];
        unroll<P>([&](auto p) { c[p.value] = Code::template group<g.value>(w + p.value * tile.panel_bytes + 32); });
        unroll<N>([&](auto t) ARC_INLINE {
          const Ints codes = set_word(x[g.value * S + t.value]);
          unroll<P>(
              [&](auto p) { acc[p.value][t.value] = dot4<Code::kBytes>(acc[p.value][t.value], c[p.value], codes); });
        });
      });
      const auto* scales = reinterpret_cast<const float*>(x + 9 * S);
      unroll<P>([&](auto p) ARC_INLINE {
        const Vec d = load_f16(w + p.value * tile.panel_bytes);
        unroll<N>([&](auto t) {
          Vec& sum = total[p.value][t.value];
          sum = fma(to_floats(acc[p.value][t.value]), d * set1(scales[t.value]), sum);
        });
      });
    }
    Vec sums[P][N];
    unroll<P>([&](auto p) { unroll<N>([&](auto t) { sums[p.value][t.value] = total[p.value][t.value]; }); });
    store_sums(tile, panel, token, sums);
  }
};

// Eight 6-bit scales and minima of q4_k and q5_k, by row: scales[s] as floats; mins[i] the minima (0, 2), (1, 3),
// (4, 6), (5, 7) as pairs of words.
ARC_INLINE inline void unpack_scales(const std::byte* p, Vec (&scales)[8], Ints (&mins)[4]) {
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
  static constexpr int kBlockBytes = Code::kScaleBytes + 8 * Code::kRunBytes, kWords = 85;
  static constexpr int kScales = 64 / Code::kShared;
  static constexpr bool kMinima = kScales == 8;

  template <int S>
  static void run(const Tile& tile) {
    run_blocks<Block256Kernel, S>(tile);
  }

  template <int P, int N, int S>
  static void multiply(const Tile& tile, int64_t panel, int64_t token) {
    const std::byte* w = tile.weights + panel * tile.panel_bytes;
    const uint32_t* x = tile.x + token;
    Vec total[P][N];
    unroll<P>([&](auto p) { unroll<N>([&](auto t) { total[p.value][t.value] = set1(0.0f); }); });
    for (const std::byte* end = w + tile.panel_bytes; w < end; w += kBlockBytes, x += kWords * S) {
      const auto* scales = reinterpret_cast<const float*>(x + 84 * S);
      Vec factors[P][kScales];
      unroll<P>([&](auto p) ARC_INLINE {
        const std::byte* block = w + p.value * tile.panel_bytes;
        if constexpr (kMinima) {
          Ints mins[4];
          unpack_scales(block + 64, factors[p.value], mins);
          subtract_minima<N, S>(mins, set1(0.0f) - load_f16(block + 32), x, total[p.value]);
        } else {
          for (int i = 0; i < kScales; ++i) factors[p.value][i] = to_floats(load_i8(block + 32 + i * 16));
        }
      });
      Vec part[P][N];
      sum_runs<P, N, S>(w + Code::kScaleBytes, tile.panel_bytes, x, factors, part);
      unroll<P>([&](auto p) ARC_INLINE {
        const Vec d = load_f16(w + p.value * tile.panel_bytes);
        unroll<N>([&](auto t) {
          Vec& sum = total[p.value][t.value];
          sum = fma(part[p.value][t.value], d * set1(scales[t.value]), sum);
        });
      });
    }
    Vec sums[P][N];
    unroll<P>([&](auto p) { unroll<N>([&](auto t) { sums[p.value][t.value] = total[p.value][t.value]; }); });
    store_sums(tile, panel, token, sums);
  }

  // part = the block's codes times activation codes, times the factor of each scale.
  template <int P, int N, int S>
  ARC_INLINE static void sum_runs(const std::byte* codes, int64_t panel_bytes, const uint32_t* x,
                                  const Vec (&factors)[P][kScales], Vec (&part)[P][N]) {
    unroll<P>([&](auto p) { unroll<N>([&](auto t) { part[p.value][t.value] = set1(0.0f); }); });
    const uint32_t* starts = x + 64 * S;
    for (int i = 0; i < kScales; codes += Code::kRunBytes) {
      unroll<kScales / 8>([&](auto half) ARC_INLINE {
        Ints acc[P][N];
        unroll<P>([&](auto p) {
          unroll<N>([&](auto t) { acc[p.value][t.value] = kMinima ? set1(0) : set_word(starts[t.value]); });
        });
        unroll<Code::kShared>([&](auto g) ARC_INLINE {
          constexpr int group = half.value * Code::kShared + g.value;
          Ints c[P];
          unroll<P>([&](auto p) { c[p.value] = Code::template group<group>(codes + p.value * panel_bytes); });
          unroll<N>([&](auto t) ARC_INLINE {
            const Ints word = set_word(x[g.value * S + t.value]);
            unroll<P>([&](auto p) { acc[p.value][t.value] = dot4<false>(acc[p.value][t.value], c[p.value], word); });
          });
        });
        unroll<P>([&](auto p) ARC_INLINE {
          const Vec factor = factors[p.value][i];
          unroll<N>([&](auto t) {
            part[p.value][t.value] = fma(to_floats(acc[p.value][t.value]), factor, part[p.value][t.value]);
          });
        });
        x += Code::kShared * S;
        starts += S;
        ++i;
      });
    }
  }

  template <int N, int S>
  ARC_INLINE static void subtract_minima(const Ints (&mins)[4], Vec minus_dmin, const uint32_t* x, Vec (&total)[N]) {
    const auto* scales = reinterpret_cast<const float*>(x + 84 * S);
    unroll<N>([&](auto t) ARC_INLINE {
      Ints acc = set1(0);
      unroll<4>([&](auto i) { acc = dot2(acc, mins[i.value], set_word(x[(80 + i.value) * S + t.value])); });
      total[t.value] = fma(to_floats(acc), minus_dmin * set1(scales[t.value]), total[t.value]);
    });
  }
};

#undef ARC_INLINE
