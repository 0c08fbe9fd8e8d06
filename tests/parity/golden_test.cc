// The reference executor against transformers in float64: per layer and at the logits, at most 4 times transformers'
// own f32 error. The same on two ranks, from a 16-bit checkpoint, through the second config dialect, and in chunks.
#include "parity/golden.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <set>

#include "gtest/gtest.h"

#include "io/safetensors.h"
#include "parity/deviation.h"
#include "parity/tiny_model.h"

namespace arc::test {
namespace {

// The largest share of its bound that any output reaches; prints a line.
double reported_share(const Golden& golden, const TinyModel::Outputs& got, const char* what) {
  const std::vector<Deviation> all = deviations(golden, got);
  const double share = worst_share(all);
  std::printf("  %-12s %-14s worst share of the bound %.3f; logits %.2e (transformers f32 %.2e)\n", golden.name.c_str(),
              what, share, all.back().error, golden.f32_error.back());
  return share;
}

class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
  GoldenTest() : golden_(read_golden(GetParam())), folder_("arc_golden_" + GetParam()) {}

  Checkpoint checkpoint(DType dtype) {
    const auto path = folder_.path() / "model.safetensors";
    write_checkpoint(golden_, dtype, path);
    return open_safetensors(path);
  }

  Golden golden_;
  TemporaryFolder folder_;
};

TEST_P(GoldenTest, EqualsTransformers) {
  TinyModel model(golden_.config_json, checkpoint(DType::f32));
  EXPECT_LE(reported_share(golden_, model.run(golden_.tokens), "f32"), 1.0);
  std::set<std::string> ignored;
  for (const GoldenTensor& t : golden_.tensors) {
    if (t.ignored) ignored.insert(t.name);
  }
  EXPECT_EQ(std::set<std::string>(model.unused().begin(), model.unused().end()), ignored);
}

TEST_P(GoldenTest, EqualsTransformersOnTwoRanks) {
  TinyModel model(golden_.config_json, checkpoint(DType::f32), 2);
  EXPECT_LE(reported_share(golden_, model.run(golden_.tokens), "two ranks"), 1.0);
}

// A fused operation means its composition: the same bits, in fewer stages where the recipe is feasible.
TEST_P(GoldenTest, FusedRecipeGivesTheSameBits) {
  TinyModel plain(golden_.config_json, checkpoint(DType::f32)),
      fused(golden_.config_json, checkpoint(DType::f32), 1, true);
  EXPECT_EQ(fused.run(golden_.tokens).logits, plain.run(golden_.tokens).logits);
  const std::set<std::string> plain_decoders{"gemma", "glm4_moe", "llama",     "mistral",
                                             "qwen2", "qwen3",    "qwen3_moe", "smollm3"};
  const bool has_fused_layers = std::ranges::any_of(
      fused.plan().stages, [](const Stage& s) { return std::holds_alternative<FusedAttendArgs>(s.args); });
  EXPECT_EQ(has_fused_layers, plain_decoders.contains(golden_.name));
}

// The generator's values are exact in 16 bits, so every storage type gives the same bits.
TEST_P(GoldenTest, EveryCheckpointTypeGivesTheSameBits) {
  TinyModel f32(golden_.config_json, checkpoint(DType::f32));
  const TinyModel::Outputs expected = f32.run(golden_.tokens);
  for (DType dtype : {DType::bf16, DType::f16, DType::f64}) {
    TinyModel model(golden_.config_json, checkpoint(dtype));
    const TinyModel::Outputs got = model.run(golden_.tokens);
    // Gemma rounds its embedding scale to the table's type, so its 16-bit models are other models.
    if (golden_.name.find("gemma") != std::string::npos && dtype != DType::f64) continue;
    EXPECT_EQ(got.logits, expected.logits) << dtype_name(dtype);
  }
}

TEST_P(GoldenTest, BothConfigDialectsMeanTheSame) {
  if (golden_.config2_json.empty()) GTEST_SKIP() << "no second dialect";
  const Checkpoint file = checkpoint(DType::f32);
  TinyModel first(golden_.config_json, file), second(golden_.config2_json, file);
  EXPECT_EQ(first.run(golden_.tokens).logits, second.run(golden_.tokens).logits);
}

TEST_P(GoldenTest, ChunksGiveTheSameBits) {
  TinyModel model(golden_.config_json, checkpoint(DType::f32));
  if (model.plan().bidirectional) GTEST_SKIP() << "a text is one chunk";
  const TinyModel::Outputs whole = model.run(golden_.tokens);
  for (int chunk : {1, 2, 3, 7, 16}) EXPECT_EQ(model.run(golden_.tokens, chunk).logits, whole.logits) << chunk;
}

TEST(GoldenFolders, AreSmall) {
  constexpr uintmax_t kMaxBytes = 150'000;
  const std::filesystem::path goldens = std::filesystem::path(ARC_SOURCE_DIR) / "tests" / "goldens";
  uintmax_t total = 0, largest = 0;
  for (const std::string& name : golden_names()) {
    uintmax_t size = 0;
    for (const auto& file : std::filesystem::directory_iterator(goldens / name)) size += file.file_size();
    EXPECT_LE(size, kMaxBytes) << name;
    largest = std::max(largest, size);
    total += size;
  }
  std::printf("  %zu goldens of %.2f MB in all, %.0f KB at most\n", golden_names().size(), total / 1e6, largest / 1e3);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTest, testing::ValuesIn(golden_names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace arc::test
