// Compressed caches: which layer gets what, how many bytes that takes, every stage of the CPU executor against the
// reference, and the same bits for every chunk size.
#include "plan/cache_policy.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/mapped_file.h"
#include "io/safetensors.h"
#include "parity/stage_parity.h"
#include "parity/wide_heads.h"
#include "weights/checkpoint_slots.h"

namespace arc::test {
namespace {

constexpr int kTokens = 130;      // two full tiles and a part
constexpr int kLongTokens = 300;  // of prompts in chunks
constexpr int kLongestChunk = 256;

const std::vector<std::string> kTypes = {"turboquant",
                                         "turboquant,boundary=0,recent=0,open=16",
                                         "turboquant-3,boundary=0,recent=0",
                                         "turboquant-aggressive,boundary=0,open=16",
                                         "turboquant-t3,boundary=0",
                                         "turboquant-t4,v=2,boundary=0,recent=0,open=16",
                                         "q8",
                                         "f8e4m3"};
// The presets that these leave out.
const std::vector<std::string> kPresets = {"auto", "turboquant-3", "turboquant-aggressive", "turboquant-t3",
                                           "turboquant-t4"};

// ---- which layer gets what -----------------------------------------------------------------------------------------

ModelSpec attention_layers(int n, const AttentionSpec& attention) {
  return {.arch = "test", .layers = std::vector<LayerSpec>(static_cast<size_t>(n), LayerSpec{.mixer = attention})};
}

TEST(CacheType, PresetsAndTheirChanges) {
  const CacheType plain = parse_cache_type("turboquant");
  EXPECT_EQ(plain.k.bits, 4);
  EXPECT_EQ(plain.v.bits, 3);
  EXPECT_EQ(plain.boundary, 1);
  EXPECT_EQ(plain.recent, 1);
  EXPECT_EQ(plain.open, 8);
  const CacheType changed = parse_cache_type("turboquant-3,v=2,boundary=0,k=8");
  EXPECT_EQ(changed.k.bits, 8);
  EXPECT_EQ(changed.v.bits, 2);
  EXPECT_EQ(changed.boundary, 0);
  const CacheType recent = parse_cache_type("turboquant,recent=3,open=16");
  EXPECT_EQ(recent.recent, 3);
  EXPECT_EQ(recent.open, 16);
  const CacheType trellis = parse_cache_type("turboquant,code=trellis,k=8,v=2");
  EXPECT_EQ(trellis.k, (KvPolicy::Side{.codec = KvPolicy::Codec::turbo, .bits = 8}));
  EXPECT_EQ(trellis.v, (KvPolicy::Side{.codec = KvPolicy::Codec::trellis, .bits = 2}));
  EXPECT_EQ(parse_cache_type("turboquant-t3,code=levels").k.codec, KvPolicy::Codec::turbo);
  for (const char* wrong :
       {"turboquant,code=trellis,v=1", "turboquant,code=", "turboquant,code=3", "q8,code=trellis", "", "turbo",
        "turboquant,", "turboquant,k", "turboquant,k=", "turboquant,k=5", "turboquant,k=4x", "turboquant,boundary=-1",
        "turboquant,recent=65", "turboquant,open=4", "auto,boundary=0", "q8,k=4"}) {
    EXPECT_THROW(parse_cache_type(wrong), Error) << wrong;
  }
}

TEST(ResolveCache, FirstAndLastLayersKeepKeysAtEightBits) {
  const auto layers =
      resolve_cache(attention_layers(6, {.head_dim = 128}), parse_cache_type("turboquant,boundary=2"), DType::bf16);
  for (int l = 0; l < 6; ++l) {
    EXPECT_EQ(layers[l].policy.k.bits, l < 2 || l > 3 ? 8 : 4) << l;
    EXPECT_EQ(layers[l].policy.v.bits, 3) << l;
    EXPECT_EQ(layers[l].policy.raw, DType::bf16);
  }
}

TEST(ResolveCache, WhatDoesNotFitStaysRawAndSaysWhy) {
  ModelSpec spec = attention_layers(9, {.head_dim = 64});
  spec.layers[0].mixer = MlaSpec{};
  spec.layers[2].mixer = DeltaNetSpec{};
  std::get<AttentionSpec>(spec.layers[3].mixer).window = 128;
  std::get<AttentionSpec>(spec.layers[4].mixer).head_dim = 100;
  std::get<AttentionSpec>(spec.layers[5].mixer).causal = false;
  std::get<AttentionSpec>(spec.layers[6].mixer).window = 1024;
  const auto turbo = resolve_cache(spec, parse_cache_type("turboquant,boundary=2"), DType::f16);
  const char* reasons[] = {
      "latent keys", "among the first or last", "", "a window of 128 tokens", "no codebook for heads of 100",
      "not causal",  "among the first or last"};
  for (int l = 0; l < 7; ++l) EXPECT_EQ(turbo[l].reason, reasons[l]) << l;
  for (int l : {0, 3, 4, 5}) EXPECT_EQ(turbo[l].policy, KvPolicy::raw_of(DType::f16)) << l;
  EXPECT_FALSE(turbo[2].present);
  for (int l : {1, 6, 7, 8}) EXPECT_TRUE(turbo[l].policy.tiled()) << l;
  // Eight bits fit everything.
  const auto q8 = resolve_cache(spec, parse_cache_type("q8"), DType::f16);
  for (int l : {0, 1, 3, 4, 5, 6}) EXPECT_EQ(q8[l].policy.k.codec, KvPolicy::Codec::int8_block) << l;
}

// ---- bytes ---------------------------------------------------------------------------------------------------------

constexpr const char* kQwen3_32b = R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 128,
  "hidden_act": "silu", "hidden_size": 5120, "intermediate_size": 25600, "max_position_embeddings": 40960,
  "num_attention_heads": 64, "num_hidden_layers": 64, "num_key_value_heads": 8, "rms_norm_eps": 1e-06,
  "rope_theta": 1000000, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "vocab_size": 151936})";

