// TurboQuant's definition: the rotation is a rotation, distortion is what theory says, tiles hold every code.
#include "quant/turbo.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"

#include "base/counter_rng.h"
#include "base/dtype.h"
#include "quant/codebook_solver.h"

namespace arc {
namespace {

constexpr uint32_t kSeed = 7;

double gaussian(uint64_t key, uint64_t index) {
  const Philox r = philox(key, index, 0);
  const double u = open_uniform(r.word[0], r.word[1]), v = open_uniform(r.word[2], r.word[3]);
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * v);
}

std::vector<float> random_vector(int dim, uint64_t key) {
  std::vector<float> x(static_cast<size_t>(dim));
  for (int i = 0; i < dim; ++i) x[i] = static_cast<float>(gaussian(key, i));
  return x;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

TEST(Rotation, IsOrthogonalAndItsOwnInverse) {
  for (int dim : kCodebookDims) {
    const Rotation rotation(dim, kSeed);
    const std::vector<float> x = random_vector(dim, 1), y = random_vector(dim, 2);
    std::vector<float> rx = x, ry = y;
    rotation.apply(rx.data());
    rotation.apply(ry.data());
    EXPECT_NEAR(dot(rx, ry), dot(x, y), 1e-5 * std::sqrt(dot(x, x) * dot(y, y))) << dim;
    rotation.apply(rx.data());
    for (int i = 0; i < dim; ++i) ASSERT_NEAR(rx[i], x[i], 1e-5) << dim << " " << i;
  }
}

TEST(Rotation, SpreadsEveryCoordinate) {
  for (int dim : kCodebookDims) {
    const Rotation rotation(dim, kSeed);
    for (int i = 0; i < dim; ++i) {
      std::vector<float> x(static_cast<size_t>(dim), 0.0f);
      x[i] = 1.0f;
      rotation.apply(x.data());
      for (float v : x) ASSERT_LE(std::abs(v), std::sqrt(2.0 / dim) * 1.0001) << dim << " " << i;
    }
  }
}

TEST(Rotation, SignsDependOnTheSeedAndAreBalanced) {
  const Rotation a(128, 1), b(128, 2), again(128, 1);
  EXPECT_NE(a.signs(), b.signs());
  EXPECT_EQ(a.signs(), again.signs());
  EXPECT_LT(std::abs(std::accumulate(a.signs().begin(), a.signs().end(), 0.0f)), 40.0f);
}

struct Errors {
  double levels = 0.0, decoded = 0.0;  // mean squared error: of the bare levels, and after the norm's correction
};

// Over random unit vectors whose coordinates differ in scale by exp(spread), as shares of the law's distortion.
Errors shares_of_law(int dim, int bits, double spread) {
  constexpr int kVectors = 400;
  const TurboCodec codec(KvRole::key, dim, bits, kSeed);
  Errors mean;
  for (int v = 0; v < kVectors; ++v) {
    std::vector<float> x = random_vector(dim, 100 + v), y(x.size());
    for (int i = 0; i < dim; ++i) x[i] *= static_cast<float>(std::exp(spread * gaussian(99, i)));
    const float length = static_cast<float>(std::sqrt(dot(x, x)));
    for (float& value : x) value /= length;
    std::vector<uint8_t> codes(x.size());
    uint16_t norm = 0;
    codec.rotate(x.data());
    codec.encode(x.data(), codes.data(), &norm);
    codec.decode(codes.data(), norm, y.data());
    EXPECT_NEAR(dot(y, y), 1.0, 2e-3);
    for (int i = 0; i < dim; ++i) mean.decoded += (x[i] - y[i]) * (x[i] - y[i]) / kVectors;
    for (int i = 0; i < dim; ++i) mean.levels += std::pow(x[i] - codec.book().level(codes[i]), 2) / kVectors;
  }
  Levels levels;
  for (float n : codec.book().numbers) levels.push_back(static_cast<double>(n) * codec.book().step);
  const double law = distortion(CoordinateLaw(dim), levels);
  return {.levels = mean.levels / law, .decoded = mean.decoded / law};
}

TEST(Turbo, DistortionIsTheLaws) {
  for (int dim : kCodebookDims) {
    for (int bits = 1; bits <= 4; ++bits) {
      const Errors even = shares_of_law(dim, bits, 0.0);
      EXPECT_NEAR(even.levels, 1.0, 0.03) << dim << " " << bits;
      // The right length saves the error along the vector; at one bit it also undoes the shrinkage 1 - D / 2.
      EXPECT_LT(even.decoded, bits == 1 ? 1.15 : 1.05) << dim << " " << bits;
      // A few dominant coordinates leave fewer outliers after the rotation than the law has.
      const Errors uneven = shares_of_law(dim, bits, 1.0);
      EXPECT_LT(uneven.levels, 1.05) << dim << " " << bits;
      EXPECT_GT(uneven.levels, 0.7) << dim << " " << bits;
    }
  }
}

TEST(Turbo, ZeroHugeAndTinyVectors) {
  for (const auto code : {KvPolicy::Codec::turbo, KvPolicy::Codec::trellis}) {
    const TurboCodec codec(KvRole::value, 128, {.codec = code, .bits = 3}, kSeed);
    std::vector<uint8_t> codes(128);
    std::vector<float> y(128);
    for (float scale : {0.0f, 1e-30f, 1e-3f, 1e3f, 1e30f}) {
      std::vector<float> x = random_vector(128, 5);
      for (float& v : x) v *= scale;
      uint16_t norm = 0;
      codec.encode(x.data(), codes.data(), &norm);
      codec.decode(codes.data(), norm, y.data());
      for (float v : y) ASSERT_TRUE(std::isfinite(v)) << scale;
      EXPECT_EQ(norm == 0, scale < 1e-20f) << scale;
      EXPECT_EQ(f16_to_float(norm) == 65504.0f, scale > 1e20f) << scale;
    }
  }
}

TEST(Turbo, EightBitsAreThe127thPartsOfTheLargest) {
  for (int dim : kCodebookDims) {
    const TurboCodec codec(KvRole::key, dim, kUniformBits, kSeed);
    std::vector<float> x = random_vector(dim, 6), y(x.size());
    float largest = 0.0f;
    for (float v : x) largest = std::max(largest, std::fabs(v));
    std::vector<uint8_t> codes(x.size());
    uint16_t norm = 0;
    codec.encode(x.data(), codes.data(), &norm);
    codec.decode(codes.data(), norm, y.data());
    // Half a step, and the largest itself when its f16 was rounded down.
    for (int i = 0; i < dim; ++i) EXPECT_NEAR(y[i], x[i], largest * (0.5 / 127 * 1.001 + 0x1p-11)) << dim;
  }
}

TEST(TurboTile, HoldsEveryCodeOnceAndNothingElse) {
  for (KvRole role : {KvRole::key, KvRole::value}) {
    for (int dim : kCodebookDims) {
      for (int bits : {1, 2, 3, 4, 8}) {
        const TurboCodec codec(role, dim, bits, kSeed);
        std::vector<uint8_t> codes(static_cast<size_t>(kTileTokens) * dim), back(codes.size());
        for (size_t i = 0; i < codes.size(); ++i) {
          codes[i] = static_cast<uint8_t>(philox(bits, i, dim).word[0] % (1u << bits));
        }
        std::vector<std::byte> tile(static_cast<size_t>(turbo_tile_bytes(dim, bits)));
        codec.pack_tile(codes.data(), tile.data());
        codec.unpack_tile(tile.data(), back.data());
        ASSERT_EQ(back, codes) << dim << " " << bits;
      }
    }
  }
}

TEST(TurboTile, LoadsWhatWasEncoded) {
  for (KvRole role : {KvRole::key, KvRole::value}) {
    for (int bits : {2, 3, 4, 8}) {
      const TurboCodec codec(role, 80, bits, kSeed);
      std::vector<uint8_t> codes(static_cast<size_t>(kTileTokens) * 80);
      std::vector<uint16_t> norms(kTileTokens);
      for (int t = 0; t < kTileTokens; ++t) {
        codec.encode(random_vector(80, t).data(), codes.data() + t * 80, &norms[norm_place(t)]);
      }
      std::vector<std::byte> tile(static_cast<size_t>(turbo_tile_bytes(80, bits)));
      codec.pack_tile(codes.data(), tile.data());
      std::vector<float> rows(kTileTokens * 96, -1.0f), expected(80);
      codec.load_tile(tile.data(), norms.data(), rows.data(), 96);
      for (int t = 0; t < kTileTokens; ++t) {
        codec.decode(codes.data() + t * 80, norms[norm_place(t)], expected.data());
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), rows.begin() + t * 96)) << bits << " " << t;
        EXPECT_EQ(rows[t * 96 + 80], -1.0f);
      }
    }
  }
}

