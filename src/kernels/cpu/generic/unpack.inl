// Packed tiles to bytes that dot4() takes.
//
// Keys: a vector has 16 coordinates of four tokens, a token in each quarter, so that what dot4() sums of one token
// stays in four lanes. Row v of 16, 0 <= v < 4 of block b, holds the tokens at norm places 16 b + 4 k + v in quarter k:
// row 4 b
// + v has two vectors a group of 32 coordinates. Those are the even and the odd coordinates where codes are nibbles,
// and in their order else (key_byte()).
//
// Values: a vector has 16 coordinates of a quad of tokens: lane 4 i + m has coordinate 32 g + 8 m + 4 b + i of tokens
// 32 half + 8 k + q in byte k. Vectors q = 0 to 7 follow each other for each b, half and g.

constexpr int64_t kTile = kTileTokens;
constexpr int64_t kKeyRows = kTileTokens / 4;

inline void prefetch(const std::byte* data, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(data + i, 0, 2);
}

// What will be read next: part t is fetched while token t is worked on. No part: nothing.
struct Fetch {
  const std::byte* data = nullptr;
  int64_t part = 0;
  void operator()(int64_t t) const { prefetch(data + t * part, part); }
};

constexpr int64_t norm_place_of(int64_t token) {
  return token / 32 * 32 + token / 2 % 4 * 8 + token / 8 % 4 * 2 + token % 2;
}
// The token in quarter k of a row of keys.
constexpr int64_t key_token(int64_t row, int64_t k) {
  return row / 8 * 32 + row / 4 % 2 * 4 + row / 2 % 2 * 8 + row % 2 + k % 2 * 16 + k / 2 * 2;
}
constexpr int64_t value_token(int64_t half, int64_t q, int64_t k) {
  return 32 * half + 8 * k + q;
}
// The byte of coordinate d among those of its token: 16 of each vector.
constexpr int64_t key_byte(bool even_first, int64_t d) {
  return even_first ? d / 32 * 32 + d % 2 * 16 + d % 32 / 2 : d;
}
inline bool even_first(const TurboTable& keys) {
  return keys.windows == nullptr && keys.bits <= 4;
}

// Keys and values that have been looked up before.
struct StoredKeys {
  const uint8_t* bytes;
  int64_t groups;
  void at(int64_t row, int64_t g, Ints (&k)[2]) const {
    const uint8_t* p = bytes + (row * groups + g) * 128;
    k[0] = load_ints(p);
    k[1] = load_ints(p + 64);
  }
};
struct StoredValues {
  const int8_t* bytes;
  void at(int64_t g, int64_t half, int64_t b, Ints (&v)[8]) const {
    for (int64_t q = 0; q < 8; ++q) v[q] = load_ints(bytes + (((g * 2 + half) * 2 + b) * 8 + q) * 64);
  }
};

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

// Tiles of any width that no faster way takes.
inline void unpack_keys_slowly(const TurboTable& table, const std::byte* tile, int64_t groups, uint8_t* out) {
  const int64_t row_bytes = groups * table.bits * 4;
  for (int64_t i = 0; i < kTile; ++i) {
    const std::byte* from = tile + key_token(i / 4, i % 4) * row_bytes;
    for (int64_t d = 0; d < 32 * groups; ++d) {
      const int64_t at = key_byte(even_first(table), d);
      const int m = static_cast<int>(d / 8 % 4), n = static_cast<int>(d % 8);
      out[(i / 4 * groups * 2 + at / 16) * 64 + i % 4 * 16 + at % 16] =
          table.bits == 8 ? static_cast<uint8_t>(static_cast<uint8_t>(from[d]) ^ 0x80u)
                          : table.entries[held_key(from + d / 32 * table.bits * 4, table.bits, m, n)];
    }
  }
}