Plan plan_32b(const std::string& type) {
  const Config config(parse_json(kQwen3_32b, "config.json"));
  const Arch& arch = find_arch(config.architecture());
  const ModelSpec spec = arch.build(config);
  const auto layers = resolve_cache(spec, parse_cache_type(type), DType::bf16);
  const Plan plan = lower(spec, ShapeOnlySlots(arch.own_names, spec.tied_head, DType::bf16),
                          {.policy = [&](int layer) { return layers[static_cast<size_t>(layer)].policy; }});
  std::printf("-- %s\n%s", type.c_str(), describe_cache(plan, layers).c_str());
  return plan;
}

TEST(CacheBytes, OfTheQwen3_32bShape) {
  const struct {
    const char* type;
    int64_t layer_bytes;  // of most layers
    double average;       // over all 64
  } rows[] = {{"auto", 4096, 4096},
              {"q8", 2176, 2176},
              {"f8e4m3", 2048, 2048},
              {"turboquant", 928, 944},
              {"turboquant-3", 800, 840},
              {"turboquant-aggressive", 672, 712},
              {"turboquant-t3", 800, 820},
              {"turboquant-t4", 1056, 1072},
              {"turboquant,boundary=0", 928, 928}};
  for (const auto& row : rows) {
    const Plan plan = plan_32b(row.type);
    EXPECT_EQ(plan.groups[row.average != row.layer_bytes ? 2 : 0].layer_block_bytes(), 64 * row.layer_bytes);
    EXPECT_EQ(cache_bytes_per_token(plan).stored, static_cast<int64_t>(64 * row.average)) << row.type;
    EXPECT_EQ(cache_bytes_per_token(plan).raw, 64 * 4096) << row.type;
  }
}

// How many times fewer bytes than bf16 a sequence takes: its blocks and its open tiles.
double effective_ratio(const Plan& plan, int length) {
  double bytes = 0;
  for (const CacheNeeds& group : plan.groups) {
    const int blocks = group.kind == CacheKind::open ? 1 + group.window / kTileTokens : length / kTileTokens;
    bytes += static_cast<double>(blocks) * static_cast<double>(group.bytes_per_block());
  }
  return 64.0 * 4096 * length / bytes;
}

TEST(CacheBytes, EffectiveRatioCountsTheOpenTiles) {
  const Plan plan = plan_32b("turboquant");
  for (const auto& [length, least] : {std::pair{4096, 4.0}, {32768, 4.2}, {131072, 4.25}}) {
    EXPECT_GE(effective_ratio(plan, length), least) << length;
  }
  const std::string document = read_text_file(std::string(ARC_SOURCE_DIR) + "/docs/turboquant.md");
  for (const std::string type : {"turboquant", "turboquant-3", "turboquant-aggressive", "q8", "f8e4m3"}) {
    std::string row = "| `" + type + "` |";
    for (const int length : {4096, 32768, 131072})
      row += fmt::format(" {:.2f} |", effective_ratio(plan_32b(type), length));
    EXPECT_NE(document.find(row), std::string::npos) << "docs/turboquant.md should have " << row;
  }
}

// ---- executors -----------------------------------------------------------------------------------------------------

