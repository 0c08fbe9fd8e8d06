// The trellis code (quant/trellis.h): the encoder's walk, and rows to bytes in the orders of unpack.inl.

#ifdef __AVX512VBMI__

// Windows 32 j to 32 j + 31 in vector j; states of 2 bits in two vectors, of 4 bits in half a one.
template <int bits>
inline void walk_fast(const Trellis& code, const int16_t* x, int n, uint16_t* best, uint8_t* back) {
  constexpr int kStates = kWindows >> bits, kHalves = bits == 2 ? 2 : 1, kFine = trellis_fine(bits);
  constexpr __mmask32 kUsed = bits == 4 ? 0xffff : 0xffffffff;
  __m512i parts[8], from[8], costs[kHalves], ids[kHalves];
  alignas(64) int16_t lanes[32];
  for (int i = 0; i < 32; ++i) lanes[i] = static_cast<int16_t>(i >> bits);
  for (int j = 0; j < 8; ++j) {
    const __m256i numbers = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(code.numbers + 32 * j));
    parts[j] = _mm512_mullo_epi16(_mm512_cvtepi8_epi16(numbers), _mm512_set1_epi16(kFine));
    from[j] = _mm512_add_epi16(_mm512_load_si512(lanes), _mm512_set1_epi16(static_cast<int16_t>(j * (32 >> bits))));
  }
  for (int h = 0; h < kHalves; ++h) costs[h] = _mm512_maskz_loadu_epi16(kUsed, best + 32 * h);
  for (int i = 0; i < n; ++i, back += kStates) {
    const __m512i at = _mm512_set1_epi16(x[i]);
    __m512i next[kHalves];
    for (int j = 0; j < 8; ++j) {
      const int h = j % kHalves;
      const __m512i apart = _mm512_sub_epi16(at, parts[j]);
      const __m512i cost =
          _mm512_add_epi16(_mm512_permutexvar_epi16(from[j], costs[j * kHalves / 8]), _mm512_mulhi_epi16(apart, apart));
      if (j < kHalves) {
        next[h] = cost;
        ids[h] = _mm512_setzero_si512();
        continue;
      }
      const __mmask32 nearer = _mm512_cmplt_epu16_mask(cost, next[h]);
      next[h] = _mm512_min_epu16(cost, next[h]);
      ids[h] = _mm512_mask_mov_epi16(ids[h], nearer, _mm512_set1_epi16(static_cast<int16_t>(j / kHalves)));
    }
    if constexpr (bits == 4) {  // even branches in the lower half, odd ones in the upper
      const __m256i even = _mm512_castsi512_si256(next[0]), odd = _mm512_extracti64x4_epi64(next[0], 1);
      const __m256i even_id = _mm256_slli_epi16(_mm512_castsi512_si256(ids[0]), 1);
      const __m256i odd_id =
          _mm256_add_epi16(_mm256_slli_epi16(_mm512_extracti64x4_epi64(ids[0], 1), 1), _mm256_set1_epi16(1));
      const __mmask16 odd_wins =
          static_cast<__mmask16>(_mm256_cmplt_epu16_mask(odd, even) |
                                 (_mm256_cmpeq_epu16_mask(odd, even) & _mm256_cmplt_epu16_mask(odd_id, even_id)));
      next[0] = _mm512_castsi256_si512(_mm256_min_epu16(even, odd));
      ids[0] = _mm512_castsi256_si512(_mm256_mask_mov_epi16(even_id, odd_wins, odd_id));
    }
    for (int h = 0; h < kHalves; ++h) costs[h] = next[h];
    if ((i + 1) % kRenewSteps == 0) {
      __m512i all = costs[0];
      if constexpr (kHalves == 2) all = _mm512_min_epu16(all, costs[1]);
      __m256i half = _mm512_castsi512_si256(all);
      if constexpr (bits != 4) half = _mm256_min_epu16(half, _mm512_extracti64x4_epi64(all, 1));
      const __m128i least =
          _mm_minpos_epu16(_mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
      for (int h = 0; h < kHalves; ++h) costs[h] = _mm512_sub_epi16(costs[h], _mm512_broadcastw_epi16(least));
    }
    for (int h = 0; h < kHalves; ++h) {
      const __m256i bytes = _mm512_cvtepi16_epi8(ids[h]);
      if constexpr (bits == 4) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(back), _mm256_castsi256_si128(bytes));
      } else {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(back + 32 * h), bytes);
      }
    }
  }
  for (int h = 0; h < kHalves; ++h) _mm512_mask_storeu_epi16(best + 32 * h, kUsed, costs[h]);
}

