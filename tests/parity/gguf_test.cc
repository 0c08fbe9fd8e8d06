// Models from GGUF: every family against its own safetensors, codes of blocks against the decoded matrices, mixed
// formats, ranks that cut blocks, memory while loading.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <random>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "engine/model_source.h"
#include "io/gguf_bytes.h"
#include "io/gguf_types.h"
#include "io/safetensors.h"
#include "parity/deviation.h"
#include "parity/golden_gguf.h"
#include "parity/tiny_model.h"

namespace arc::test {
namespace {

class GgufGolden : public testing::TestWithParam<std::string> {};

void expect_equals_safetensors(const Golden& golden, bool old) {
  const TemporaryFolder folder("arc_gguf_golden_" + golden.name);
  const Json config = expressible_config(golden);
  write_checkpoint(golden, DType::f32, folder.path() / "model.safetensors");
  to_gguf(golden, config, old).write(folder.path() / "model.gguf");

  TinyModel expected(config.dump(), open_safetensors(folder.path() / "model.safetensors"));
  const ModelSource source = open_model((folder.path() / "model.gguf").string(), true);
  TinyModel got(source.spec, source.slots(), *source.checkpoint, {});
  TinyModel two_ranks(source.spec, source.slots(), *source.checkpoint, {.n_ranks = 2});
  const double bound = 4.0 * golden.f32_error.back();
  const std::vector<double> logits = expected.run(golden.tokens).logits;
  const double one = worst_error(got.run(golden.tokens).logits, logits);
  const double two = worst_error(two_ranks.run(golden.tokens).logits, logits);
  std::printf("  %-12s logits %.2e, two ranks %.2e (bound %.2e)\n", golden.name.c_str(), one, two, bound);
  EXPECT_LE(one, bound);
  EXPECT_LE(two, bound);
  for (const std::string& name : got.unused()) {
    EXPECT_TRUE(name.starts_with("rope_f") || name.find(".nextn.") != std::string::npos) << name;
  }
}

TEST_P(GgufGolden, EqualsSafetensors) {
  const Golden golden = read_golden(GetParam());
  ASSERT_NE(gguf_architecture(golden), "");
  expect_equals_safetensors(golden, false);
}

INSTANTIATE_TEST_SUITE_P(All, GgufGolden, testing::ValuesIn(gguf_golden_names()),
                         [](const auto& info) { return info.param; });

// Files from before latent attention was absorbed: kv_b whole, the lengths of heads under other keys.
TEST(GgufDialect, LatentAttentionOfOldFiles) {
  for (const char* name : {"deepseek_v2", "deepseek_v2_lite", "deepseek_v3"}) {
    expect_equals_safetensors(read_golden(name), true);
  }
}

// Models of the same architectures that have less: Phi-3-mini-4k, Phi-mini-MoE, Mistral Small 3 and Granite 4.0 h-1b.
TEST(GgufDialect, ModelsWithoutScaledRotationOrExperts) {
  const std::pair<const char*, const char*> kChanges[] = {
      {"phi3_long", R"({"rope_scaling": null})"},
      {"phimoe_long", R"({"rope_scaling": null})"},
      {"ministral3", R"({"rope_parameters": {"rope_theta": 64.0, "rope_type": "default"}})"},
      {"granite_hybrid", R"({"num_local_experts": 0, "num_experts_per_tok": 0})"}};
  for (const auto& [name, change] : kChanges) {
    Golden golden = read_golden(name);
    Json config = parse_json(golden.config_json, "config.json");
    config.update(parse_json(change, "change"));
    golden.config_json = config.dump();
    if (config.value("num_local_experts", 1) == 0) {
      std::erase_if(golden.tensors,
                    [](const GoldenTensor& t) { return t.name.find("block_sparse_moe") != t.name.npos; });
    }
    expect_equals_safetensors(golden, false);
  }
}

// ---- codes of blocks -----------------------------------------------------------------------------------------------

constexpr int64_t kDim = 256, kHidden = 512, kVocab = 320, kHeads = 4, kKvHeads = 2, kHeadDim = 64, kLayers = 2;

uint32_t type_number(BlockCode code) {
  return std::ranges::find(kGgmlTypes, code, &GgmlType::code)->number;
}

// Blocks of `code` with scales of a usual size and random codes.
std::vector<std::byte> random_blocks(BlockCode code, int64_t count, std::mt19937& random) {
  const BlockCodeInfo& info = block_code_info(code);
  std::vector<std::byte> bytes(static_cast<size_t>(count / info.elements * info.bytes));
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  const auto set_f16 = [&](size_t at, float value) {
    const uint16_t bits = float_to_f16(value);
    std::memcpy(&bytes[at], &bits, 2);
  };
  for (size_t block = 0; block < bytes.size(); block += info.bytes) {
    switch (code) {
      case BlockCode::mxfp4:
        bytes[block] = std::byte{120};
        break;
      case BlockCode::q2_k:
        set_f16(block + 80, 0.01f);
        set_f16(block + 82, 0.01f);
        break;
      case BlockCode::q3_k:
        set_f16(block + 108, 0.001f);
        break;
      case BlockCode::q6_k:
        set_f16(block + 208, 2e-5f);
        break;
      case BlockCode::q4_1:
      case BlockCode::q5_1:
        set_f16(block, 0.01f);
        set_f16(block + 2, -0.1f);
        break;
      case BlockCode::q4_k:
      case BlockCode::q5_k:
        set_f16(block, 2e-4f);
        set_f16(block + 2, 1e-3f);
        break;
      default:
        set_f16(block, code == BlockCode::q8_0 ? 0.001f : code == BlockCode::iq4_xs ? 5e-5f : 0.01f);
    }
  }
  return bytes;
}

// A small qwen3, or qwen3moe; `code_of` says how each matrix is stored (none: f32). `decoded` gets every matrix as f32
// too.
using CodeOf = std::function<BlockCode(const std::string& name)>;

struct Files {
  GgufBytes coded, decoded;
};

Files small_qwen3(const CodeOf& code_of, int64_t experts = 0) {
  std::mt19937 random(1);
  Files files;
  const std::string arch = experts > 0 ? "qwen3moe" : "qwen3";
  for (GgufBytes* file : {&files.coded, &files.decoded}) {
    file->add("general.architecture", arch);
    const auto count = [&](const char* key, int64_t v) { file->add(arch + "." + key, static_cast<uint32_t>(v)); };
    if (experts > 0) {
      count("expert_count", experts);
      count("expert_used_count", 2);
      count("expert_feed_forward_length", kHidden);
    }
    count("block_count", kLayers);
    count("context_length", 256);
    count("embedding_length", kDim);
    count("feed_forward_length", kHidden);
    count("attention.head_count", kHeads);
    count("attention.head_count_kv", kKvHeads);
    count("attention.key_length", kHeadDim);
    count("attention.value_length", kHeadDim);
    file->add(arch + ".attention.layer_norm_rms_epsilon", 1e-6f);
    file->add(arch + ".rope.freq_base", 1000.0f);
  }
  const auto floats = [&](const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& v) {
    files.coded.tensor(name, shape, 0, std::as_bytes(std::span(v)));
    files.decoded.tensor(name, shape, 0, std::as_bytes(std::span(v)));
  };
  const auto matrices = [&](const std::string& name, const std::vector<int64_t>& shape) {
    const BlockCode code = code_of(name);
    const int64_t n = Shape(shape).numel();
    std::vector<float> values(static_cast<size_t>(n));
    if (code == BlockCode::none) {
      std::normal_distribution<float> normal(0.0f, 0.05f);
      for (float& v : values) v = normal(random);
      return floats(name, shape, values);
    }
    const std::vector<std::byte> blocks = random_blocks(code, n, random);
    files.coded.tensor(name, shape, type_number(code), blocks);
    decode_blocks(code, blocks.data(), values.data(), n);
    if (!block_code_info(code).runs_packed) {  // what loading makes of it
      std::vector<std::byte> q8(static_cast<size_t>(n / 32 * 34));
      encode_blocks(BlockCode::q8_0, values.data(), q8.data(), n);
      decode_blocks(BlockCode::q8_0, q8.data(), values.data(), n);
    }
    files.decoded.tensor(name, shape, 0, std::as_bytes(std::span(values)));
  };
  const auto matrix = [&](const std::string& name, int64_t out, int64_t in) { matrices(name, {out, in}); };
  matrix("token_embd.weight", kVocab, kDim);
  floats("output_norm.weight", {kDim}, std::vector<float>(kDim, 1.0f));
  for (int l = 0; l < kLayers; ++l) {
    const std::string blk = fmt::format("blk.{}.", l);
    floats(blk + "attn_norm.weight", {kDim}, std::vector<float>(kDim, 1.0f));
    floats(blk + "ffn_norm.weight", {kDim}, std::vector<float>(kDim, 1.0f));
    floats(blk + "attn_q_norm.weight", {kHeadDim}, std::vector<float>(kHeadDim, 1.0f));
    floats(blk + "attn_k_norm.weight", {kHeadDim}, std::vector<float>(kHeadDim, 1.0f));
    matrix(blk + "attn_q.weight", kHeads * kHeadDim, kDim);
    matrix(blk + "attn_k.weight", kKvHeads * kHeadDim, kDim);
    matrix(blk + "attn_v.weight", kKvHeads * kHeadDim, kDim);
    matrix(blk + "attn_output.weight", kDim, kHeads * kHeadDim);
    if (experts == 0) {
      matrix(blk + "ffn_gate.weight", kHidden, kDim);
      matrix(blk + "ffn_up.weight", kHidden, kDim);
      matrix(blk + "ffn_down.weight", kDim, kHidden);
      continue;
    }
    matrix(blk + "ffn_gate_inp.weight", experts, kDim);
    matrices(blk + "ffn_gate_exps.weight", {experts, kHidden, kDim});
    matrices(blk + "ffn_up_exps.weight", {experts, kHidden, kDim});
    matrices(blk + "ffn_down_exps.weight", {experts, kDim, kHidden});
  }
  return files;
}

struct Outcome {
  std::vector<double> logits;
  Plan plan;
};

Outcome run(const GgufBytes& bytes, const TemporaryFolder& folder, int n_ranks = 1, bool fused = false) {
  bytes.write(folder.path() / "model.gguf");
  const ModelSource source = open_model(folder.path().string(), true);
  TinyModel model(source.spec, source.slots(), *source.checkpoint, {.n_ranks = n_ranks, .fused = fused});
  const std::vector<int32_t> tokens = {3, 1, 4, 1, 5, 92, 65, 35, 8, 97, 319, 0};
  return {.logits = model.run(tokens).logits, .plan = model.plan()};
}

BlockCode code_of_head(const Plan& plan) {
  return std::ranges::find(plan.weights, "head", &WeightSlot::name)->format.code;
}

TEST(GgufCodes, EveryCodeMeansItsDecodedMatrix) {
  const TemporaryFolder folder("arc_gguf_codes");
  for (int c = 1; c <= static_cast<int>(BlockCode::mxfp4); ++c) {
    const auto code = static_cast<BlockCode>(c);
    const Files files = small_qwen3([&](const std::string&) { return code; });
    const Outcome coded = run(files.coded, folder), decoded = run(files.decoded, folder);
    EXPECT_EQ(coded.logits, decoded.logits) << block_code_info(code).name;
    EXPECT_EQ(run(files.coded, folder, 1, true).logits, decoded.logits) << block_code_info(code).name;
    EXPECT_EQ(code_of_head(coded.plan), block_code_info(code).runs_packed ? code : BlockCode::q8_0);
  }
}

// As GPT-OSS: stacked experts in blocks, all else plain.
TEST(GgufCodes, StackedExpertsMeanTheirDecodedMatrices) {
  const TemporaryFolder folder("arc_gguf_experts");
  for (BlockCode code : {BlockCode::mxfp4, BlockCode::q8_0, BlockCode::q4_k, BlockCode::q6_k}) {
    const auto code_of = [&](const std::string& name) {
      return name.find("_exps.") != std::string::npos ? code : BlockCode::none;
    };
    const Files files = small_qwen3(code_of, 3);
    EXPECT_EQ(run(files.coded, folder).logits, run(files.decoded, folder).logits) << block_code_info(code).name;
  }
}

// As Q4_K_M: values and half of the down projections finer than the rest.
BlockCode mixed(const std::string& name) {
  const bool fine =
      name.find("attn_v") != std::string::npos || name == "blk.0.ffn_down.weight" || name == "token_embd.weight";
  return fine ? BlockCode::q6_k : name == "blk.1.ffn_up.weight" ? BlockCode::q5_k : BlockCode::q4_k;
}

TEST(GgufCodes, MixedFormatsRunInSegments) {
  const TemporaryFolder folder("arc_gguf_mixed");
  const Files files = small_qwen3(mixed);
  const Outcome coded = run(files.coded, folder), decoded = run(files.decoded, folder);
  EXPECT_EQ(coded.logits, decoded.logits);
  EXPECT_EQ(run(files.coded, folder, 1, true).logits, decoded.logits);
  const auto has = [&](const char* name) { return std::ranges::count(coded.plan.weights, name, &WeightSlot::name); };
  EXPECT_EQ(has("layers.0.attn.qkv.0"), 1);
  EXPECT_EQ(has("layers.0.attn.qkv.2"), 1);
  EXPECT_EQ(has("layers.0.mlp.gate_up"), 1);
  EXPECT_EQ(has("layers.1.mlp.gate_up.1"), 1);
  for (const WeightSlot& w : coded.plan.weights) {
    if (w.role == WeightSlot::Role::matrix) {
      EXPECT_NE(w.format.code, BlockCode::none) << w.name;
    }
  }
}

// Two ranks cut the columns of o and down in the middle: whole blocks of q8_0 and of rows of 512, not of rows of 256.
TEST(GgufCodes, RanksThatCutBlocksRequantise) {
  const TemporaryFolder folder("arc_gguf_ranks");
  const Files small = small_qwen3([](const std::string&) { return BlockCode::q8_0; });
  const double exact = worst_error(run(small.coded, folder, 2).logits, run(small.decoded, folder, 2).logits);
  EXPECT_EQ(exact, 0.0);
  const Files large = small_qwen3([](const std::string&) { return BlockCode::q4_k; });
  const Outcome coded = run(large.coded, folder, 2), decoded = run(large.decoded, folder, 2);
  for (const WeightSlot& w : coded.plan.weights) {
    if (w.name == "layers.0.attn.o") {
      EXPECT_EQ(w.format.code, BlockCode::q8_0);
    }
    if (w.name == "layers.0.mlp.down") {
      EXPECT_EQ(w.format.code, BlockCode::q4_k);
    }
  }
  double largest = 0.0;
  for (double v : decoded.logits) largest = std::max(largest, std::fabs(v));
  EXPECT_LE(worst_error(coded.logits, decoded.logits), 0.02 * largest);
}

// ---- damage ---------------------------------------------------------------------------------------------------------

// Any byte of the header changed: the model loads, or an Error says why not.
TEST(GgufCodes, DamagedHeadersLoadOrSayWhy) {
  const TemporaryFolder folder("arc_gguf_damage");
  const std::string good = small_qwen3([](const std::string&) { return BlockCode::q4_0; }).coded.bytes();
  const size_t header_bytes = parse_gguf_header(std::as_bytes(std::span(good)), "good").tensors.front().offset;
  std::mt19937 random(3);
  int loaded = 0, refused = 0;
  for (int i = 0; i < 600; ++i) {
    std::string bad = good;
    bad[random() % std::min<size_t>(header_bytes, 2000)] ^= static_cast<char>(1u << random() % 8);
    std::ofstream(folder.path() / "model.gguf", std::ios::binary) << bad;
    try {
      const ModelSource source = open_model(folder.path().string(), true);
      load_weights(lower(source.spec, source.slots(), {}), *source.checkpoint);
      ++loaded;
    } catch (const Error& e) {
      EXPECT_GT(std::string_view(e.what()).size(), 10u);
      ++refused;
    }
  }
  EXPECT_GT(loaded, 0);
  EXPECT_GT(refused, 300);
  std::printf("  %d damaged headers refused, %d harmless\n", refused, loaded);
}

// ---- memory --------------------------------------------------------------------------------------------------------

int64_t anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::stoll(line.substr(8)) * 1024;
  }
  return 0;
}