class PolicyTest : public testing::TestWithParam<std::tuple<std::string, int>> {
 protected:
  PolicyTest()
      : golden_(with_wide_heads(std::get<0>(GetParam()), std::get<1>(GetParam()), kTokens)),
        folder_("arc_policy_" + golden_.name) {
    const auto path = folder_.path() / "model.safetensors";
    write_checkpoint(golden_, DType::f32, path);
    checkpoint_ = open_safetensors(path);
  }
  TinyModel model(const std::string& type, DType cache, std::optional<cpu::Isa> isa = {}, int threads = 1) const {
    const int max_tokens = (kLongTokens / kTileTokens + 1) * kTileTokens;
    return {golden_.config_json, checkpoint_,
            TinyOptions{.isa = isa, .threads = threads, .cache = cache, .cache_type = type, .max_tokens = max_tokens}};
  }

  Golden golden_;
  TemporaryFolder folder_;
  Checkpoint checkpoint_;
};

std::vector<cpu::Isa> isas() {
  std::vector<cpu::Isa> out;
  for (const cpu::Isa isa : {cpu::Isa::scalar, cpu::Isa::avx2, cpu::Isa::avx512, cpu::Isa::avx512_bf16}) {
    if (cpu::isa_supported(isa)) out.push_back(isa);
  }
  return out;
}

TEST_P(PolicyTest, EveryStageOfTheCpuStaysWithinItsBound) {
  double worst = 0.0;
  for (const std::string& type : kTypes) {
    for (const cpu::Isa isa : isas()) {
      const DType cache = isa == cpu::Isa::avx2 ? DType::f32 : DType::bf16;
      TinyModel reference = model(type, cache), other = model(type, cache, isa, 2);
      const ParityReport report = stage_parity(reference, other, golden_.tokens, isa == cpu::Isa::scalar ? 0 : 37, 0.0);
      EXPECT_EQ(report.first_failure, "") << type << " " << cpu::isa_name(isa);
      worst = std::max(worst, report.shares.at("attend"));
    }
  }
  std::printf("  %-16s attend: worst share of the bound %.3f\n", golden_.name.c_str(), worst);
}

// ARC_FULL=1: every preset, and every chunk size.
TEST_P(PolicyTest, ChunksGiveTheSameBits) {
  const bool full = std::getenv("ARC_FULL") != nullptr;
  std::vector<int> chunks = {1, 7, 63, 64, 65, 100, 131, 192, 255, 256};
  std::vector<std::string> types = kTypes;
  if (full) {
    chunks.resize(kLongestChunk);
    std::iota(chunks.begin(), chunks.end(), 1);
    types.insert(types.end(), kPresets.begin(), kPresets.end());
  }
  const std::vector<int32_t> tokens =
      with_wide_heads(std::get<0>(GetParam()), std::get<1>(GetParam()), kLongTokens).tokens;
  for (const std::string& type : types) {
    TinyModel reference = model(type, DType::bf16), fast = model(type, DType::bf16, isas().back(), 2);
    const auto expected = fast.run(tokens).logits;
    for (int chunk : chunks) EXPECT_EQ(fast.run(tokens, chunk).logits, expected) << type << ", chunk " << chunk;
    const auto expected_reference = reference.run(golden_.tokens).logits;
    for (int chunk : {7, 128}) {
      EXPECT_EQ(reference.run(golden_.tokens, chunk).logits, expected_reference) << type << ", chunk " << chunk;
    }
  }
}

// The reference with a compressed cache is near the one without, and the nearer the more bits. (Presets with an open
// tile and those without are not compared: 130 tokens lie half in open tiles.)
TEST_P(PolicyTest, ErrorsFallWithTheBits) {
  const auto exact = model("auto", DType::f32).run(golden_.tokens).logits;
  const auto error = [&](const std::string& type) {
    const auto got = model(type, DType::f32).run(golden_.tokens).logits;
    double square = 0.0, size = 0.0;
    for (size_t i = 0; i < got.size(); ++i) {
      square += (got[i] - exact[i]) * (got[i] - exact[i]);
      size += exact[i] * exact[i];
    }
    const double relative = std::sqrt(square / size);
    std::printf("  %-16s %-34s relative error of the logits %.2e\n", golden_.name.c_str(), type.c_str(), relative);
    return relative;
  };
  const std::string only = ",boundary=0,recent=0,open=16";
  const double q8 = error("q8"), k8v8 = error("turboquant,k=8,v=8" + only), k4v3 = error("turboquant" + only);
  EXPECT_GT(q8, 0.0);
  EXPECT_LT(q8, error("f8e4m3"));
  EXPECT_GT(k8v8, 0.0);
  EXPECT_LT(k8v8, k4v3);
  EXPECT_LT(k4v3, error("turboquant-aggressive" + only));
}

INSTANTIATE_TEST_SUITE_P(All, PolicyTest,
                         testing::Values(std::tuple{"qwen3", 64}, std::tuple{"gemma2", 80}, std::tuple{"gpt_oss", 64},
                                         std::tuple{"qwen3_next", 80}, std::tuple{"llama", 128}),
                         [](const auto& info) { return std::get<0>(info.param); });

}  // namespace
}  // namespace arc::test
