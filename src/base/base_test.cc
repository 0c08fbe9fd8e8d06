// Tests of base: number formats against their definitions, UTF-8 against the whole code space, JSON limits, files,
// Philox.
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/check.h"
#include "base/counter_rng.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "base/utf8.h"

namespace arc {
namespace {

// The compiler's own half type is the oracle for f16.
TEST(DType, HalfAgreesWithTheCompilerForAllValues) {
  for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
    _Float16 half;
    const uint16_t raw = static_cast<uint16_t>(bits);
    std::memcpy(&half, &raw, 2);
    const float expected = static_cast<float>(half);
    const float got = f16_to_float(raw);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(got)) << bits;
      continue;
    }
    ASSERT_EQ(expected, got) << bits;
    ASSERT_EQ(float_to_f16(got), raw) << bits;
  }
}

TEST(DType, RoundingToHalfAndBfloatIsNearestEven) {
  for (uint32_t i = 0; i < 2'000'000; ++i) {
    const uint32_t bits = philox(7, i, 0).word[0];
    float value;
    std::memcpy(&value, &bits, 4);
    if (std::isnan(value)) continue;
    const _Float16 half = static_cast<_Float16>(value);
    uint16_t expected;
    std::memcpy(&expected, &half, 2);
    ASSERT_EQ(float_to_f16(value), expected) << value;
    // bf16: the result is a neighbour, and no neighbour is nearer; on a tie its last bit is zero.
    const uint16_t rounded = float_to_bf16(value);
    const double error = std::fabs(double{bf16_to_float(rounded)} - value);
    for (int step : {-1, 1}) {
      const float other = bf16_to_float(static_cast<uint16_t>(rounded + step));
      if (!std::isfinite(other) || !std::isfinite(error)) continue;
      const double other_error = std::fabs(double{other} - value);
      ASSERT_TRUE(error < other_error || (error == other_error && (rounded & 1) == 0)) << value;
    }
  }
}

TEST(DType, EightBitFloatsHaveTheirPublishedExtremes) {
  EXPECT_EQ(f8e4m3_to_float(0x7e), 448.0f);
  EXPECT_EQ(f8e4m3_to_float(0x01), std::ldexp(1.0f, -9));
  EXPECT_TRUE(std::isnan(f8e4m3_to_float(0xff)));
  EXPECT_EQ(f8e5m2_to_float(0x7b), 57344.0f);
  EXPECT_EQ(f8e5m2_to_float(0x01), std::ldexp(1.0f, -16));
  EXPECT_TRUE(std::isinf(f8e5m2_to_float(0xfc)));
}

TEST(Utf8, RoundTripsEveryCodePointAndRejectsSurrogates) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    std::string text;
    utf8_append(text, c);
    const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
    ASSERT_EQ(is_valid_utf8(text), !surrogate) << static_cast<uint32_t>(c);
    if (surrogate) continue;
    size_t offset = 0;
    ASSERT_EQ(utf8_decode(text, offset), c);
    ASSERT_EQ(offset, text.size());
    for (size_t cut = 1; cut < text.size(); ++cut) ASSERT_EQ(utf8_complete_prefix(text.substr(0, cut)), 0u);
  }
}

TEST(Utf8, InvalidBytesAreReplacedOneByOne) {
  EXPECT_EQ(utf8_replace_invalid("a\xff\xc0z"), "a\xEF\xBF\xBD\xEF\xBF\xBDz");
  EXPECT_EQ(utf8_complete_prefix("ab\xE2\x82"), 2u);
  EXPECT_EQ(utf8_complete_prefix("ab\x82\x82"), 4u);  // never completable: not held back
  EXPECT_EQ(utf8_sequence_length("\xC0\x80"), 0u);    // overlong
}

TEST(Json, LimitsAndErrorsNameTheDocument) {
  EXPECT_EQ(parse_json(R"({"b":1,"a":2})", "x").begin().key(), "b");
  for (const std::string& bad : {std::string(200, '['), std::string("1e999"), std::string("{\"a\":1} x"),
                                 std::string("\"\xff\""), std::string("{}\0[", 4)}) {
    try {
      parse_json(bad, "request body");
      FAIL() << bad;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::corrupt_data);
      EXPECT_NE(std::string(e.what()).find("request body"), std::string::npos);
    }
  }
}

TEST(MappedFile, ReadsAndNamesWhatIsMissing) {
  const auto path = std::filesystem::temp_directory_path() / "arc_mapped_file_test";
  std::ofstream(path) << "hello";
  EXPECT_EQ(read_text_file(path), "hello");
  EXPECT_THROW(read_text_file(path, 4), Error);
  std::filesystem::remove(path);
  try {
    MappedFile missing(path);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::not_found);
    EXPECT_NE(std::string(e.what()).find("arc_mapped_file_test"), std::string::npos);
  }
}

// Known answers of Random123's kat_vectors for philox4x32-10.
TEST(Philox, MatchesThePublishedVectors) {
  const Philox zero = philox(0, 0, 0);
  EXPECT_EQ(zero.word[0], 0x6627e8d5u);
  EXPECT_EQ(zero.word[1], 0xe169c58du);
  EXPECT_EQ(zero.word[2], 0xbc57ac4cu);
  EXPECT_EQ(zero.word[3], 0x9b00dbd8u);
  const Philox ones = philox(~0ull, ~0ull, ~0ull);
  EXPECT_EQ(ones.word[0], 0x408f276du);
  EXPECT_EQ(ones.word[1], 0x41c83b0eu);
  EXPECT_EQ(ones.word[2], 0xa20bc7c6u);
  EXPECT_EQ(ones.word[3], 0x6d5451fdu);
}

TEST(CheckDeathTest, PrintsTheScopeStack) {
  const Scope load("load");
  const Scope layer("layer 12");
  EXPECT_DEATH(ARC_CHECK(1 == 2) << "reason", "1 == 2.*reason(.|\n)*load / layer 12");
}

}  // namespace
}  // namespace arc