inline void unpack_values_slowly(const TurboTable& table, const std::byte* tile, int64_t groups, int8_t* out) {
  const int64_t words = groups * table.bits;
  for (int64_t i = 0; i < kTile * groups * 8; ++i, out += 4) {  // four tokens of a coordinate
    const int64_t q = i / 16 % 8, b = i / 128 % 2, half = i / 256 % 2, g = i / 512;
    const int m = static_cast<int>(i % 4), e = static_cast<int>(4 * b + i / 4 % 4);
    if (table.bits == 8) {
      for (int64_t k = 0; k < 4; ++k) {
        out[k] = static_cast<int8_t>(tile[value_token(half, q, k) * groups * 32 + 32 * g + 8 * m + e]);
      }
      continue;
    }
    std::byte group[16];
    for (int64_t k = 0; k < table.bits; ++k) {
      const int64_t word = g * table.bits + k, line = word / 4 * 4, width = smaller<int64_t>(4, words - line);
      const int64_t place = half * words * 32 + line * 32 + (4 * e + q / 2) * width + word % 4;
      __builtin_memcpy(group + 4 * k, tile + 4 * place, 4);
    }
    for (int k = 0; k < 4; ++k) {
      out[k] = static_cast<int8_t>(table.entries[held_code(group, table.bits, m, static_cast<int>(2 * k + q % 2))]);
    }
  }
}

#ifdef __AVX512VBMI__

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

// The quarters of four vectors: x[i]'s quarter k becomes x[k]'s quarter i.
inline void turn_quarters(__m512i (&x)[4]) {
  const __m512i low01 = _mm512_shuffle_i32x4(x[0], x[1], 0x44), high01 = _mm512_shuffle_i32x4(x[0], x[1], 0xee);
  const __m512i low23 = _mm512_shuffle_i32x4(x[2], x[3], 0x44), high23 = _mm512_shuffle_i32x4(x[2], x[3], 0xee);
  x[0] = _mm512_shuffle_i32x4(low01, low23, 0x88);
  x[1] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
  x[2] = _mm512_shuffle_i32x4(high01, high23, 0x88);
  x[3] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
}

// 16 bytes of each token of a row of keys.
inline __m512i load_tokens(const std::byte* tile, int64_t row_bytes, int64_t row) {
  const auto load = [&](int64_t k) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(tile + key_token(row, k) * row_bytes));
  };
  const __m512i two = _mm512_mask_broadcast_i32x4(_mm512_castsi128_si512(load(0)), 0x00f0, load(1));
  return _mm512_mask_broadcast_i32x4(_mm512_mask_broadcast_i32x4(two, 0x0f00, load(2)), 0xf000, load(3));
}

// Keys of up to 4 bits, looked up where they are used. What lies behind a tile's last words is read, too: its values.
template <int bits>
class LevelKeys {
 public:
  LevelKeys(const TurboTable& table, const std::byte* tile, int64_t groups)
      : entries_(four_times(table.entries)), tile_(tile), row_bytes_(groups * bits * 4) {}

  void at(int64_t row, int64_t g, Ints (&k)[2]) const {
    const __m512i words = nibble_words<bits>(load_tokens(tile_ + g * bits * 4, row_bytes_, row));
    const __m512i odd = _mm512_srli_epi32(words, 4);
    k[0] = look_up(words, words, 0x3020342410001404);
    k[1] = look_up(odd, words, 0x38283c2c18081c0c);
  }

 private:
  // Bits above the code change nothing: the table repeats.
  Ints look_up(__m512i held, __m512i words, int64_t signs) const {
    if constexpr (bits == 4) {
      const __m512i apart = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(signs), words);
      held = _mm512_ternarylogic_epi32(_mm512_set1_epi8(7), held, apart, 0xca);
    }
    return {_mm512_permutexvar_epi8(held, entries_)};
  }

  __m512i entries_;
  const std::byte* tile_;
  int64_t row_bytes_;
};

