// Packed tiles to bytes that dot4() takes. Keys come in the order of norm_place(), one row of `stride` bytes each: in
// 128 coordinates first those of even runs of eight, then of odd ones. Values come in quads, the four tokens of each
// group of norms, and in vectors of 16 coordinates a quad: lane 4 i + m of vector 2 g + b has coordinate 32 g + 8 m + 4
// b + i.

constexpr int64_t kTile = kTileTokens;
constexpr int64_t kQuads = kTileTokens / 4;

inline void prefetch(const std::byte* data, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(data + i, 0, 2);
}

// What will be read next: part t is fetched while token t is worked on. No part: nothing.
struct Fetch {
  const std::byte* data = nullptr;
  int64_t part = 0;
  void operator()(int64_t t) const { prefetch(data + t * part, part); }
};

// Where key byte `d` lies in its row.
constexpr int64_t key_byte(int64_t d) {
  return d / 128 * 128 + d / 8 % 2 * 64 + d % 128 / 16 * 8 + d % 8;
}
constexpr int64_t norm_place_of(int64_t token) {
  return token / 32 * 32 + token / 2 % 4 * 8 + token / 8 % 4 * 2 + token % 2;
}

// Token k of a quad.
constexpr int64_t quad_token(int64_t quad, int64_t k) {
  return quad / 8 * 32 + 8 * (2 * (quad % 2) + k / 2) + 2 * (quad / 2 % 4) + k % 2;
}

inline uint32_t load_word(const std::byte* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, sizeof word);
  return word;
}

// The code of set m, nibble n in a group's words.
inline uint32_t held_code(const std::byte* words, int bits, int m, int n) {
  const int at = 4 * n;
  if (bits == 3 && m == 3) {
    uint32_t code = 0;
    for (int k = 0; k < 3; ++k) code |= (load_word(words + 4 * k) >> (at + 3) & 1u) << k;
    return code;
  }
  if (bits == 4) return load_word(words + 4 * m) >> at & 15u;
  if (bits == 3) return load_word(words + 4 * m) >> at & 7u;
  if (bits == 2) return load_word(words + m / 2 * 4) >> (at + m % 2 * 2) & 3u;
  return load_word(words) >> (at + m) & 1u;
}
inline uint32_t held_key(const std::byte* words, int bits, int m, int n) {
  const uint32_t code = held_code(words, bits, m, n);
  if (bits != 4) return code;
  return (code & 7u) | (load_word(words + 4 * m) >> (n < 4 ? 7 + 8 * n : 8 * n - 29) & 1u) << 3;
}

// A part of any width that no faster way takes.
inline void unpack_key_slowly(const TurboTable& table, const std::byte* row, int64_t groups, uint8_t* out) {
  for (int64_t g = 0; g < groups; ++g) {
    for (int m = 0; m < 4; ++m) {
      for (int n = 0; n < 8; ++n) {
        const int64_t d = 32 * g + 8 * m + n;
        out[key_byte(d)] = table.bits == 8 ? static_cast<uint8_t>(static_cast<uint8_t>(row[d]) ^ 0x80u)
                                           : table.entries[held_key(row + g * table.bits * 4, table.bits, m, n)];
      }
    }
  }
}

inline void unpack_values_slowly(const TurboTable& table, const std::byte* tile, int64_t groups, int8_t* out) {
  const int64_t words = groups * table.bits;
  for (int64_t i = 0; i < kQuads * groups * 32; ++i) {
    const int64_t quad = i / (groups * 32), d = i % (groups * 32), g = d / 32;
    const int64_t half = quad / 8, c = quad / 2 % 4, r = quad % 2;
    const int m = static_cast<int>(d / 8 % 4), e = static_cast<int>(d % 8);
    int8_t* to = out + ((quad * groups + g) * 2 + e / 4) * 64 + (e % 4 * 4 + m) * 4;
    if (table.bits == 8) {
      for (int64_t k = 0; k < 4; ++k) {
        to[k] = static_cast<int8_t>(tile[quad_token(quad, k) * groups * 32 + d]);
      }
      continue;
    }
    std::byte group[16];
    for (int64_t k = 0; k < table.bits; ++k) {
      const int64_t word = g * table.bits + k, line = word / 4 * 4, width = smaller<int64_t>(4, words - line);
      const int64_t place = half * words * 32 + line * 32 + (4 * e + c) * width + word % 4;
      __builtin_memcpy(group + 4 * k, tile + 4 * place, 4);
    }
    for (int k = 0; k < 4; ++k) {
      to[k] = static_cast<int8_t>(table.entries[held_code(group, table.bits, m, static_cast<int>(4 * r) + k)]);
    }
  }
}

#ifdef __AVX512VBMI__

