// Tests of GGUF: round trips of every kind of value and tensor, split models, hostile files, damage at every byte.
#include "io/gguf.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <unistd.h>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "io/gguf_bytes.h"
#include "io/gguf_check.h"
#include "io/gguf_types.h"

namespace arc {
namespace {

using test::GgufBytes;
namespace fs = std::filesystem;

constexpr uint32_t kF32 = 0, kQ40 = 2, kQ8 = 8;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// The message of the Error that parsing gives; empty when it gives none.
std::string refusal(std::string_view file) {
  try {
    const GgufHeader header = parse_gguf_header(bytes_of(file), "test.gguf");
    EXPECT_EQ(test::broken_promise(header, bytes_of(file)), "");
    return "";
  } catch (const Error& e) {
    EXPECT_TRUE(e.code() == ErrorCode::corrupt_data || e.code() == ErrorCode::unsupported) << e.what();
    return e.what();
  }
}

GgufBytes small_file() {
  GgufBytes file;
  file.add("general.architecture", std::string("llama"));
  file.add("llama.block_count", uint32_t{2});
  file.add("tokens", std::vector<std::string>{"a", "", "bc"});
  file.add("scores", std::vector<float>{0.5f, -1.0f});
  const std::vector<float> values(6, 1.5f);
  file.tensor("b", {2, 3}, kF32, std::as_bytes(std::span(values)));
  const std::vector<std::byte> blocks(4 * 34, std::byte{7});
  file.tensor("a", {2, 64}, kQ8, blocks);
  return file;
}

TEST(Gguf, ValuesOfEveryType) {
  GgufBytes file;
  file.add("u8", uint8_t{200});
  file.add("i8", int8_t{-5});
  file.add("u16", uint16_t{60'000});
  file.add("i16", int16_t{-300});
  file.add("u32", uint32_t{4'000'000'000});
  file.add("i32", int32_t{-7});
  file.add("f32", 0.25f);
  file.add("yes", true);
  file.add("text", std::string("\xc3\xa9"));
  file.add("bytes", std::string("\xff"));
  file.add("u64", std::numeric_limits<uint64_t>::max());
  file.add("i64", std::numeric_limits<int64_t>::min());
  file.add("f64", 1e300);
  file.add("list", std::vector<int32_t>{1, -2});
  file.add("none", std::vector<int32_t>{});
  const std::string bytes = file.bytes();
  const GgufMetadata metadata = parse_gguf_header(bytes_of(bytes), "test").metadata;
  const auto json = [&](const char* key) { return metadata.at(key).json(); };
  EXPECT_EQ(json("u8"), 200);
  EXPECT_EQ(json("i8"), -5);
  EXPECT_EQ(json("u16"), 60'000);
  EXPECT_EQ(json("i16"), -300);
  EXPECT_EQ(json("u32"), 4'000'000'000);
  EXPECT_EQ(json("i32"), -7);
  EXPECT_EQ(json("f32"), 0.25);
  EXPECT_EQ(json("yes"), true);
  EXPECT_EQ(json("text"), "\xc3\xa9");
  EXPECT_EQ(json("bytes"), "\xef\xbf\xbd");
  EXPECT_EQ(json("u64"), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(json("i64"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(json("f64"), 1e300);
  EXPECT_EQ(json("list"), Json({1, -2}));
  EXPECT_EQ(json("none"), Json::array());
  EXPECT_EQ(metadata.at("u64").integer(), std::nullopt);
  EXPECT_EQ(metadata.at("i64").integer(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(metadata.at("f32").integer(), std::nullopt);
  EXPECT_EQ(metadata.at("text").integer(), std::nullopt);
  EXPECT_EQ(metadata.at("list").integers(), (std::vector<int64_t>{1, -2}));
  EXPECT_TRUE(metadata.at("list").strings().empty());
}

TEST(Gguf, TensorsAreSortedAndReversed) {
  const std::string bytes = small_file().bytes();
  const GgufHeader header = parse_gguf_header(bytes_of(bytes), "test");
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[0].code, BlockCode::q8_0);
  EXPECT_EQ(header.tensors[0].shape, Shape({2, 64}));
  EXPECT_EQ(header.tensors[0].size_bytes, 136u);
  EXPECT_EQ(header.tensors[1].shape, Shape({2, 3}));
  EXPECT_EQ(header.tensors[1].offset % 32, 0u);
  EXPECT_EQ(header.metadata.at("tokens").strings(), (std::vector<std::string_view>{"a", "", "bc"}));
}

TEST(Gguf, EveryTypeIsReadOrNamed) {
  int readable = 0;
  for (const GgmlType& type : kGgmlTypes) {
    GgufBytes file;
    const std::vector<std::byte> data(4096);
    file.tensor("t", {1, 256}, type.number, data);
    const std::string message = refusal(file.bytes());
    const bool reads = type.dtype != DType::packed || type.code != BlockCode::none;
    EXPECT_EQ(message.empty(), reads) << type.name << ": " << message;
    if (!reads) {
      EXPECT_NE(message.find(fmt::format("type {},", type.name)), std::string::npos) << message;
    }
    readable += reads;
  }
  EXPECT_EQ(readable, 21);  // 8 plain types and 13 codes
  GgufBytes file;
  file.tensor("t", {1, 256}, 99, {});
  EXPECT_NE(refusal(file.bytes()).find("number 99"), std::string::npos);
}

TEST(Gguf, VersionsAndAlignment) {
  for (uint32_t version : {2u, 3u}) {
    GgufBytes file = small_file();
    file.version = version;
    EXPECT_EQ(refusal(file.bytes()), "");
  }
  for (uint32_t version : {0u, 1u, 4u, 0x03000000u}) {
    GgufBytes file = small_file();
    file.version = version;
    EXPECT_NE(refusal(file.bytes()).find("version"), std::string::npos) << version;
  }
  GgufBytes wide;
  wide.alignment = 128;
  wide.add("general.alignment", uint32_t{128});
  const std::vector<float> one(1);
  wide.tensor("a", {1}, kF32, std::as_bytes(std::span(one)));
  wide.tensor("b", {1}, kF32, std::as_bytes(std::span(one)));
  const std::string bytes = wide.bytes();
  EXPECT_EQ(parse_gguf_header(bytes_of(bytes), "test").tensors[1].offset % 128, 0u);
  for (uint32_t alignment : {0u, 3u, 1u << 30}) {
    GgufBytes file = small_file();
    file.add("general.alignment", alignment);
    EXPECT_NE(refusal(file.bytes()).find("power of two"), std::string::npos) << alignment;
  }
}

// Replaces the little-endian number at the one place where `old` stands.
std::string with_number(std::string file, uint64_t old, uint64_t value) {
  const std::string from(reinterpret_cast<const char*>(&old), 8), to(reinterpret_cast<const char*>(&value), 8);
  const size_t at = file.find(from);
  EXPECT_NE(at, std::string::npos);
  EXPECT_EQ(file.find(from, at + 1), std::string::npos);
  return file.replace(at, 8, to);
}

TEST(Gguf, LiesAreRefused) {
  const auto tensor_file = [](std::initializer_list<int64_t> shape, uint32_t type, size_t n_bytes) {
    GgufBytes file;
    file.tensor("name", shape, type, std::vector<std::byte>(n_bytes));
    return file.bytes();
  };
  const int64_t huge = int64_t{1} << 62;
  const std::string good = tensor_file({77, 32}, kQ8, 77 * 34);
  ASSERT_EQ(refusal(good), "");
  const std::pair<std::string, const char*> cases[] = {
      {"", "does not start"},
      {"GGUG\3\0\0\0", "does not start"},
      {good.substr(0, 40), "ends inside"},
      {good.substr(0, good.size() - 40), "do not lie"},
      {with_number(good, 77, 1'000'000), "do not lie"},
      {with_number(good, 77, uint64_t{1} << 63), "more elements"},
      {with_number(good, 77, huge), "more elements"},
      {tensor_file({4, 33}, kQ8, 200), "whole blocks"},
      {tensor_file({huge, 2}, kF32, 8), "more elements"},
      {tensor_file({huge}, kF32, 8), "more bytes"},
      {tensor_file({1, 1, 1, 1, 1}, kF32, 4), "5 sizes"},
      {tensor_file({}, kQ40, 18), "single number"},
  };
  for (const auto& [file, expected] : cases) {
    EXPECT_NE(refusal(file).find(expected), std::string::npos) << expected << ": " << refusal(file);
  }
}

TEST(Gguf, CountsAndLengthsAreChecked) {
  const std::string good = small_file().bytes();
  const auto with_count = [&](size_t at, uint64_t value) {
    std::string file = good;
    std::memcpy(file.data() + at, &value, 8);
    return file;
  };
  for (uint64_t count : {uint64_t{1} << 20, ~uint64_t{0}, uint64_t{1} << 63}) {
    EXPECT_NE(refusal(with_count(8, count)).find("tensors in a file"), std::string::npos);
    EXPECT_NE(refusal(with_count(16, count)).find("pairs of metadata"), std::string::npos);
    EXPECT_NE(refusal(with_count(24, count)).find("a name of"), std::string::npos);
  }
  GgufBytes twice = small_file();
  twice.add("llama.block_count", uint32_t{2});
  EXPECT_NE(refusal(twice.bytes()).find("two pairs"), std::string::npos);
  GgufBytes same = small_file();
  same.tensor("a", {1}, kF32, std::vector<std::byte>(4));
  EXPECT_NE(refusal(same.bytes()).find("two tensors"), std::string::npos);
  // An array that says it has 2^60 numbers, and one of arrays.
  for (const auto& [type, count, expected] : {std::tuple{4u, uint64_t{1} << 60, "longer than the file"},
                                              {8u, uint64_t{1} << 60, "longer than the file"},
                                              {9u, uint64_t{1}, "array of arrays"},
                                              {13u, uint64_t{1}, "unknown type"}}) {
    GgufBytes file;
    file.add("k", std::vector<uint32_t>{1, 2, 3});
    std::string bytes = file.bytes();
    std::memcpy(bytes.data() + 37, &type, 4);
    std::memcpy(bytes.data() + 41, &count, 8);
    EXPECT_NE(refusal(bytes).find(expected), std::string::npos) << refusal(bytes);
  }
}

TEST(Gguf, OverlapsAreRefused) {
  GgufBytes file;
  const std::vector<float> values(16, 1.0f);
  file.tensor("first", {16}, kF32, std::as_bytes(std::span(values)));
  file.tensor("second", {16}, kF32, std::as_bytes(std::span(values)));
  EXPECT_NE(refusal(with_number(file.bytes(), 64, 32)).find("overlaps"), std::string::npos);
  EXPECT_NE(refusal(with_number(file.bytes(), 64, 48)).find("do not lie"), std::string::npos);  // not aligned
}

TEST(Gguf, NoDataNeedsNoPadding) {
  GgufBytes file;
  file.tensor("empty", {0}, kF32, {});
  std::string bytes = file.bytes();
  bytes.resize(24 + 8 + 5 + 4 + 8 + 4 + 8);
  EXPECT_EQ(refusal(bytes), "");
}

TEST(Gguf, DamageAnywhereIsSafe) {
  const std::string good = small_file().bytes();
  for (size_t i = 0; i < good.size(); ++i) {
    for (int change : {1, 0x80, 0xff}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ change);
      refusal(bad);
    }
    refusal(good.substr(0, i));
  }
}

class GgufFiles : public testing::Test {
 protected:
  GgufFiles() { fs::create_directories(folder_); }
  ~GgufFiles() override { fs::remove_all(folder_); }

  // Three files of one tensor each.
  void write_split(int32_t tensors_said = 3) const {
    for (uint16_t i = 0; i < 3; ++i) {
      GgufBytes file;
      file.add("split.no", i);
      file.add("split.count", uint16_t{3});
      file.add("split.tensors.count", tensors_said);
      file.tensor(fmt::format("t{}", i), {1}, kF32, std::vector<std::byte>(4, std::byte(i)));
      file.write(folder_ / fmt::format("m-{:05}-of-00003.gguf", i + 1));
    }
  }

  fs::path folder_ = fs::temp_directory_path() / fmt::format("arc_gguf_{}", ::getpid());
};

TEST_F(GgufFiles, SplitModelsOpenFromAnyFile) {
  write_split();
  for (int i = 1; i <= 3; ++i) {
    const GgufModel model = open_gguf(folder_ / fmt::format("m-{:05}-of-00003.gguf", i));
    ASSERT_EQ(model.checkpoint.tensors().size(), 3u);
    EXPECT_EQ(model.metadata.at("split.no").integer(), 0);
    EXPECT_EQ(model.checkpoint.load("t2").data()[0], std::byte{2});
  }
}

TEST_F(GgufFiles, SplitModelsMustBeWhole) {
  write_split(4);
  EXPECT_THROW(open_gguf(folder_ / "m-00001-of-00003.gguf"), Error);
  write_split();
  fs::rename(folder_ / "m-00003-of-00003.gguf", folder_ / "m-00003-of-00004.gguf");
  EXPECT_THROW(open_gguf(folder_ / "m-00001-of-00003.gguf"), Error);  // the third is missing
  fs::copy(folder_ / "m-00002-of-00003.gguf", folder_ / "m-00003-of-00003.gguf");
  EXPECT_THROW(open_gguf(folder_ / "m-00001-of-00003.gguf"), Error);  // the second twice
  fs::copy(folder_ / "m-00002-of-00003.gguf", folder_ / "x-00000-of-00000.gguf");
  EXPECT_THROW(open_gguf(folder_ / "x-00000-of-00000.gguf"), Error);
}

}  // namespace
}  // namespace arc
