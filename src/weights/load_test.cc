// Weights that an executor places, piece by piece from the file, hold the bytes of those that are gathered on the host.
#include "weights/load.h"

#include <fstream>
#include <numeric>

#include "gtest/gtest.h"

#include "io/safetensors.h"

namespace arc {
namespace {

constexpr int64_t kIn = 6;

// Tensors of bf16 numbers, the first behind one byte, so that none is aligned.
class OddCheckpoint {
 public:
  OddCheckpoint() {
    const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                               R"("experts":{"dtype":"BF16","shape":[3,4,6],"data_offsets":[1,145]},)"
                               R"("k":{"dtype":"BF16","shape":[2,6],"data_offsets":[145,169]},)"
                               R"("q":{"dtype":"BF16","shape":[4,6],"data_offsets":[169,217]}})";
    std::string file;
    for (int shift = 0; shift < 64; shift += 8) file.push_back(static_cast<char>(uint64_t{header.size()} >> shift));
    file += header;
    for (int i = 0; i < 217; ++i) file.push_back(static_cast<char>(i * 37 % 120));
    std::ofstream(path_, std::ios::binary) << file;
    checkpoint = open_safetensors(path_);
  }
  ~OddCheckpoint() { std::filesystem::remove(path_); }

  Checkpoint checkpoint;

 private:
  std::filesystem::path path_ = std::filesystem::path(testing::TempDir()) / "arc_load_test.safetensors";
};

WeightPart part(const std::string& tensor, int64_t source_out, std::vector<RowRange> rows) {
  return {.tensor = tensor, .source_out = source_out, .source_in = kIn, .rows = std::move(rows), .cols = kIn};
}
WeightSlot slot(DType dtype, int64_t out, std::vector<WeightPart> parts) {
  return {.name = "w", .format = WeightFormat::plain(dtype), .out = out, .in = kIn, .parts = std::move(parts)};
}

Plan plan_of_all() {
  Plan plan;
  WeightPart k = part("k", 2, {{.begin = 0, .count = 2}});
  k.row = 4;
  plan.weights.push_back(slot(DType::bf16, 6, {part("q", 4, {{.begin = 2, .count = 2}, {.begin = 0, .count = 2}}), k}));
  WeightPart second = part("experts", 4, {{.begin = 0, .count = 4}}), third = second;
  second.stack_index = 1, third.stack_index = 2, third.index = 1;
  plan.weights.push_back(slot(DType::bf16, 4, {second, third}));
  plan.weights.back().count = 2;
  plan.weights.push_back(slot(DType::bf16, 4, {part("q", 4, {{.begin = 0, .count = 4}})}));
  plan.weights.push_back(slot(DType::bf16, 2, {part("q", 4, {{.begin = 1, .count = 2, .stride = 2}})}));
  plan.weights.push_back(slot(DType::f32, 4, {part("q", 4, {{.begin = 0, .count = 4}})}));
  WeightPart turned = part("q", 4, {{.begin = 0, .count = 4}});
  turned.turn = true;
  plan.weights.push_back(slot(DType::bf16, 6, {turned}));
  plan.weights.back().in = 4;
  return plan;
}

TEST(LoadWeights, PlacedAsGathered) {
  const OddCheckpoint file;
  const Plan plan = plan_of_all();
  int n_placed = 0;
  const auto place = [&](const Shape& shape, DType dtype, std::span<const HostPiece> pieces) {
    ++n_placed;
    const Tensor there = Tensor::zeros(shape, dtype);
    for (const HostPiece& piece : pieces) std::ranges::copy(piece.bytes, there.data() + piece.at);
    return there;
  };
  const LoadedWeights gathered = load_weights(plan, file.checkpoint),
                      placed = load_weights(plan, file.checkpoint, {}, {}, place);
  EXPECT_EQ(n_placed, 3);  // stacked and joined rows and a whole tensor; not every other row, other types, or turned
  for (size_t i = 0; i < plan.weights.size(); ++i) {
    const Tensor &a = gathered.weights[i].data, &b = placed.weights[i].data;
    ASSERT_EQ(a.size_bytes(), b.size_bytes()) << i;
    EXPECT_TRUE(std::equal(a.data(), a.data() + a.size_bytes(), b.data())) << i;
  }
  EXPECT_EQ(placed.placed_bytes, (6 + 8 + 4) * kIn * 2);
}

}  // namespace
}  // namespace arc