// Bytes of 16 words of nibbles: of each pair of words one, `first` bits behind the pair's start, in steps of a nibble.
inline __m512i nibble_offsets(int first, int second) {
  alignas(64) uint8_t offsets[64];
  for (int i = 0; i < 64; ++i) offsets[i] = static_cast<uint8_t>((i % 8 < 4 ? first : second) + 4 * (i % 4));
  return _mm512_load_si512(offsets);
}

inline __m512i four_times(const uint8_t* entries) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)));
}

// The fourth set of three words, from their nibbles' top bits, into the fourth word.
inline __m512i fourth_set(__m512i words) {
  const __m512i shifts = _mm512_broadcast_i32x4(_mm_setr_epi32(3, 2, 1, 0));
  const __m512i masks = _mm512_broadcast_i32x4(_mm_setr_epi32(0x11111111, 0x22222222, 0x44444444, 0));
  const __m512i bits = _mm512_and_si512(_mm512_srlv_epi32(words, shifts), masks);
  const __m512i two = _mm512_or_si512(bits, _mm512_shuffle_epi32(bits, _MM_PERM_CDAB));
  const __m512i all = _mm512_or_si512(two, _mm512_shuffle_epi32(two, _MM_PERM_BADC));
  return _mm512_mask_mov_epi32(words, 0x8888, all);
}

// A group's words in each 128 bits become four words of nibbles.
template <int bits>
inline __m512i nibble_words(__m512i words) {
  if constexpr (bits == 3) return fourth_set(words);
  if constexpr (bits == 2) {
    return _mm512_srlv_epi32(_mm512_shuffle_epi32(words, _MM_PERM_BBAA),
                             _mm512_broadcast_i32x4(_mm_setr_epi32(0, 2, 0, 2)));
  }
  if constexpr (bits == 1) {
    return _mm512_srlv_epi32(_mm512_shuffle_epi32(words, _MM_PERM_AAAA),
                             _mm512_broadcast_i32x4(_mm_setr_epi32(0, 1, 2, 3)));
  }
  return words;
}

template <int bits>
inline void unpack_keys_fast(const TurboTable& table, const std::byte* tile, int64_t groups, int64_t stride,
                             Fetch fetch, uint8_t* out) {
  const __m512i entries = four_times(table.entries);
  const __m512i even = nibble_offsets(0, 16), odd = nibble_offsets(32, 48);
  alignas(64) uint8_t signs[64];
  for (int i = 0; i < 64; ++i) signs[i] = static_cast<uint8_t>(i % 8 < 4 ? 8 * (i % 8) + 4 : 8 * (i % 8 - 4));
  const __m512i even_sign = _mm512_load_si512(signs), odd_sign = _mm512_add_epi8(even_sign, _mm512_set1_epi8(32));
  alignas(64) int32_t spread[16];  // a group's words to its 128 bits
  for (int i = 0; i < 16; ++i) spread[i] = i / 4 * bits + (i % 4 < bits ? i % 4 : 0);
  const __m512i to_groups = _mm512_load_si512(spread), low3 = _mm512_set1_epi8(7);
  const auto bytes_of = [&](__m512i words, __m512i offsets, __m512i sign_offsets) {
    __m512i held = _mm512_multishift_epi64_epi8(offsets, words);
    if constexpr (bits == 4) {
      held = _mm512_ternarylogic_epi32(low3, held, _mm512_multishift_epi64_epi8(sign_offsets, words), 0xca);
    }
    // Bits above the code change nothing: the table repeats.
    return _mm512_permutexvar_epi8(held, entries);
  };
  for (int64_t t = 0; t < kTileTokens; ++t) {
    const std::byte* row = tile + t * groups * bits * 4;
    uint8_t* to = out + norm_place_of(t) * stride;
    fetch(t);
    for (int64_t g = 0; g < groups; g += 4) {
      const int64_t n_words = smaller<int64_t>(4, groups - g) * bits;
      const auto mask = static_cast<__mmask16>((1u << n_words) - 1);
      __m512i words = _mm512_maskz_loadu_epi32(mask, row + g * bits * 4);
      if constexpr (bits != 4) words = nibble_words<bits>(_mm512_permutexvar_epi32(to_groups, words));
      _mm512_storeu_si512(to + g * 32, bytes_of(words, even, even_sign));
      _mm512_storeu_si512(to + g * 32 + 64, bytes_of(words, odd, odd_sign));
    }
  }
}

