// Each key of a GGUF file's metadata is changed in turn: the model must be refused or visibly another. A key that
// nothing notices is one that nothing reads.
#include <cstdio>
#include <limits>
#include <set>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "engine/model_source.h"
#include "models/gguf.h"
#include "parity/deviation.h"
#include "parity/golden_gguf.h"
#include "parity/tiny_model.h"

namespace arc::test {
namespace {

// A key of which no change, or (`some`) not every one, must be noticed; of goldens whose names begin so.
struct Exemption {
  std::string_view key, reason, golden = {};
  bool some = false;
};

constexpr Exemption kExemptions[] = {
    {"context_length", "the longest context that is allowed; these prompts are shorter"},
    {"attention.head_count_kv", "of the cache that llama.cpp keeps", "deepseek"},
    {"attention.key_length", "of the cache that llama.cpp keeps", "deepseek"},
    {"attention.value_length", "of the cache that llama.cpp keeps", "deepseek"},
    {"attention.head_count_kv", "of the cache that llama.cpp keeps", "glm4_moe_lite"},
    {"attention.key_length", "of the cache that llama.cpp keeps", "glm4_moe_lite"},
    {"attention.value_length", "of the cache that llama.cpp keeps", "glm4_moe_lite"},
    {"feed_forward_length", "expert_feed_forward_length wins", "gpt_oss"},
    {"feed_forward_length", "expert_shared_feed_forward_length wins", "granite_dense"},
    {"expert_used_count", "of experts, which the model has not", "granite_dense"},
    {"expert_group_used_count", "of the groups, which are one", "deepseek_v2_lite"},
    {"rope.freq_base", "no layer rotates", "granite_hybrid"},
    {"rope.dimension_count", "no layer rotates", "granite_hybrid"},
    {"rope.scaling.attn_factor", "the published model has another", "phimoe"},
    {"expert_gating_func", "0 is unsaid; then the tensors say it", "deepseek_v2", true},
    {"rope.scaling.original_context_length", "only whether the prompt is longer", "phi", true},
    // YaRN rounds the range that these give to whole coordinates.
    {"rope.scaling.original_context_length", "rounded", "deepseek", true},
    {"rope.scaling.yarn_beta_fast", "rounded", "deepseek", true},
    {"rope.scaling.yarn_beta_slow", "rounded", "deepseek", true},
    {"rope.scaling.yarn_beta_fast", "rounded", "ministral3", true},
    {"rope.scaling.original_context_length", "rounded", "qwen3", true},
};

const Exemption* exemption(const Golden& golden, std::string_view key) {
  for (const Exemption& e : kExemptions) {
    if (e.key == key && golden.name.starts_with(e.golden)) return &e;
  }
  return nullptr;
}

std::vector<Json> changed(const Json& value) {
  if (value.is_string()) return {"none", value == "linear" ? "yarn" : "linear"};
  if (value.is_boolean()) return {!value.get<bool>()};
  if (value.is_number_float()) return {1.25 * value.get<double>(), 0.5 * value.get<double>()};
  if (value.is_number()) {
    const auto n = value.get<int64_t>();
    return n == 0 ? std::vector<Json>{1, 2} : std::vector<Json>{n + 1, 2 * n, n / 2};
  }
  Json other = value;
  other[0] = value[0].is_boolean() ? Json(!value[0].get<bool>()) : Json(value[0] == 0 ? 1 : 0);
  return {other};
}

class GgufMetadata : public testing::TestWithParam<std::string> {
 protected:
  GgufMetadata()
      : golden_(read_golden(GetParam())),
        file_(to_gguf(golden_, expressible_config(golden_))),
        folder_("arc_gguf_metadata_" + GetParam()),
        expected_(run(file_)) {}

  std::vector<double> run(const GoldenGguf& file) const {
    file.write(folder_.path() / "model.gguf");
    const ModelSource source = open_model((folder_.path() / "model.gguf").string(), true);
    TinyModel model(source.spec, source.slots(), *source.checkpoint, {});
    return model.run(golden_.tokens).logits;
  }

