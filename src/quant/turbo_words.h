// Which bits of a tile hold which code (quant/turbo.h says it in words), for host and device.
#pragma once

#include <cstdint>

#include "base/host_device.h"
#include "quant/kv_policy.h"

namespace arc {

inline constexpr int kWordGroup = 32;  // coordinates that share words
inline constexpr int kWordLanes = 32;  // of a line of values
inline constexpr int kWordHalf = 32;   // tokens that share a word of values

ARC_HOST_DEVICE constexpr int word_groups(int dim) {
  return (dim + kWordGroup - 1) / kWordGroup;
}

// Where the norm of a tile's token lies among its kTileTokens norms: token 32 k + 8 j + 2 c + e at 32 k + 8 c + 2 j +
// e.
ARC_HOST_DEVICE constexpr int norm_place(int token) {
  return token / 32 * 32 + token / 2 % 4 * 8 + token / 8 % 4 * 2 + token % 2;
}

// Word `word` of those that hold a token's (keys) or a lane's (values) coordinates, `words` in all.
ARC_HOST_DEVICE constexpr int64_t word_place(KvRole role, int words, int token, int coordinate, int word) {
  if (role == KvRole::key) return int64_t{token} * words + word;
  const int lane = coordinate % 8 * 4 + token % 8 / 2, line = word / 4 * 4, width = words - line < 4 ? words - line : 4;
  return int64_t{token / kWordHalf} * words * kWordLanes + line * kWordLanes + lane * width + word % 4;
}

// The nibble of a word that a code lies in.
ARC_HOST_DEVICE constexpr int nibble_of(KvRole role, int token, int coordinate) {
  return role == KvRole::key ? coordinate % 8 : token % 32 / 16 * 4 + token % 16 / 8 * 2 + token % 2;
}

// The bit of the sign of a 4-bit key in nibble n.
ARC_HOST_DEVICE constexpr int sign_place(int n) {
  return n < 4 ? 7 + 8 * n : 8 * n - 29;
}

// The code of set m in nibble n of a group's words, as it is held: a 4-bit key is magnitude and, in bit 3, sign.
// `Words` gives word k as words[k].
template <typename Words>
ARC_HOST_DEVICE int held_code(KvRole role, int bits, int m, int n, const Words& words) {
  const int at = 4 * n;
  switch (bits) {
    case 4:
      return role == KvRole::key ? static_cast<int>((words[m] >> at & 7u) | (words[m] >> sign_place(n) & 1u) << 3)
                                 : static_cast<int>(words[m] >> at & 15u);
    case 3:
      return m < 3 ? static_cast<int>(words[m] >> at & 7u)
                   : static_cast<int>((words[0] >> (at + 3) & 1u) | (words[1] >> (at + 3) & 1u) << 1 |
                                      (words[2] >> (at + 3) & 1u) << 2);
    case 2:
      return static_cast<int>(words[m / 2] >> (at + m % 2 * 2) & 3u);
    default:
      return static_cast<int>(words[0] >> (at + m) & 1u);
  }
}

// Sets a code in words that are zero there.
ARC_HOST_DEVICE inline void hold_code(KvRole role, int bits, int m, int n, uint32_t held, uint32_t* words) {
  const int at = 4 * n;
  switch (bits) {
    case 4:
      words[m] |= role == KvRole::key ? (held & 7u) << at | held >> 3 << sign_place(n) : held << at;
      return;
    case 3:
      if (m < 3) {
        words[m] |= held << at;
      } else {
        for (int k = 0; k < 3; ++k) words[k] |= (held >> k & 1u) << (at + 3);
      }
      return;
    case 2:
      words[m / 2] |= held << (at + m % 2 * 2);
      return;
    default:
      words[0] |= held << (at + m);
  }
}

// 4-bit keys are magnitude and sign: 8 + m is m, and 7 - m is m with the sign bit. Others are held as they are.
ARC_HOST_DEVICE constexpr int held_of(KvRole role, int bits, int code) {
  return role != KvRole::key || bits != 4 ? code : code >= 8 ? code - 8 : 15 - code;
}
ARC_HOST_DEVICE constexpr int code_of(KvRole role, int bits, int held) {
  return role != KvRole::key || bits != 4 ? held : held < 8 ? held + 8 : 15 - held;
}

// Words that hold the same 32 fields (m, n): set m, nibble n. Group i of word_group_count().
struct WordGroup {
  int token = 0, coordinate = 0;  // of field (0, 0)
  int first_word = 0;             // for word_place()
};
ARC_HOST_DEVICE constexpr int word_group_count(int dim) {
  static_assert(kTileTokens / kWordHalf * kWordLanes == kTileTokens);  // as many lanes of values as tokens of keys
  return kTileTokens * word_groups(dim);
}
ARC_HOST_DEVICE constexpr WordGroup word_group(KvRole role, int dim, int bits, int i) {
  const int groups = word_groups(dim), outer = i / groups, g = i % groups;
  if (role == KvRole::key) return {outer, g * kWordGroup, g * bits};
  const int half = outer / kWordLanes, lane = outer % kWordLanes;
  return {half * kWordHalf + 2 * (lane % 4), g * kWordGroup + lane / 4, g * bits};
}
ARC_HOST_DEVICE constexpr int token_of(KvRole role, const WordGroup& group, int n) {
  return role == KvRole::key ? group.token : group.token + n / 4 * 16 + n / 2 % 2 * 8 + n % 2;
}
ARC_HOST_DEVICE constexpr int coordinate_of(KvRole role, const WordGroup& group, int m, int n) {
  return group.coordinate + 8 * m + (role == KvRole::key ? n : 0);
}

}  // namespace arc
