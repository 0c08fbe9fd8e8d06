// Checkpoints whose matrices have scales of their own: FP8 in blocks and MXFP4. The same model with the numbers written
// out must load to the same weights.
#include <cmath>
#include <cstring>
#include <random>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "io/safetensors.h"
#include "parity/golden.h"
#include "parity/tiny_model.h"

namespace arc::test {
namespace {

NamedTensor named(const std::string& name, const Shape& shape, DType dtype, const void* data) {
  const Tensor tensor = Tensor::zeros(shape, dtype);
  std::memcpy(tensor.data(), data, tensor.size_bytes());
  return {.name = name, .tensor = tensor};
}

Checkpoint checkpoint_of(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors) {
  write_safetensors(path, tensors);
  return open_safetensors(path);
}

std::string with_quantization(const std::string& config, const Json& quantization) {
  Json json = parse_json(config, "config.json");
  json["quantization_config"] = quantization;
  return json.dump();
}

// The E4M3 code nearest to `value`.
uint8_t nearest_f8(float value) {
  int best = 0;
  for (int code = 0; code < 256; ++code) {
    const float distance = std::fabs(f8e4m3_to_float(static_cast<uint8_t>(code)) - value);
    if (distance < std::fabs(f8e4m3_to_float(static_cast<uint8_t>(best)) - value)) best = code;
  }
  return static_cast<uint8_t>(best);
}

// A golden's checkpoint with its layers' matrices in FP8, blocks of 16 x 6, and the same numbers in f32.
struct Fp8Checkpoint {
  static constexpr int64_t kRows = 16, kCols = 6;
  std::vector<NamedTensor> coded, plain;

  explicit Fp8Checkpoint(const Golden& golden) {
    for (const GoldenTensor& entry : golden.tensors) {
      const std::vector<float> values = generate(entry, golden.seed);
      const bool coded_here =
          !entry.ignored && entry.shape.size() == 2 && entry.name.find("_proj") != std::string::npos;
      if (coded_here) {
        add(entry, values);
        continue;
      }
      for (auto* list : {&coded, &plain})
        list->push_back(named(entry.name, Shape(entry.shape), DType::f32, values.data()));
    }
  }

  void add(const GoldenTensor& entry, std::vector<float> values) {
    const int64_t out = entry.shape[0], in = entry.shape[1], n = (in + kCols - 1) / kCols,
                  m = (out + kRows - 1) / kRows;
    std::vector<uint8_t> codes(values.size());
    std::vector<float> scales(static_cast<size_t>(m * n));
    for (size_t i = 0; i < scales.size(); ++i) scales[i] = 0.01f + 0.001f * static_cast<float>(i % 7);
    for (size_t i = 0; i < values.size(); ++i) {
      const auto row = static_cast<int64_t>(i) / in, col = static_cast<int64_t>(i) % in;
      const float scale = scales[static_cast<size_t>(row / kRows * n + col / kCols)];
      codes[i] = nearest_f8(values[i] / scale);
      values[i] = f8e4m3_to_float(codes[i]) * scale;
    }
    coded.push_back(named(entry.name, {out, in}, DType::f8e4m3, codes.data()));
    coded.push_back(named(entry.name + "_scale_inv", {m, n}, DType::f32, scales.data()));
    plain.push_back(named(entry.name, {out, in}, DType::f32, values.data()));
  }
};

TEST(Formats, Fp8InBlocksMeansTheNumbersTimesTheirScales) {
  const TemporaryFolder folder("arc_formats_fp8");
  for (const char* name : {"deepseek_v3", "qwen3"}) {
    const Golden golden = read_golden(name);
    const Fp8Checkpoint fp8(golden);
    const Json quantization = {{"quant_method", "fp8"},
                               {"fmt", "e4m3"},
                               {"activation_scheme", "dynamic"},
                               {"weight_block_size", {Fp8Checkpoint::kRows, Fp8Checkpoint::kCols}}};
    TinyModel coded(with_quantization(golden.config_json, quantization),
                    checkpoint_of(folder.path() / "coded.safetensors", fp8.coded));
    TinyModel plain(golden.config_json, checkpoint_of(folder.path() / "plain.safetensors", fp8.plain));
    EXPECT_EQ(coded.run(golden.tokens).logits, plain.run(golden.tokens).logits) << name;
    EXPECT_EQ(coded.unused(), plain.unused()) << name;
    EXPECT_TRUE(coded.weights().converted.contains("FP8 in blocks of 16x6 to f32")) << name;
    // Without a word of its blocks the file is refused.
    EXPECT_THROW(TinyModel(golden.config_json, open_safetensors(folder.path() / "coded.safetensors")), Error);
  }
}

// GPT-OSS's experts [E, rows, cols] as MXFP4, and the numbers as the plain checkpoints have them, [E, cols, rows].
struct Mxfp4Experts {
  std::vector<NamedTensor> coded, plain;

