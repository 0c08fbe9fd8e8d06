#include "quant/turbo.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/dtype.h"
#include "quant/rounding.h"

namespace arc {
namespace {

constexpr int kUniformZero = 1 << (kUniformBits - 1);
constexpr float kUniformLargest = 127.0f;

}  // namespace

TurboCodec::TurboCodec(KvRole role, int dim, KvPolicy::Side side, uint32_t seed)
    : role_(role), bits_(side.bits), rotation_(dim, seed) {
  if (side.codec == KvPolicy::Codec::trellis) {
    trellis_ = &find_trellis(bits_);
    fill_windows();
    return;
  }
  book_ = find_codebook(dim, bits_, grid_of(role));
  ARC_CHECK(book_ != nullptr || bits_ == kUniformBits) << dim << " x " << bits_;
  for (int code = 0; code < 1 << bits_; ++code) {
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
    const int code = code_of(role_, bits_, held) % (1 << bits_);
    const int n = static_cast<int>(book_->numbers.size());
    const float number = code < n ? -book_->numbers[n - 1 - code] : book_->numbers[code - n];
    table_.entries[held] = static_cast<uint8_t>(static_cast<int>(number - half) + (key ? kUniformZero : 0));
  }
}

void TurboCodec::fill_windows() {
  const int zero = role_ == KvRole::key ? kUniformZero : 0;
  for (const int8_t number : trellis_->numbers) windows_.push_back(static_cast<uint8_t>(number + zero));
  table_ = {.bits = bits_,
            .step = trellis_->step / std::sqrt(static_cast<float>(dim())),
            .offset = static_cast<float>(zero),
            .windows = windows_.data(),
            .signs = rotation_.signs().data()};
}

void TurboCodec::rotate(float* x) const {
  rotation_.apply(x);
}

void TurboCodec::encode(const float* y, uint8_t* codes, uint16_t* norm, TrellisWalk walk) const {
  if (bits_ == kUniformBits) return encode_uniform(y, codes, norm);
  if (trellis_ != nullptr) return encode_ring(y, codes, norm, walk);
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

void TurboCodec::encode_ring(const float* y, uint8_t* codes, uint16_t* norm, TrellisWalk walk) const {
  const int most = kLargestTrellisNumber * trellis_fine(bits_);
  double square = 0.0;
  for (int i = 0; i < dim(); ++i) square += static_cast<double>(y[i]) * y[i];
  const double length = std::sqrt(square), step = table_.step;
  const float factor = length > 0.0 ? static_cast<float>(trellis_fine(bits_) / (length * step)) : 0.0f;
  int16_t x[kMaxTurboDim];
  for (int i = 0; i < dim(); ++i) x[i] = static_cast<int16_t>(quant::nearest(y[i] * factor, -most, most));
  encode_trellis(*trellis_, x, dim(), codes, walk);
  int8_t numbers[kMaxTurboDim];
  trellis_numbers(*trellis_, codes, dim(), numbers);
  int32_t decoded = 0;
  for (int i = 0; i < dim(); ++i) decoded += numbers[i] * numbers[i];
  // A row of zeros may have numbers of zero.
  const double scale = decoded > 0 ? length / (step * std::sqrt(static_cast<double>(decoded))) : 0.0;
  *norm = float_to_f16(std::min(static_cast<float>(scale), kMaxF16));
}

void TurboCodec::decode(const uint8_t* codes, uint16_t norm, float* y) const {
  const float scale = f16_to_float(norm);
  if (trellis_ != nullptr) {
    int8_t numbers[kMaxTurboDim];
    trellis_numbers(*trellis_, codes, dim(), numbers);
    for (int i = 0; i < dim(); ++i) y[i] = scale * (table_.step * static_cast<float>(numbers[i]));
    return;
  }
  for (int i = 0; i < dim(); ++i) y[i] = scale * levels_[codes[i]];
}

int64_t turbo_tile_bytes(int dim, int bits) {
  return int64_t{kTileTokens} * word_groups(dim) * bits * 4;
}

// f(token, coordinate, m, n) for each field of a group that a coordinate has.
template <typename F>
void TurboCodec::for_fields(const WordGroup& group, const F& f) const {
  for (int m = 0; m < kWordGroup / 8; ++m) {
    for (int n = 0; n < 8; ++n) {
      const int coordinate = coordinate_of(role_, group, m, n);
      if (coordinate < dim()) f(token_of(role_, group, n), coordinate, m, n);
    }
  }
}

void TurboCodec::pack_tile(const uint8_t* codes, std::byte* tile) const {
  const int n = dim();
  if (trellis_ != nullptr) {
    for (int t = 0; t < kTileTokens; ++t)
      pack_trellis_row(codes + t * n, n, bits_, tile + t * trellis_row_bytes(n, bits_));
    return;
  }
  if (bits_ == kUniformBits) {
    const int row = word_groups(n) * kWordGroup;
    std::fill_n(tile, turbo_tile_bytes(n, bits_), std::byte{0});
    for (int i = 0; i < kTileTokens * n; ++i) {
      tile[i / n * row + i % n] = static_cast<std::byte>(codes[i] - kUniformZero);
    }
    return;
  }
  for (int i = 0; i < word_group_count(n); ++i) {
    const WordGroup group = word_group(role_, n, bits_, i);
    uint32_t words[kMaxGridBits] = {};
    for_fields(group, [&](int token, int coordinate, int m, int nibble) {
      const int held = held_of(role_, bits_, codes[token * n + coordinate]);
      hold_code(role_, bits_, m, nibble, static_cast<uint32_t>(held), words);
    });
    for (int k = 0; k < bits_; ++k) std::memcpy(tile + word_bytes(group, k), &words[k], sizeof words[k]);
  }
}

void TurboCodec::unpack_tile(const std::byte* tile, uint8_t* codes) const {
  const int n = dim();
  if (trellis_ != nullptr) {
    for (int t = 0; t < kTileTokens; ++t)
      unpack_trellis_row(tile + t * trellis_row_bytes(n, bits_), n, bits_, codes + t * n);
    return;
  }
  if (bits_ == kUniformBits) {
    const int row = word_groups(n) * kWordGroup;
    for (int i = 0; i < kTileTokens * n; ++i) {
      codes[i] = static_cast<uint8_t>(static_cast<int8_t>(tile[i / n * row + i % n]) + kUniformZero);
    }
    return;
  }
  for (int i = 0; i < word_group_count(n); ++i) {
    const WordGroup group = word_group(role_, n, bits_, i);
    uint32_t words[kMaxGridBits] = {};
    for (int k = 0; k < bits_; ++k) std::memcpy(&words[k], tile + word_bytes(group, k), sizeof words[k]);
    for_fields(group, [&](int token, int coordinate, int m, int nibble) {
      codes[token * n + coordinate] =
          static_cast<uint8_t>(code_of(role_, bits_, held_code(role_, bits_, m, nibble, words)));
    });
  }
}

void TurboCodec::load_tile(const std::byte* tile, const uint16_t* norms, float* out, int64_t stride) const {
  uint8_t codes[kTileTokens * kMaxTurboDim];
  unpack_tile(tile, codes);
  for (int t = 0; t < kTileTokens; ++t) decode(codes + t * dim(), norms[norm_place(t)], out + t * stride);
}

}  // namespace arc