// Keys of 8 bits: bytes change their order and get 128 more.
inline void unpack_wide_keys(const std::byte* tile, int64_t groups, int64_t stride, Fetch fetch, uint8_t* out) {
  const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), odd = _mm512_add_epi64(even, _mm512_set1_epi64(1));
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
  const auto load_bytes = [](const std::byte* p, int64_t n) {
    return n >= 64 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi64(n > 0 ? (1u << (n / 8)) - 1 : 0u, p);
  };
  for (int64_t t = 0; t < kTileTokens; ++t) {
    uint8_t* to = out + norm_place_of(t) * stride;
    fetch(t);
    for (int64_t d = 0; d < 32 * groups; d += 128) {
      const std::byte* from = tile + t * groups * 32 + d;
      const __m512i low = load_bytes(from, 32 * groups - d), high = load_bytes(from + 64, 32 * groups - d - 64);
      _mm512_storeu_si512(to + d, _mm512_xor_si512(_mm512_permutex2var_epi64(low, even, high), flip));
      _mm512_storeu_si512(to + d + 64, _mm512_xor_si512(_mm512_permutex2var_epi64(low, odd, high), flip));
    }
  }
}

// Line `line` of eight coordinates' four lanes each, from coordinate e: in each 128 bits a lane's words.
inline __m512i load_line(const std::byte* half, int64_t words, int64_t line, int64_t e) {
  const int64_t width = smaller<int64_t>(4, words - 4 * line);
  const std::byte* p = half + line * 4 * 32 * 4 + e * 4 * width * 4;
  if (width == 4) return _mm512_loadu_si512(p);
  constexpr __mmask16 kFirst[] = {0, 0x1111, 0x3333, 0x7777};
  return _mm512_maskz_expandloadu_epi32(kFirst[width], p);
}

// The words of group g, from coordinate e: of each lane in 128 bits, those behind are not its own.
template <int bits>
inline __m512i load_group(const std::byte* half, int64_t words, int64_t g, int64_t e) {
  const int64_t line = g * bits / 4, offset = g * bits % 4;
  const __m512i low = load_line(half, words, line, e);
  if (offset == 0) return low;
  const __m512i high = offset + bits > 4 ? load_line(half, words, line + 1, e) : low;
  if (offset == 1) return _mm512_alignr_epi8(high, low, 4);
  return offset == 2 ? _mm512_alignr_epi8(high, low, 8) : _mm512_alignr_epi8(high, low, 12);
}

template <int bits>
inline void unpack_values_fast(const TurboTable& table, const std::byte* tile, int64_t groups, int8_t* out) {
  const __m512i entries = four_times(table.entries);
  const __m512i offsets[2] = {nibble_offsets(0, 32), nibble_offsets(16, 48)};
  const int64_t words = groups * bits;
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t b = 0; b < 2; ++b) {
        __m512i w[4];  // by coordinate, then by lane
        for (int64_t i = 0; i < 4; ++i) {
          w[i] = nibble_words<bits>(load_group<bits>(tile + half * words * 32 * 4, words, g, 4 * b + i));
        }
        const __m512i low01 = _mm512_shuffle_i32x4(w[0], w[1], 0x44), high01 = _mm512_shuffle_i32x4(w[0], w[1], 0xee);
        const __m512i low23 = _mm512_shuffle_i32x4(w[2], w[3], 0x44), high23 = _mm512_shuffle_i32x4(w[2], w[3], 0xee);
        w[0] = _mm512_shuffle_i32x4(low01, low23, 0x88);
        w[1] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
        w[2] = _mm512_shuffle_i32x4(high01, high23, 0x88);
        w[3] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
        for (int64_t c = 0; c < 4; ++c) {
          for (int64_t r = 0; r < 2; ++r) {
            const __m512i held = _mm512_multishift_epi64_epi8(offsets[r], w[c]);
            const int64_t vector = (((half * 4 + c) * 2 + r) * groups + g) * 2 + b;
            _mm512_storeu_si512(out + vector * 64, _mm512_permutexvar_epi8(held, entries));
          }
        }
      }
    }
  }
}

#endif

inline void unpack_keys(const TurboTable& table, const std::byte* tile, int64_t groups, int64_t stride, Fetch fetch,
                        uint8_t* out) {
#ifdef __AVX512VBMI__
  if (table.bits == 8) return unpack_wide_keys(tile, groups, stride, fetch, out);
  if (table.bits == 4) return unpack_keys_fast<4>(table, tile, groups, stride, fetch, out);
  if (table.bits == 3) return unpack_keys_fast<3>(table, tile, groups, stride, fetch, out);
  if (table.bits == 2) return unpack_keys_fast<2>(table, tile, groups, stride, fetch, out);
#endif
  for (int64_t t = 0; t < kTileTokens; ++t) {
    fetch(t);
    unpack_key_slowly(table, tile + t * groups * table.bits * 4, groups, out + norm_place_of(t) * stride);
  }
}

inline void unpack_values(const TurboTable& table, const std::byte* tile, int64_t groups, int8_t* out) {
#ifdef __AVX512VBMI__
  if (table.bits == 4) return unpack_values_fast<4>(table, tile, groups, out);
  if (table.bits == 3) return unpack_values_fast<3>(table, tile, groups, out);
  if (table.bits == 2) return unpack_values_fast<2>(table, tile, groups, out);
#endif
  unpack_values_slowly(table, tile, groups, out);
}
