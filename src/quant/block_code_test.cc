// Codes of blocks against the values that the `gguf` package and ggml's library give (tools/compare_gguf.py).
#include "quant/block_code.h"

#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "io/safetensors.h"

namespace arc {
namespace {

std::vector<BlockCode> all_codes() {
  std::vector<BlockCode> codes;
  for (int c = 1; c <= static_cast<int>(BlockCode::mxfp4); ++c) codes.push_back(static_cast<BlockCode>(c));
  return codes;
}

std::string prefix(BlockCode code) {
  std::string name(block_code_info(code).name);
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name + ".";
}

bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

void expect_same_values(BlockCode code, const Checkpoint& file) {
  const Tensor blocks = file.load(prefix(code) + "blocks"), values = file.load(prefix(code) + "values");
  std::vector<float> decoded(static_cast<size_t>(values.numel()));
  decode_blocks(code, blocks.data(), decoded.data(), values.numel());
  int64_t different = 0;
  for (int64_t i = 0; i < values.numel(); ++i) different += !same(decoded[i], values.as<float>()[i]);
  EXPECT_EQ(different, 0) << prefix(code) << " of " << values.numel();
}

void expect_same_blocks(BlockCode code, const Checkpoint& file) {
  if (file.find(prefix(code) + "input") == nullptr) return;
  const Tensor input = file.load(prefix(code) + "input"), encoded = file.load(prefix(code) + "encoded");
  const int64_t block_bytes = block_code_info(code).bytes;
  std::vector<std::byte> mine(static_cast<size_t>(encoded.numel()));
  encode_blocks(code, input.as<float>(), mine.data(), input.numel());
  int64_t different = 0;
  for (int64_t b = 0; b < encoded.numel(); b += block_bytes) {
    different += std::memcmp(&mine[b], encoded.data() + b, block_bytes) != 0;
  }
  EXPECT_EQ(different, 0) << prefix(code) << " of " << encoded.numel() / block_bytes << " blocks";
}

void compare(const std::filesystem::path& path) {
  const Checkpoint file = open_safetensors(path);
  int64_t n_values = 0, n_encoded = 0;
  for (BlockCode code : all_codes()) {
    expect_same_values(code, file);
    expect_same_blocks(code, file);
    n_values += file.find(prefix(code) + "values")->shape.numel();
    if (const TensorEntry* input = file.find(prefix(code) + "input")) n_encoded += input->shape.numel();
  }
  std::printf("%zu codes, %ld values decoded, %ld encoded\n", all_codes().size(), n_values, n_encoded);
}

TEST(BlockCode, ValuesAndBlocksOfTheGgufPackage) {
  compare(std::filesystem::path(ARC_SOURCE_DIR) / "tests" / "goldens" / "gguf" / "blocks.safetensors");
  if (const char* more = std::getenv("ARC_BLOCKS")) compare(more);
}

TEST(BlockCode, RunsMayCutBlocks) {
  for (BlockCode code : all_codes()) {
    const BlockCodeInfo& info = block_code_info(code);
    std::vector<std::byte> row(static_cast<size_t>(3 * info.bytes), std::byte{0x31});
    for (size_t i = 0; i < row.size(); ++i) row[i] ^= static_cast<std::byte>(i % 7);
    const int64_t n = 3 * info.elements;
    std::vector<float> whole(static_cast<size_t>(n)), part(static_cast<size_t>(n));
    decode_blocks(code, row.data(), whole.data(), n);
    for (const auto& [begin, count] : {std::pair<int64_t, int64_t>{0, n}, {5, n - 5}, {info.elements - 1, 3}, {7, 0}}) {
      decode_run(code, row.data(), begin, count, part.data());
      for (int64_t i = 0; i < count; ++i) ASSERT_TRUE(same(part[i], whole[begin + i])) << info.name << " " << i;
    }
  }
}

// Nothing is undefined for odd inputs (proven under UBSan).
TEST(BlockCode, EncodesAnyFloats) {
  std::vector<float> odd(256);
  const float values[] = {INFINITY, -INFINITY, NAN, 3e38f, -3e38f, 1e-45f, 0.0f, -0.0f, 1.0f};
  for (size_t i = 0; i < odd.size(); ++i) odd[i] = values[i % std::size(values)];
  std::vector<std::byte> block(256);
  for (BlockCode code : {BlockCode::q8_0, BlockCode::q4_0, BlockCode::q4_k, BlockCode::q5_k, BlockCode::q6_k}) {
    encode_blocks(code, odd.data(), block.data(), block_code_info(code).elements);
  }
}

}  // namespace
}  // namespace arc
