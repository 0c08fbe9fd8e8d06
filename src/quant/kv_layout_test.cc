// Cache blocks: where things lie, rows of 8-bit codecs, sealed tiles.
#include "quant/kv_layout.h"

#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#include "base/dtype.h"
#include "quant/turbo.h"

namespace arc {
namespace {

using Codec = KvPolicy::Codec;

KvPolicy tiled(int k_bits, int v_bits) {
  return {.k = {.codec = Codec::turbo, .bits = static_cast<uint8_t>(k_bits)},
          .v = {.codec = Codec::turbo, .bits = static_cast<uint8_t>(v_bits)},
          .raw = DType::bf16,
          .seed = 5};
}

// What device kernels rely on: 58 x 128 bytes a head, keys, values, norms of keys, norms of values.
TEST(KvLayout, OfHeadsOf128) {
  const KvLayout turbo = kv_layout(tiled(4, 3), 128, 128);
  EXPECT_EQ(turbo.v_offset, 4096);
  EXPECT_EQ(turbo.k_scales, 7168);
  EXPECT_EQ(turbo.v_scales, 7296);
  EXPECT_EQ(turbo.head_bytes, 58 * 128);
  EXPECT_EQ(kv_layout(tiled(8, 3), 128, 128).head_bytes, 64 * 180);
  const KvPolicy::Side int8{.codec = Codec::int8_block, .bits = 8};
  EXPECT_EQ(kv_layout({.k = int8, .v = int8}, 128, 128).head_bytes, 64 * 2 * (128 + 8));
  EXPECT_EQ(kv_layout({.k = int8, .v = int8}, 80, 0).head_bytes, 64 * (80 + 6));
  EXPECT_EQ(kv_layout(KvPolicy::raw_of(DType::bf16), 128, 128).head_bytes, 64 * 512);
}

class Row {
 public:
  Row(Codec codec, int dim)
      : bytes_(static_cast<size_t>(kTileTokens) * dim),
        scales_(bytes_.size()),
        tile_{.codec = codec, .dim = dim, .data = bytes_.data(), .scales = scales_.data()} {}

  std::vector<float> through(const std::vector<float>& x) {
    std::vector<float> y(8 * x.size());
    store_row(tile_, 7, x.data());
    load_rows(tile_, 7, 8, y.data(), static_cast<int64_t>(x.size()));
    y.erase(y.begin(), y.end() - static_cast<ptrdiff_t>(x.size()));
    return y;
  }

 private:
  std::vector<std::byte> bytes_;
  std::vector<uint16_t> scales_;
  KvTile tile_;
};

TEST(KvRows, F8HoldsItsNumbersAndTakesTheNearest) {
  std::vector<float> numbers;
  for (int code = 0; code < 0x7f; ++code) numbers.push_back(f8e4m3_to_float(static_cast<uint8_t>(code)));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = i % 2 == 0 ? numbers[i] : -numbers[i];
  EXPECT_EQ(Row(Codec::f8e4m3, static_cast<int>(numbers.size())).through(numbers), numbers);

  std::mt19937 random(1);
  std::normal_distribution<float> wide(0.0f, 4.0f);
  std::vector<float> x(1000);
  for (float& v : x) v = std::exp2(wide(random) * 2) * (random() % 2 == 0 ? 1.0f : -1.0f);
  const std::vector<float> y = Row(Codec::f8e4m3, 1000).through(x);
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::fabs(x[i]) >= 448) {
      EXPECT_EQ(y[i], std::copysign(448.0f, x[i]));
      continue;
    }
    for (const float number : numbers)
      EXPECT_GE(std::fabs(std::fabs(number) - std::fabs(x[i])), std::fabs(y[i] - x[i]));
  }
  EXPECT_TRUE(std::isnan(Row(Codec::f8e4m3, 1).through({std::nanf("")})[0]));
}

TEST(KvRows, Int8ErrsByHalfAStepOfItsBlock) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> x(80);
  for (size_t i = 0; i < x.size(); ++i) x[i] = normal(random) * (i < 32 ? 100.0f : 0.01f);
  const std::vector<float> y = Row(Codec::int8_block, 80).through(x);
  for (size_t block = 0; block < 80; block += 32) {
    float most = 0.0f;
    for (size_t i = block; i < std::min<size_t>(block + 32, 80); ++i) most = std::max(most, std::fabs(x[i]));
    for (size_t i = block; i < std::min<size_t>(block + 32, 80); ++i) {
      EXPECT_NEAR(y[i], x[i], most * (0.5 / 127 + 0x1p-11)) << i;
    }
  }
  for (float v : Row(Codec::int8_block, 40).through(std::vector<float>(40, 0.0f))) EXPECT_EQ(v, 0.0f);
}

TEST(Seal, PacksWhatTheCodecEncodes) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const KvRole role : {KvRole::key, KvRole::value}) {
    for (const int bits : {3, 4, 8}) {
      constexpr int kDim = 80;
      const TurboCodec codec(role, kDim, bits, 5);
      std::vector<float> rows(kTileTokens * kDim), got(rows.size()), expected(kDim);
      for (float& v : rows) v = bf16_to_float(float_to_bf16(normal(random)));
      std::vector<uint16_t> raw(rows.size()), norms(kTileTokens);
      from_float(DType::bf16, rows.data(), raw.data(), rows.size());
      std::vector<std::byte> bytes(static_cast<size_t>(turbo_tile_bytes(kDim, bits)));
      const KvTile open{.raw = DType::bf16, .dim = kDim, .data = reinterpret_cast<std::byte*>(raw.data())};
      const KvTile tile{
          .codec = Codec::turbo, .dim = kDim, .data = bytes.data(), .scales = norms.data(), .turbo = &codec};
      seal(open, tile);
      load_rows(tile, 0, kTileTokens, got.data(), kDim);
      for (int t = 0; t < kTileTokens; ++t) {
        uint8_t codes[kDim];
        uint16_t norm = 0;
        codec.encode(rows.data() + t * kDim, codes, &norm);
        codec.decode(codes, norm, expected.data());
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), got.begin() + t * kDim)) << bits << " " << t;
      }
    }
  }
}

// Integer kernels decode to the same numbers.
TEST(TurboTable, EntriesAreLevels) {
  for (const KvRole role : {KvRole::key, KvRole::value}) {
    for (const int dim : kCodebookDims) {
      for (int bits = 1; bits <= 4; ++bits) {
        const TurboCodec codec(role, dim, bits, 1);
        const TurboTable& table = turbo_table(codec);
        for (int held = 0; held < 1 << bits; ++held) {
          const bool sign_form = role == KvRole::key && bits == 4;
          const int code = !sign_form ? held : held < 8 ? held + 8 : 15 - held;
          const float entry = role == KvRole::key ? static_cast<float>(table.entries[held])
                                                  : static_cast<float>(static_cast<int8_t>(table.entries[held]));
          EXPECT_EQ((entry - table.offset) * table.step, codec.book().level(code)) << dim << " " << bits << " " << held;
        }
      }
    }
  }
}

}  // namespace
}  // namespace arc