// Keys of 8 bits get 128 more.
struct WideKeys {
  const std::byte* tile;
  int64_t groups;
  void at(int64_t row, int64_t g, Ints (&k)[2]) const {
    for (int64_t p = 0; p < 2; ++p) {
      k[p] = {_mm512_xor_si512(load_tokens(tile + 32 * g + 16 * p, 32 * groups, row), _mm512_set1_epi8(-128))};
    }
  }
};

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
class LevelValues {
 public:
  LevelValues(const TurboTable& table, const std::byte* tile, int64_t groups)
      : entries_(four_times(table.entries)), tile_(tile), words_(groups * bits) {}

  void at(int64_t g, int64_t half, int64_t b, Ints (&v)[8]) const {
    __m512i w[4];  // by coordinate, then by lane
    for (int64_t i = 0; i < 4; ++i) {
      w[i] = nibble_words<bits>(load_group<bits>(tile_ + half * words_ * 32 * 4, words_, g, 4 * b + i));
    }
    turn_quarters(w);
    for (int64_t c = 0; c < 4; ++c) {
      v[2 * c] = {_mm512_permutexvar_epi8(w[c], entries_)};
      v[2 * c + 1] = {_mm512_permutexvar_epi8(_mm512_srli_epi32(w[c], 4), entries_)};
    }
  }

 private:
  __m512i entries_;
  const std::byte* tile_;
  int64_t words_;
};

#endif

// f(keys) with keys that are looked up where they are used, if there is a way; gives whether. f(values) likewise.
#ifdef __AVX512VBMI__
template <typename F>
inline bool with_level_keys(const TurboTable& table, const std::byte* tile, int64_t groups, const F& f) {
  if (table.windows != nullptr) return false;
  if (table.bits == 8) return f(WideKeys{tile, groups}), true;
  if (table.bits == 4) return f(LevelKeys<4>(table, tile, groups)), true;
  if (table.bits == 3) return f(LevelKeys<3>(table, tile, groups)), true;
  if (table.bits == 2) return f(LevelKeys<2>(table, tile, groups)), true;
  return false;
}
template <typename F>
inline bool with_level_values(const TurboTable& table, const std::byte* tile, int64_t groups, const F& f) {
  if (table.windows != nullptr) return false;
  if (table.bits == 4) return f(LevelValues<4>(table, tile, groups)), true;
  if (table.bits == 3) return f(LevelValues<3>(table, tile, groups)), true;
  if (table.bits == 2) return f(LevelValues<2>(table, tile, groups)), true;
  return false;
}
#else
template <typename F>
inline bool with_level_keys(const TurboTable&, const std::byte*, int64_t, const F&) {
  return false;
}
template <typename F>
inline bool with_level_values(const TurboTable&, const std::byte*, int64_t, const F&) {
  return false;
}
#endif

inline void unpack_keys(const TurboTable& table, const std::byte* tile, int64_t groups, uint8_t* out) {
  const bool done = with_level_keys(table, tile, groups, [&](const auto& keys) {
    for (int64_t i = 0; i < kKeyRows * groups; ++i) {
      Ints k[2];
      keys.at(i / groups, i % groups, k);
      for (int64_t p = 0; p < 2; ++p) store_ints(out + (2 * i + p) * 64, k[p]);
    }
  });
  if (!done) unpack_keys_slowly(table, tile, groups, out);
}

inline void unpack_values(const TurboTable& table, const std::byte* tile, int64_t groups, int8_t* out) {
  const bool done = with_level_values(table, tile, groups, [&](const auto& values) {
    for (int64_t i = 0; i < 4 * groups; ++i) {
      Ints v[8];
      values.at(i / 4, i / 2 % 2, i % 2, v);
      for (int64_t q = 0; q < 8; ++q) store_ints(out + (8 * i + q) * 64, v[q]);
    }
  });
  if (!done) unpack_values_slowly(table, tile, groups, out);
}
