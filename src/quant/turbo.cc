#include "quant/turbo.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/dtype.h"
#include "quant/codecs.h"

namespace arc {
namespace {

constexpr int kGroup = 32;  // coordinates that share words
constexpr int kLanes = 32;  // of a line of values
constexpr int kHalf = 32;   // tokens that share a word of values
constexpr int kUniformZero = 1 << (kUniformBits - 1);
constexpr float kUniformLargest = 127.0f;

int groups_of(int dim) {
  return (dim + kGroup - 1) / kGroup;
}

// The words of a group of 32 fields (m, n): set m, nibble n.
struct WordGroup {
  KvRole role = KvRole::key;
  int bits = 0;
  int token = 0, coordinate = 0;     // of field (0, 0)
  int64_t place[kMaxGridBits] = {};  // of its words in the tile
  uint32_t words[kMaxGridBits] = {};

  int token_of(int n) const { return role == KvRole::key ? token : token + n / 4 * 16 + n / 2 % 2 * 8 + n % 2; }
  int coordinate_of(int m, int n) const { return coordinate + 8 * m + (role == KvRole::key ? n : 0); }

  int field(int m, int n) const {
    const int at = 4 * n;
    switch (bits) {
      case 4:
        return static_cast<int>(words[m] >> at & 15u);
      case 3:
        return static_cast<int>(m < 3 ? words[m] >> at & 7u
                                      : (words[0] >> (at + 3) & 1u) | (words[1] >> (at + 3) & 1u) << 1 |
                                            (words[2] >> (at + 3) & 1u) << 2);
      case 2:
        return static_cast<int>(words[m / 2] >> (at + m % 2 * 2) & 3u);
      default:
        return static_cast<int>(words[0] >> (at + m) & 1u);
    }
  }
  void set_field(int m, int n, uint32_t value) {
    const int at = 4 * n;
    switch (bits) {
      case 4:
        words[m] |= value << at;
        break;
      case 3:
        if (m < 3) {
          words[m] |= value << at;
        } else {
          for (int k = 0; k < 3; ++k) words[k] |= (value >> k & 1u) << (at + 3);
        }
        break;
      case 2:
        words[m / 2] |= value << (at + m % 2 * 2);
        break;
      default:
        words[0] |= value << (at + m);
    }
  }
};

// Bit 3 of nibble n of a 4-bit key goes to bit 7 + 8 n (n < 4) or 3 + 8 (n - 4), and back.
uint32_t spread_signs(uint32_t word) {
  uint32_t out = word & 0x77777777u;
  for (int n = 0; n < 8; ++n) out |= (word >> (4 * n + 3) & 1u) << (n < 4 ? 7 + 8 * n : 8 * n - 29);
  return out;
}
uint32_t gather_signs(uint32_t word) {
  uint32_t out = word & 0x77777777u;
  for (int n = 0; n < 8; ++n) out |= (word >> (n < 4 ? 7 + 8 * n : 8 * n - 29) & 1u) << (4 * n + 3);
  return out;
}

// 4-bit keys are magnitude and sign: 8 + m is m, and 7 - m is m with the sign bit.
int signed_form(int code) {
  return code >= 8 ? code - 8 : 15 - code;
}
int code_of(int signed_form) {
  return signed_form < 8 ? signed_form + 8 : 15 - signed_form;
}

// Calls visit(group) for each group of a tile, its words zero.
template <typename Visit>
void for_groups(KvRole role, int dim, int bits, const Visit& visit) {
  const int groups = groups_of(dim), words = groups * bits;
  const int outer = role == KvRole::key ? kTileTokens : kTileTokens / kHalf * kLanes;
  for (int i = 0; i < outer; ++i) {
    for (int g = 0; g < groups; ++g) {
      WordGroup group{.role = role, .bits = bits, .coordinate = g * kGroup};
      if (role == KvRole::key) {
        group.token = i;
        for (int k = 0; k < bits; ++k) group.place[k] = int64_t{i} * words + g * bits + k;
      } else {
        const int half = i / kLanes, lane = i % kLanes;
        group.token = half * kHalf + 2 * (lane % 4);
        group.coordinate += lane / 4;
        for (int k = 0; k < bits; ++k) {
          const int word = g * bits + k, line = word / 4 * 4, width = std::min(4, words - line);
          group.place[k] = int64_t{half} * words * kLanes + line * kLanes + lane * width + word % 4;
        }
      }
      visit(group);
    }
  }
}

}  // namespace

TurboCodec::TurboCodec(KvRole role, int dim, int bits, uint32_t seed)
    : role_(role), bits_(bits), book_(find_codebook(dim, bits, grid_of(role))), rotation_(dim, seed) {
  ARC_CHECK(book_ != nullptr || bits == kUniformBits) << dim << " x " << bits;
  for (int code = 0; code < 1 << bits; ++code) {
    levels_.push_back(book_ != nullptr ? book_->level(code)
                                       : static_cast<float>(code - kUniformZero) / kUniformLargest);
  }
  for (size_t i = 1; i < levels_.size(); ++i) borders_.push_back((levels_[i - 1] + levels_[i]) / 2);
  fill_table();
}

void TurboCodec::fill_table() {
  const bool key = role_ == KvRole::key;
  const float half = key && book_ != nullptr ? 0.5f : 0.0f;  // a key's numbers are odd halves
  table_ = {.bits = bits_,
            .step = book_ != nullptr ? book_->step : 1.0f / kUniformLargest,
            .offset = key ? kUniformZero - half : 0.0f,
            .signs = rotation_.signs().data()};
  for (int held = 0; book_ != nullptr && held < 16; ++held) {
    const int code = (key && bits_ == 4 ? code_of(held) : held) % (1 << bits_);
    const int n = static_cast<int>(book_->numbers.size());
    const float number = code < n ? -book_->numbers[n - 1 - code] : book_->numbers[code - n];
    table_.entries[held] = static_cast<uint8_t>(static_cast<int>(number - half) + (key ? kUniformZero : 0));
  }
}

void TurboCodec::rotate(float* x) const {
  rotation_.apply(x);
}

void TurboCodec::encode(const float* y, uint8_t* codes, uint16_t* norm) const {
  if (bits_ == kUniformBits) return encode_uniform(y, codes, norm);
  double square = 0.0, decoded = 0.0;
  for (int i = 0; i < dim(); ++i) square += static_cast<double>(y[i]) * y[i];
  const double length = std::sqrt(square);
  const float inverse = length > 0.0 ? static_cast<float>(1.0 / length) : 0.0f;
  float unit[kMaxTurboDim];
  for (int i = 0; i < dim(); ++i) {
    unit[i] = y[i] * inverse;
    codes[i] = 0;
  }
  for (const float border : borders_) {
    for (int i = 0; i < dim(); ++i) codes[i] = static_cast<uint8_t>(codes[i] + (unit[i] < border ? 0 : 1));
  }
  for (int i = 0; i < dim(); ++i) decoded += static_cast<double>(levels_[codes[i]]) * levels_[codes[i]];
  *norm = float_to_f16(std::min(static_cast<float>(length / std::sqrt(decoded)), kMaxF16));
}

void TurboCodec::encode_uniform(const float* y, uint8_t* codes, uint16_t* norm) const {
  float largest = 0.0f;
  for (int i = 0; i < dim(); ++i) largest = std::max(largest, std::fabs(y[i]));
  *norm = float_to_f16(std::min(largest, kMaxF16));
  const float scale = f16_to_float(*norm), inverse = scale > 0.0f ? kUniformLargest / scale : 0.0f;
  for (int i = 0; i < dim(); ++i) {
    codes[i] = static_cast<uint8_t>(quant::nearest(y[i] * inverse, -127, 127) + kUniformZero);
  }
}

void TurboCodec::decode(const uint8_t* codes, uint16_t norm, float* y) const {
  const float scale = f16_to_float(norm);
  for (int i = 0; i < dim(); ++i) y[i] = scale * levels_[codes[i]];
}

int64_t turbo_tile_bytes(int dim, int bits) {
  return int64_t{kTileTokens} * groups_of(dim) * bits * 4;
}

void TurboCodec::pack_tile(const uint8_t* codes, std::byte* tile) const {
  const int n = dim();
  if (bits_ == kUniformBits) {
    const int row = groups_of(n) * kGroup;
    std::fill_n(tile, turbo_tile_bytes(n, bits_), std::byte{0});
    for (int i = 0; i < kTileTokens * n; ++i) {
      tile[i / n * row + i % n] = static_cast<std::byte>(codes[i] - kUniformZero);
    }
    return;
  }
  const bool signs = role_ == KvRole::key && bits_ == 4;
  for_groups(role_, n, bits_, [&](WordGroup& group) {
    for (int m = 0; m < kGroup / 8; ++m) {
      for (int i = 0; i < 8; ++i) {
        const int coordinate = group.coordinate_of(m, i);
        if (coordinate >= n) continue;
        const int code = codes[group.token_of(i) * n + coordinate];
        group.set_field(m, i, static_cast<uint32_t>(signs ? signed_form(code) : code));
      }
    }
    for (int k = 0; k < bits_; ++k) {
      const uint32_t word = signs ? spread_signs(group.words[k]) : group.words[k];
      std::memcpy(tile + 4 * group.place[k], &word, sizeof word);
    }
  });
}

void TurboCodec::unpack_tile(const std::byte* tile, uint8_t* codes) const {
  const int n = dim();
  if (bits_ == kUniformBits) {
    const int row = groups_of(n) * kGroup;
    for (int i = 0; i < kTileTokens * n; ++i) {
      codes[i] = static_cast<uint8_t>(static_cast<int8_t>(tile[i / n * row + i % n]) + kUniformZero);
    }
    return;
  }
  const bool signs = role_ == KvRole::key && bits_ == 4;
  for_groups(role_, n, bits_, [&](WordGroup& group) {
    for (int k = 0; k < bits_; ++k) {
      std::memcpy(&group.words[k], tile + 4 * group.place[k], sizeof(uint32_t));
      if (signs) group.words[k] = gather_signs(group.words[k]);
    }
    for (int m = 0; m < kGroup / 8; ++m) {
      for (int i = 0; i < 8; ++i) {
        const int coordinate = group.coordinate_of(m, i);
        if (coordinate >= n) continue;
        const int field = group.field(m, i);
        codes[group.token_of(i) * n + coordinate] = static_cast<uint8_t>(signs ? code_of(field) : field);
      }
    }
  });
}

void TurboCodec::load_tile(const std::byte* tile, const uint16_t* norms, float* out, int64_t stride) const {
  uint8_t codes[kTileTokens * kMaxTurboDim];
  unpack_tile(tile, codes);
  for (int t = 0; t < kTileTokens; ++t) decode(codes + t * dim(), norms[norm_place(t)], out + t * stride);
}

}  // namespace arc