inline void trellis_walk(const Trellis& code, const int16_t* x, int n, uint16_t* best, uint8_t* back) {
  if (code.bits == 4) return walk_fast<4>(code, x, n, best, back);
  if (code.bits == 3) return walk_fast<3>(code, x, n, best, back);
  walk_fast<2>(code, x, n, best, back);
}

// Entries of all windows.
struct WindowTable {
  __m512i part[4];

  explicit WindowTable(const uint8_t* entries) {
    for (int i = 0; i < 4; ++i) part[i] = _mm512_loadu_si512(entries + 64 * i);
  }
  __m512i operator()(__m512i windows) const {
    const __m512i low = _mm512_permutex2var_epi8(part[0], windows, part[1]);
    const __m512i high = _mm512_permutex2var_epi8(part[2], windows, part[3]);
    return _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(windows), high);
  }
};

// The windows of eight runs of eight coordinates, a run in each 64 bits.
template <int bits>
class WindowRuns {
 public:
  // Bytes [begin, end) of a row, and the one behind them.
  WindowRuns(int64_t row_bytes, int64_t begin, int64_t end)
      : begin_(begin),
        behind_(end < row_bytes ? end : 0),
        mask_(end - begin < 64 ? (1ull << (end - begin)) - 1 : ~0ull) {}

  __m512i load(const std::byte* row) const { return _mm512_maskz_loadu_epi8(mask_, row + begin_); }
  __m512i behind(const std::byte* row) const { return _mm512_set1_epi8(static_cast<char>(row[behind_])); }
  // Places of the bytes of runs[i]; a byte behind is number 64.
  __m512i places(const int (&runs)[8]) const {
    alignas(64) uint8_t at[64];
    const auto n = static_cast<int>(_mm_popcnt_u64(mask_));
    for (int i = 0; i < 64; ++i) {
      const int byte = runs[i / 8] * bits + i % 8;
      at[i] = static_cast<uint8_t>(byte < n ? byte : 64);
    }
    return _mm512_load_si512(at);
  }
  static __m512i windows(__m512i bytes, __m512i places, __m512i behind) {
    const __m512i shifts = _mm512_set1_epi64(bits == 4   ? 0x1c1814100c080400
                                             : bits == 3 ? 0x15120f0c09060300
                                                         : 0x0e0c0a0806040200);
    return _mm512_multishift_epi64_epi8(shifts, _mm512_permutex2var_epi8(bytes, places, behind));
  }

 private:
  int64_t begin_, behind_;
  uint64_t mask_;
};

template <int bits>
inline void trellis_keys_fast(const TurboTable& table, const std::byte* tile, int64_t dim, uint8_t* out) {
  const WindowTable entries(table.windows);
  const int64_t row_bytes = dim / 8 * bits, groups = (dim + 31) / 32;
  for (int64_t g = 0; g < groups; g += 2) {
    const WindowRuns<bits> runs(row_bytes, 4 * g * bits, smaller<int64_t>(row_bytes, (4 * g + 8) * bits));
    const __m512i places = runs.places({0, 1, 2, 3, 4, 5, 6, 7});
    for (int64_t row = 0; row < kKeyRows; ++row) {
      __m512i k[4];
      for (int64_t i = 0; i < 4; ++i) {
        const std::byte* from = tile + key_token(row, i) * row_bytes;
        k[i] = entries(runs.windows(runs.load(from), places, runs.behind(from)));
      }
      turn_quarters(k);
      for (int64_t i = 0; i < (g + 1 < groups ? 4 : 2); ++i) {
        _mm512_storeu_si512(out + ((row * groups + g) * 2 + i) * 64, k[i]);
      }
    }
  }
}

