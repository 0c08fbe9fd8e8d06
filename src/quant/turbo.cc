#include "quant/turbo.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/dtype.h"

namespace arc {
namespace {

constexpr int kGroup = 32;   // coordinates that share words
constexpr int kLanes = 32;   // of a line of values
constexpr int kHalf = 32;    // tokens that share a word of values
constexpr int kSignBit = 3;  // of a 4-bit key as stored
constexpr float kMaxF16 = 65504.0f;

int groups_of(int dim) {
  return (dim + kGroup - 1) / kGroup;
}

// A bit of nibble `n` of set `m`: word in the group, bit in the word.
struct WordBit {
  int word = 0, bit = 0;
};

WordBit nibble_bit(int bits, int m, int n, int k) {
  switch (bits) {
    case 4:
      return {m, 4 * n + k};
    case 3:
      return m < 3 ? WordBit{m, 4 * n + k} : WordBit{k, 4 * n + 3};
    case 2:
      return {m / 2, 4 * n + m % 2 * 2 + k};
    default:
      return {0, 4 * n + m};
  }
}

// The bit of a tile that holds bit `k` of the stored code of one coordinate of one token.
int64_t key_bit(int dim, int bits, int token, int coordinate, int k) {
  const int m = coordinate % kGroup / 8, e = coordinate % 8;
  WordBit at = nibble_bit(bits, m, e, k);
  if (bits == 4 && k == kSignBit) at.bit = e < 4 ? 7 + 8 * e : 3 + 8 * (e - 4);
  return ((static_cast<int64_t>(token) * groups_of(dim) + coordinate / kGroup) * bits + at.word) * 32 + at.bit;
}

int64_t value_bit(int dim, int bits, int token, int coordinate, int k) {
  const int t = token % kHalf, nibble = t / 16 * 4 + t / 8 % 2 * 2 + t % 2, lane = coordinate % 8 * 4 + t / 2 % 4;
  const WordBit at = nibble_bit(bits, coordinate % kGroup / 8, nibble, k);
  const int words = groups_of(dim) * bits, word = coordinate / kGroup * bits + at.word;
  const int line = word / 4 * 4, width = std::min(4, words - line);  // words a lane has in this line
  const int64_t place = int64_t{token / kHalf} * words * kLanes + line * kLanes + lane * width + word % 4;
  return place * 32 + at.bit;
}

// What a tile holds for a code, and back: 4-bit keys are magnitude and sign.
int stored(KvRole role, int bits, int code) {
  if (role != KvRole::key || bits != 4) return code;
  return code >= 8 ? code - 8 : 15 - code;
}
int restored(KvRole role, int bits, int held) {
  if (role != KvRole::key || bits != 4) return held;
  return held < 8 ? held + 8 : 15 - held;
}

template <typename Visit>
void for_each_bit(KvRole role, int dim, int bits, const Visit& visit) {
  for (int token = 0; token < kTileTokens; ++token) {
    for (int c = 0; c < dim; ++c) {
      for (int k = 0; k < bits; ++k) {
        const int64_t bit = role == KvRole::key ? key_bit(dim, bits, token, c, k) : value_bit(dim, bits, token, c, k);
        visit(static_cast<int64_t>(token) * dim + c, k, bit);
      }
    }
  }
}

}  // namespace

TurboCodec::TurboCodec(KvRole role, int dim, int bits, uint32_t seed)
    : book_(find_codebook(dim, bits, grid_of(role))), rotation_(dim, seed) {
  ARC_CHECK(book_ != nullptr) << dim << " x " << bits;
}

void TurboCodec::encode(const float* x, uint8_t* codes, uint16_t* norm) const {
  float y[kMaxTurboDim];
  double square = 0.0, decoded = 0.0;
  for (int i = 0; i < dim(); ++i) square += static_cast<double>(x[i]) * x[i];
  const double length = std::sqrt(square);
  const float inverse = length > 0.0 ? static_cast<float>(1.0 / length) : 0.0f;
  for (int i = 0; i < dim(); ++i) y[i] = x[i] * inverse;
  rotation_.apply(y);
  for (int i = 0; i < dim(); ++i) {
    codes[i] = static_cast<uint8_t>(book_->code(y[i]));
    const double level = book_->level(codes[i]);
    decoded += level * level;
  }
  *norm = float_to_f16(std::min(static_cast<float>(length / std::sqrt(decoded)), kMaxF16));
}

void TurboCodec::decode_rotated(const uint8_t* codes, uint16_t norm, float* y) const {
  const float scale = f16_to_float(norm);
  for (int i = 0; i < dim(); ++i) y[i] = scale * book_->level(codes[i]);
}

void TurboCodec::decode(const uint8_t* codes, uint16_t norm, float* y) const {
  decode_rotated(codes, norm, y);
  rotation_.apply(y);
}

int64_t turbo_tile_bytes(int dim, int bits) {
  return int64_t{kTileTokens} * groups_of(dim) * bits * 4;
}

void pack_tile(KvRole role, int dim, int bits, const uint8_t* codes, std::byte* tile) {
  std::fill_n(tile, turbo_tile_bytes(dim, bits), std::byte{0});
  for_each_bit(role, dim, bits, [&](int64_t i, int k, int64_t bit) {
    if ((stored(role, bits, codes[i]) >> k & 1) != 0) tile[bit / 8] |= std::byte{1} << (bit % 8);
  });
}

void unpack_tile(KvRole role, int dim, int bits, const std::byte* tile, uint8_t* codes) {
  std::fill_n(codes, kTileTokens * dim, uint8_t{0});
  for_each_bit(role, dim, bits, [&](int64_t i, int k, int64_t bit) {
    codes[i] |= static_cast<uint8_t>((static_cast<int>(tile[bit / 8]) >> (bit % 8) & 1) << k);
  });
  for (int i = 0; i < kTileTokens * dim; ++i) codes[i] = static_cast<uint8_t>(restored(role, bits, codes[i]));
}

}  // namespace arc