TEST(GgufCodes, LoadingTakesItsWeightsAndLittleMore) {
  const TemporaryFolder folder("arc_gguf_memory");
  std::mt19937 random(2);
  Files files = small_qwen3([](const std::string&) { return BlockCode::q5_0; });
  // A large tied table that must be requantised, once.
  constexpr int64_t kRows = 200'000;
  GgufBytes file;
  file.add("general.architecture", std::string("qwen3"));
  for (const auto& [key, v] : {std::pair{"block_count", 1},
                               {"context_length", 64},
                               {"embedding_length", 256},
                               {"feed_forward_length", 512},
                               {"attention.head_count", 4},
                               {"attention.head_count_kv", 2},
                               {"attention.key_length", 64}}) {
    file.add(std::string("qwen3.") + key, static_cast<uint32_t>(v));
  }
  file.add("qwen3.attention.layer_norm_rms_epsilon", 1e-6f);
  file.add("qwen3.rope.freq_base", 1000.0f);
  const auto matrix = [&](const char* name, int64_t out, int64_t in) {
    file.tensor(name, {out, in}, type_number(BlockCode::q5_0), random_blocks(BlockCode::q5_0, out * in, random));
  };
  const auto ones = [&](const char* name, int64_t n) {
    const std::vector<float> values(static_cast<size_t>(n), 1.0f);
    file.tensor(name, {n}, 0, std::as_bytes(std::span(values)));
  };
  matrix("token_embd.weight", kRows, 256);
  ones("output_norm.weight", 256);
  for (const char* name : {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"}) ones(name, 256);
  for (const char* name : {"blk.0.attn_q_norm.weight", "blk.0.attn_k_norm.weight"}) ones(name, 64);
  matrix("blk.0.attn_q.weight", 256, 256);
  matrix("blk.0.attn_k.weight", 128, 256);
  matrix("blk.0.attn_v.weight", 128, 256);
  matrix("blk.0.attn_output.weight", 256, 256);
  matrix("blk.0.ffn_gate.weight", 512, 256);
  matrix("blk.0.ffn_up.weight", 512, 256);
  matrix("blk.0.ffn_down.weight", 256, 512);
  file.write(folder.path() / "model.gguf");
  file = {};
  files = {};

  const int64_t before = anonymous_bytes();
  const ModelSource source = open_model(folder.path().string(), true);
  const Plan plan = lower(source.spec, source.slots(), {});
  int64_t peak = 0;
  const LoadedWeights loaded =
      load_weights(plan, *source.checkpoint, [&](double) { peak = std::max(peak, anonymous_bytes() - before); });
  const int64_t weights = kRows * 256 / 32 * 34;
  std::printf("  %.1f MB of weights, %.1f MB of anonymous memory at most\n", weights / 1e6, peak / 1e6);
  EXPECT_LE(peak, weights * 115 / 100);
  EXPECT_EQ(loaded.converted.size(), 1u);
  EXPECT_EQ(loaded.converted.begin()->first, "Q5_0 to Q8_0");
}

}  // namespace
}  // namespace arc::test