  // How far the logits of a file with this value are from the golden's; infinite where the file is refused.
  double effect(const std::string& key, const Json& value) const {
    GoldenGguf other = file_;
    other.metadata[key] = value;
    try {
      return worst_error(run(other), expected_);
    } catch (const Error&) {
      return std::numeric_limits<double>::infinity();
    }
  }

  Golden golden_;
  GoldenGguf file_;
  TemporaryFolder folder_;
  std::vector<double> expected_;
};

TEST_P(GgufMetadata, EveryKeyIsNoticed) {
  const std::string prefix = gguf_architecture(golden_) + ".";
  const double bound = 4.0 * golden_.f32_error.back();
  int n_keys = 0, n_changes = 0;
  for (const auto& [key, value] : file_.metadata.items()) {
    if (!key.starts_with(prefix)) continue;
    const Exemption* exempt = exemption(golden_, std::string_view(key).substr(prefix.size()));
    int n_noticed = 0;
    for (const Json& change : changed(value)) {
      const double by = effect(key, change);
      n_noticed += by > bound ? 1 : 0;
      if (exempt == nullptr) {
        EXPECT_GT(by, bound) << key << " = " << change;
      } else if (!exempt->some) {
        EXPECT_EQ(by, 0.0) << key << " = " << change << ", exempt: " << exempt->reason;
      }
      n_changes += exempt == nullptr || exempt->some ? 1 : 0;
    }
    if (exempt != nullptr && exempt->some) {
      EXPECT_GT(n_noticed, 0) << key << ", exempt: " << exempt->reason;
    }
    n_keys += exempt == nullptr || exempt->some ? 1 : 0;
  }
  std::printf("  %-16s %-13s %d keys perturbed, in %d ways\n", golden_.name.c_str(), prefix.c_str(), n_keys, n_changes);
}

TEST_P(GgufMetadata, UnknownKeysAreRefusedByName) {
  GoldenGguf other = file_;
  other.metadata[gguf_architecture(golden_) + ".warp_factor"] = 9;
  try {
    run(other);
    ADD_FAILURE() << "taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string_view(error.what()).find("warp_factor"), std::string_view::npos) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(All, GgufMetadata, testing::ValuesIn(gguf_golden_names()),
                         [](const auto& info) { return info.param; });

// Older files do not say how many groups the experts of the published DeepSeek V2 and V3 have.
TEST(GgufDialects, GroupsOfOldDeepseekFiles) {
  const auto config_of = [](int layers, int experts, int gating) {
    const Json metadata = {{"general.architecture", "deepseek2"},   {"deepseek2.block_count", layers},
                           {"deepseek2.embedding_length", 64},      {"deepseek2.attention.head_count", 4},
                           {"deepseek2.attention.key_length", 96},  {"deepseek2.expert_count", experts},
                           {"deepseek2.expert_gating_func", gating}};
    const GgufFacts facts{.value = [&](std::string_view key) { return metadata.value(std::string(key), Json()); },
                          .has_tensor = [](std::string_view) { return false; }};
    return gguf_config(find_gguf_dialect(facts), facts);
  };
  const Json v2 = config_of(60, 160, 1), v3 = config_of(61, 256, 2), lite = config_of(27, 64, 1);
  EXPECT_EQ(v2["n_group"], 8);
  EXPECT_EQ(v2["topk_group"], 3);
  EXPECT_EQ(v2["topk_method"], "group_limited_greedy");
  EXPECT_EQ(v3["n_group"], 8);
  EXPECT_EQ(v3["topk_group"], 4);
  EXPECT_FALSE(lite.contains("n_group"));
}

// A dialect that no golden proves would be a guess.
TEST(GgufDialects, EachIsProvenByAGolden) {
  std::set<std::string_view> proven, known;
  std::set<std::string> names;
  for (const std::string& name : gguf_golden_names()) names.insert(gguf_architecture(read_golden(name)));
  for (const GgufDialect& dialect : gguf_dialects()) known.insert(dialect.name);
  for (const std::string& name : names) proven.insert(name);
  EXPECT_EQ(proven, known);
}

}  // namespace
}  // namespace arc::test