  void add(const std::string& name, int64_t experts, int64_t rows, int64_t cols, std::mt19937& random) {
    constexpr float kValues[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    std::vector<uint8_t> codes(static_cast<size_t>(experts * rows * cols / 2)), scales(codes.size() / 16);
    std::vector<float> values(codes.size() * 2);
    for (uint8_t& scale : scales) scale = static_cast<uint8_t>(122 + random() % 4);
    for (size_t i = 0; i < values.size(); ++i) {
      const unsigned code = random() % 16;
      codes[i / 2] = static_cast<uint8_t>(codes[i / 2] | (code << (i % 2 * 4)));
      const auto e = static_cast<int64_t>(i) / (rows * cols), r = static_cast<int64_t>(i) / cols % rows,
                 c = static_cast<int64_t>(i) % cols;
      const float value = std::ldexp(kValues[code % 8], scales[i / 32] - 127);
      values[static_cast<size_t>((e * cols + c) * rows + r)] = code < 8 ? value : -value;
    }
    coded.push_back(named(name + "_blocks", {experts, rows, cols / 32, 16}, DType::u8, codes.data()));
    coded.push_back(named(name + "_scales", {experts, rows, cols / 32}, DType::u8, scales.data()));
    plain.push_back(named(name, {experts, cols, rows}, DType::f32, values.data()));
  }
};

TEST(Formats, Mxfp4ExpertsBecomeQ8OfTheirNumbers) {
  const TemporaryFolder folder("arc_formats_mxfp4");
  Golden golden = read_golden("gpt_oss");
  constexpr int64_t kDim = 64, kHidden = 32, kExperts = 6;
  Json config = parse_json(golden.config_json, "config.json");
  config["hidden_size"] = kDim;
  config["intermediate_size"] = kHidden;
  Mxfp4Experts experts;
  std::mt19937 random(5);
  for (GoldenTensor& entry : golden.tensors) {
    const bool of_experts = entry.name.find("experts.") != std::string::npos;
    for (int64_t& size : entry.shape) {
      size = size == 48 ? kDim : of_experts && size == 60 ? 2 * kHidden : of_experts && size == 30 ? kHidden : size;
    }
    if (entry.name.ends_with("gate_up_proj")) {
      experts.add(entry.name, kExperts, 2 * kHidden, kDim, random);
    } else if (entry.name.ends_with("experts.down_proj")) {
      experts.add(entry.name, kExperts, kDim, kHidden, random);
    } else {
      const std::vector<float> values = generate(entry, golden.seed);
      for (auto* list : {&experts.coded, &experts.plain})
        list->push_back(named(entry.name, Shape(entry.shape), DType::f32, values.data()));
    }
  }
  const Json quantization = {{"quant_method", "mxfp4"}, {"modules_to_not_convert", {"lm_head"}}};
  TinyModel coded(with_quantization(config.dump(), quantization),
                  checkpoint_of(folder.path() / "coded.safetensors", experts.coded));
  TinyModel plain(config.dump(), checkpoint_of(folder.path() / "plain.safetensors", experts.plain));
  EXPECT_EQ(coded.unused(), plain.unused());
  EXPECT_EQ(coded.weights().converted.at("MXFP4 to Q8_0"), 8);  // two matrices in each of four layers
  int n_compared = 0;
  for (size_t i = 0; i < plain.weights().weights.size(); ++i) {
    const Linear &got = coded.weights().weights[i], &numbers = plain.weights().weights[i];
    if (got.format.code != BlockCode::q8_0) continue;
    const int64_t count = numbers.count * numbers.out * numbers.in;
    std::vector<std::byte> expected(static_cast<size_t>(format_bytes(got.format, 1, count)));
    encode_blocks(BlockCode::q8_0, numbers.data.as<float>(), expected.data(), count);
    EXPECT_EQ(std::memcmp(got.data.data(), expected.data(), expected.size()), 0) << i;
    ++n_compared;
  }
  EXPECT_EQ(n_compared, 8);
  EXPECT_EQ(coded.run(golden.tokens).logits.size(), plain.run(golden.tokens).logits.size());
}

TEST(Formats, OtherQuantizationsAreRefusedByName) {
  const Golden golden = read_golden("llama");
  const TemporaryFolder folder("arc_formats_other");
  const auto path = folder.path() / "model.safetensors";
  write_checkpoint(golden, DType::f32, path);
  try {
    TinyModel(with_quantization(golden.config_json, {{"quant_method", "gptq"}, {"bits", 4}}), open_safetensors(path));
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("gptq"), std::string::npos);
  }
}

}  // namespace
}  // namespace arc::test
