// The model that comes with Arc against transformers in float64 (tools/make_builtin_golden.py): at most 4 times
// transformers' own f32 error at the logits, from the packed file. The prompt of 2048 tokens takes minutes:
// ARC_FULL=1.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "engine/model_source.h"
#include "io/safetensors.h"
#include "parity/deviation.h"
#include "parity/tiny_model.h"

namespace arc::test {
namespace {

constexpr size_t kStride = 61;  // of the stored logits

template <typename T>
std::vector<T> values(const Checkpoint& file, const std::string& name) {
  const Tensor tensor = file.load(name);
  return {tensor.as<T>(), tensor.as<T>() + tensor.numel()};
}

TEST(BuiltIn, EqualsTransformers) {
  const std::filesystem::path root = ARC_SOURCE_DIR;
  const Checkpoint golden = open_safetensors(root / "tests" / "goldens" / "builtin" / "logits.safetensors");
  const ModelSource source = open_model((root / "share" / "arc" / "arc.gguf").string(), true);
  TinyModel model(source.spec, source.slots(), *source.checkpoint, {.max_tokens = 2048, .observed = false});
  const std::vector<double> f32_error = values<double>(golden, "f32_error");
  for (size_t i = 0; i < f32_error.size(); ++i) {
    const std::string number = std::to_string(i);
    const auto tokens = values<int32_t>(golden, "tokens." + number);
    if (tokens.size() > 512 && std::getenv("ARC_FULL") == nullptr) continue;
    const std::vector<double> logits = model.run(tokens, 256).logits;
    const size_t vocabulary = logits.size() / tokens.size();
    std::vector<double> got;
    for (const int32_t row : values<int32_t>(golden, "rows." + number)) {
      for (size_t v = 0; v < vocabulary; v += kStride) got.push_back(logits[static_cast<size_t>(row) * vocabulary + v]);
    }
    const double error = worst_error(got, values<double>(golden, "logits." + number));
    std::printf("  %4zu tokens: logits %.2e (transformers f32 %.2e)\n", tokens.size(), error, f32_error[i]);
    EXPECT_LE(error, 4.0 * f32_error[i]) << "made from another file? tools/make_builtin_golden.py";
  }
}

}  // namespace
}  // namespace arc::test