TEST(TurboTile, SizesAtHead128) {
  EXPECT_EQ(turbo_tile_bytes(128, 4), 4096);
  EXPECT_EQ(turbo_tile_bytes(128, 3), 3072);
  // K4/V3 with two f16 norms: 116 bytes per token and head.
  EXPECT_EQ((turbo_tile_bytes(128, 4) + turbo_tile_bytes(128, 3)) / kTileTokens + 4, 116);
}

// The places that device kernels rely on.
TEST(TurboTile, PlacesOfSingleCodes) {
  const auto bit_set = [](KvRole role, int bits, int token, int coordinate, uint8_t code, uint8_t fill) {
    std::vector<uint8_t> codes(kTileTokens * 128, fill);
    codes[token * 128 + coordinate] = code;
    std::vector<std::byte> tile(static_cast<size_t>(turbo_tile_bytes(128, bits)));
    TurboCodec(role, 128, bits, kSeed).pack_tile(codes.data(), tile.data());
    int64_t place = -1;
    for (size_t i = 0; i < 8 * tile.size(); ++i) {
      if ((static_cast<int>(tile[i / 8]) >> (i % 8) & 1) == 0) continue;
      EXPECT_EQ(place, -1);
      place = static_cast<int64_t>(i);
    }
    return place;
  };
  // Key 5, coordinate 37 = word 4, e = 5: magnitude 1 in bit 20; codes 8 and 7 are magnitude 0 with and without sign.
  EXPECT_EQ(bit_set(KvRole::key, 4, 5, 37, 9, 8), 5 * 512 + 4 * 32 + 20);
  EXPECT_EQ(bit_set(KvRole::key, 4, 5, 37, 7, 8), 5 * 512 + 4 * 32 + 11);
  EXPECT_EQ(bit_set(KvRole::key, 4, 5, 34, 7, 8), 5 * 512 + 4 * 32 + 23);
  // Value of token 32 + 13 (r 0, b 1, c 2, i 1: nibble 3), coordinate 70 = set 2 * 4 + 0, e 6: lane 26, word 6.
  EXPECT_EQ(bit_set(KvRole::value, 3, 45, 70, 1, 0), ((384 + 4 * 32 + 26 * 4 + 2) * 32) + 12);
}

TEST(TurboTile, NormPlacesAreAPermutation) {
  std::array<int, kTileTokens> places{};
  for (int t = 0; t < kTileTokens; ++t) places[t] = norm_place(t);
  std::ranges::sort(places);
  for (int t = 0; t < kTileTokens; ++t) EXPECT_EQ(places[t], t);
}

}  // namespace
}  // namespace arc
