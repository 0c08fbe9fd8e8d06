// Tests of tensor: sizes from hostile sources, views, storage that maps a file.
#include "tensor/tensor.h"

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>

#include "gtest/gtest.h"

namespace arc {
namespace {

TEST(Shape, CheckedNumelRefusesOverflowAndNegativeSizes) {
  const int64_t big = std::numeric_limits<int64_t>::max() / 2;
  EXPECT_EQ(Shape::checked_numel(std::array<int64_t, 3>{2, 3, 4}), 24);
  EXPECT_EQ(Shape::checked_numel(std::array<int64_t, 2>{big, 3}), std::nullopt);
  EXPECT_EQ(Shape::checked_numel(std::array<int64_t, 2>{-1, 3}), std::nullopt);
  EXPECT_EQ(Shape({7, 0, 3}).numel(), 0);
  EXPECT_EQ(Shape({7, 3}).to_string(), "[7, 3]");
}

TEST(Tensor, ViewHasAllButTheLastAxisAsRows) {
  const Tensor t = Tensor::zeros({2, 3, 5}, DType::f32);
  const TensorView v = t.view();
  EXPECT_EQ(v.rows, 6);
  EXPECT_EQ(v.cols, 5);
  v.row<float>(4)[2] = 8.0f;
  EXPECT_EQ(t.as<float>()[4 * 5 + 2], 8.0f);
}

TEST(Tensor, MapsPartOfAFile) {
  const auto path = std::filesystem::temp_directory_path() / "arc_tensor_test";
  std::ofstream(path, std::ios::binary) << "12345678abcd";
  auto file = std::make_shared<const MappedFile>(path);
  const Tensor t(Storage::map(file, 8, 4), 0, {4}, DType::u8);
  EXPECT_EQ(std::memcmp(t.data(), "abcd", 4), 0);
  std::filesystem::remove(path);
  EXPECT_DEATH(Tensor(Storage::map(file, 8, 4), 1, {4}, DType::u8), "check failed");
}

}  // namespace
}  // namespace arc