template <int bits>
inline void trellis_values_fast(const TurboTable& table, const std::byte* tile, int64_t dim, int8_t* out) {
  const WindowTable entries(table.windows);
  const int64_t row_bytes = dim / 8 * bits, groups = (dim + 31) / 32;
  const __m512i turned = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int64_t g = 0; g < groups; g += 2) {
    const WindowRuns<bits> runs(row_bytes, 4 * g * bits, smaller<int64_t>(row_bytes, (4 * g + 8) * bits));
    const __m512i places = runs.places({0, 4, 1, 5, 2, 6, 3, 7});
    for (int64_t quad = 0; quad < 16; ++quad) {
      __m512i v[4];
      for (int64_t k = 0; k < 4; ++k) {
        const std::byte* row = tile + value_token(quad / 8, quad % 8, k) * row_bytes;
        v[k] = entries(runs.windows(runs.load(row), places, runs.behind(row)));
      }
      const __m512i low01 = _mm512_unpacklo_epi8(v[0], v[1]), high01 = _mm512_unpackhi_epi8(v[0], v[1]);
      const __m512i low23 = _mm512_unpacklo_epi8(v[2], v[3]), high23 = _mm512_unpackhi_epi8(v[2], v[3]);
      int8_t* to = out + ((g * 2 + quad / 8) * 16 + quad % 8) * 64;
      const auto put = [&](int64_t i, __m512i x) {
        _mm512_storeu_si512(to + (i / 2 * 32 + i % 2 * 8) * 64, _mm512_permutexvar_epi32(turned, x));
      };
      put(0, _mm512_unpacklo_epi16(low01, low23));
      put(1, _mm512_unpackhi_epi16(low01, low23));
      if (g + 1 == groups) continue;
      put(2, _mm512_unpacklo_epi16(high01, high23));
      put(3, _mm512_unpackhi_epi16(high01, high23));
    }
  }
}

inline void trellis_keys(const TurboTable& table, const std::byte* tile, int64_t dim, uint8_t* out) {
  if (table.bits == 4) return trellis_keys_fast<4>(table, tile, dim, out);
  if (table.bits == 3) return trellis_keys_fast<3>(table, tile, dim, out);
  trellis_keys_fast<2>(table, tile, dim, out);
}

inline void trellis_values(const TurboTable& table, const std::byte* tile, int64_t dim, int8_t* out) {
  if (table.bits == 4) return trellis_values_fast<4>(table, tile, dim, out);
  if (table.bits == 3) return trellis_values_fast<3>(table, tile, dim, out);
  trellis_values_fast<2>(table, tile, dim, out);
}

#else

inline void trellis_walk(const Trellis& code, const int16_t* x, int n, uint16_t* best, uint8_t* back) {
  walk_trellis(code, x, n, best, back);
}

// The entries of a row's coordinates, in order.
template <typename F>
inline void for_entries(const TurboTable& table, const std::byte* row, int64_t dim, const F& f) {
  const int64_t row_bytes = dim / 8 * table.bits;
  for (int64_t d = 0; d < dim; ++d) {
    const int64_t at = d * table.bits, next = at / 8 + 1 < row_bytes ? at / 8 + 1 : 0;
    const unsigned both = static_cast<unsigned>(row[at / 8]) | static_cast<unsigned>(row[next]) << 8;
    f(d, table.windows[both >> at % 8 & 255u]);
  }
}

inline void trellis_keys(const TurboTable& table, const std::byte* tile, int64_t dim, uint8_t* out) {
  const int64_t groups = (dim + 31) / 32;
  for (int64_t i = 0; dim < 32 * groups && i < kTile * groups * 32; ++i) out[i] = 0;
  for (int64_t i = 0; i < kTile; ++i) {
    for_entries(table, tile + key_token(i / 4, i % 4) * (dim / 8 * table.bits), dim, [&](int64_t d, uint8_t entry) {
      out[(i / 4 * groups * 2 + d / 16) * 64 + i % 4 * 16 + d % 16] = entry;
    });
  }
}

inline void trellis_values(const TurboTable& table, const std::byte* tile, int64_t dim, int8_t* out) {
  const int64_t groups = (dim + 31) / 32;
  for (int64_t i = 0; dim < 32 * groups && i < kTile * groups * 32; ++i) out[i] = 0;
  for (int64_t i = 0; i < kTile; ++i) {
    const int64_t half = i / 32, q = i / 4 % 8, k = i % 4;
    for_entries(table, tile + value_token(half, q, k) * (dim / 8 * table.bits), dim, [&](int64_t d, uint8_t entry) {
      const int64_t vector = ((d / 32 * 2 + half) * 2 + d / 4 % 2) * 8 + q;
      out[vector * 64 + (d % 4 * 4 + d / 8 % 4) * 4 + k] = static_cast<int8_t>(entry);
    });
  }
}

#endif
