#include "models/gguf.h"

#include <algorithm>
#include <set>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "nlohmann/json.hpp"

#include "base/error.h"

namespace arc {
namespace {

constexpr GgufKey kCommonKeys[] = {
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"rope.freq_base", "rope_theta"},
};

// Keys that say nothing, or what the tensors say too.
constexpr std::string_view kSilent[] = {"vocab_size", "attention.value_length", "rope.scaling.finetuned",
                                        "tensor_data_layout"};
// Keys that Translation reads by itself.
constexpr std::string_view kTranslated[] = {"block_count",
                                            "nextn_predict_layers",
                                            "attention.key_length",
                                            "rope.dimension_count",
                                            "rope.scaling.type",
                                            "rope.scaling.factor",
                                            "rope.scale_linear",
                                            "rope.scaling.attn_factor",
                                            "rope.scaling.original_context_length",
                                            "rope.scaling.yarn_attn_factor",
                                            "rope.scaling.yarn_beta_fast",
                                            "rope.scaling.yarn_beta_slow",
                                            "rope.scaling.yarn_log_multiplier",
                                            "attention.sliding_window_pattern",
                                            "attention.causal",
                                            "expert_gating_func"};

class Translation {
 public:
  Translation(const GgufDialect& dialect, const GgufFacts& facts)
      : dialect_(dialect), facts_(facts), config_(Json::object()) {
    if (!dialect.constants.empty()) config_ = parse_json(dialect.constants, "constants");
    config_["architectures"] = {dialect.arch};
    config_["vocab_size"] = facts.vocabulary;
    config_["dtype"] = facts.dtype;
    config_["tie_word_embeddings"] = !(facts.has_tensor(kGgufNaming.embed) && facts.has_tensor(kGgufNaming.head));
  }

  Json run() {
    for (const GgufKey& key : kCommonKeys) copy(key);
    for (const GgufKey& key : dialect_.keys) copy(key);
    layers();
    if (is("deepseek2")) {
      latent_attention();
    } else {
      heads();
    }
    rope();
    windows();
    if (is("gemma2") || is("gemma3")) gemma_scale();
    if (is("qwen3next")) recurrent_layers();
    if (is("granite") || is("granitehybrid")) granite();
    biases();
    if (value("attention.causal") == false) fail("attention.causal", "is false, which Arc does not support");
    if (whole("expert_gating_func", 0) > 2) fail("expert_gating_func", "is neither softmax nor sigmoid");
    refuse_unknown();
    return std::move(config_);
  }

 private:
  bool is(std::string_view name) const { return dialect_.name == name; }
  bool anywhere(std::string_view tensor) const { return any_layer_has(facts_, dialect_.name, tensor); }
  Json value(std::string_view key) const { return facts_.value(fmt::format("{}.{}", dialect_.name, key)); }

  [[noreturn]] void fail(std::string_view key, std::string_view problem) const {
    throw Error(ErrorCode::unsupported, fmt::format("metadata: \"{}.{}\" {}", dialect_.name, key, problem));
  }

  double number(std::string_view key, double fallback) const {
    const Json found = value(key);
    if (found.is_null()) return fallback;
    if (!found.is_number()) fail(key, "must be a number");
    return found.get<double>();
  }

  double number(std::string_view key) const {
    if (value(key).is_null()) fail(key, "is missing");
    return number(key, 0);
  }

  int whole(std::string_view key, int fallback) const {
    const double found = number(key, fallback);
    if (!(found >= 0 && found <= 1 << 30)) fail(key, "is out of range");
    return static_cast<int>(found);
  }

  // Values per layer must be one value; layers without it have 0.
  void copy(const GgufKey& key) {
    Json found = value(key.gguf);
    if (found.is_null() || key.config.empty()) return;
    if (found.is_array()) {
      Json one;
      for (const Json& each : found) {
        if (each == 0) continue;
        if (!one.is_null() && each != one) fail(key.gguf, "differs between layers, which Arc does not support");
        one = each;
      }
      if (one.is_null()) fail(key.gguf, "has no value");
      found = one;
    }
    config_[std::string(key.config)] = std::move(found);
  }

  // What `copy` found for `key` of config.json; at least 1.
  int positive(const char* key) const {
    const auto found = config_.find(key);
    if (found != config_.end() && found->is_number_integer() && *found >= 1 && *found <= 1 << 30)
      return found->get<int>();
    throw Error(ErrorCode::unsupported, fmt::format("metadata: what gives \"{}\" is missing or out of range", key));
  }

  int positive(const char* key, int fallback) const { return config_.contains(key) ? positive(key) : fallback; }
  int n_layers() const { return positive("num_hidden_layers"); }

  void layers() {
    const int blocks = whole("block_count", 0), extra = whole("nextn_predict_layers", 0);
    if (blocks < 1 || extra >= blocks || blocks > kMaxGgufLayers) fail("block_count", "gives no layers");
    config_["num_hidden_layers"] = blocks - extra;
    if (!config_.contains("num_experts")) return;
    Json dense = Json::array();
    for (int l = 0; l < n_layers(); ++l) {
      if (facts_.has_tensor(fmt::format("blk.{}.ffn_gate.weight", l))) dense.push_back(l);
    }
    if (!dense.empty()) config_["mlp_only_layers"] = std::move(dense);
  }

  void heads() {
    const int head_dim = whole("attention.key_length", positive("hidden_size") / positive("num_attention_heads"));
    if (whole("attention.value_length", head_dim) != head_dim) {
      fail("attention.value_length", "differs from key_length");
    }
    const int rotated = whole("rope.dimension_count", head_dim);
    config_["head_dim"] = head_dim;
    // Half a coordinate more, so that head_dim times this is never one too few.
    config_["partial_rotary_factor"] = (rotated + 0.5) / std::max(head_dim, 1);
  }

  // Files from before the split of kv_b give the lengths of heads as key_length and value_length.
  void latent_attention() {
    config_.erase("num_key_value_heads");
    const int rotated = whole("rope.dimension_count", 64);
    config_["qk_rope_head_dim"] = rotated;
    config_["qk_nope_head_dim"] = whole("attention.key_length_mla", whole("attention.key_length", 0)) - rotated;
    config_["scoring_func"] = dialect_.sigmoid ? "sigmoid" : "softmax";
    groups();
    if (!dialect_.sigmoid && positive("n_group", 1) > 1) config_["topk_method"] = "group_limited_greedy";
  }

  // Files from before the format had groups; of the published models that have any, V2 and V3 chose theirs so.
  void groups() {
    if (config_.contains("n_group")) return;
    const int experts = positive("n_routed_experts");
    const bool v2 = n_layers() == 60 && experts == 160, v3 = n_layers() == 61 && experts == 256;
    if (v2 || v3) config_.update({{"n_group", 8}, {"topk_group", v2 ? 3 : 4}});
  }

  void rope() {
    const double factor = number("rope.scaling.factor", number("rope.scale_linear", 0.0));
    const Json named = value("rope.scaling.type");
    const bool measured = facts_.has_tensor("rope_factors_long.weight");
    const std::string type = measured            ? "longrope"
                             : named.is_string() ? named.get<std::string>()
                             : factor > 0        ? "linear"
                                                 : "none";
    Json scaling = Json::object();
    if (facts_.has_tensor("rope_freqs.weight")) {
      scaling = {{"rope_type", "divisors"}, {"divisors", facts_.numbers("rope_freqs.weight")}};
    } else if (type == "linear" && factor > 0) {
      scaling = {{"rope_type", "linear"}, {"factor", factor}};
    } else if (type == "yarn") {
      scaling = {{"rope_type", "yarn"}, {"factor", number("rope.scaling.factor")}};
      yarn(scaling);
    } else if (measured) {
      longrope(scaling);
    } else if (type != "none" && type != "linear") {
      fail("rope.scaling.type", fmt::format("is \"{}\", which Arc does not support here", type));
    }
    if (!measured && number("rope.scaling.attn_factor", 1.0) != 1.0) {
      fail("rope.scaling.attn_factor", "needs the tensor rope_factors_long.weight");
    }
    if (const double beta = number("attention.temperature_scale", 0.0); beta != 0.0) {
      scaling["llama_4_scaling_beta"] = beta;
      scaling["original_max_position_embeddings"] = number("rope.scaling.original_context_length");
    }
    if (!scaling.empty()) config_["rope_scaling"] = std::move(scaling);
  }

  // The format has the attention factor that follows from the lengths; Phi-3.5-MoE's own is larger.
  void longrope(Json& scaling) const {
    scaling = {{"rope_type", "longrope"},
               {"long_factor", facts_.numbers("rope_factors_long.weight")},
               {"short_factor", facts_.numbers("rope_factors_short.weight")},
               {"original_max_position_embeddings", number("rope.scaling.original_context_length")}};
    if (is("phimoe")) {
      scaling["short_mscale"] = scaling["long_mscale"] = 1.243163121016122;
    } else if (!value("rope.scaling.attn_factor").is_null()) {
      scaling["attention_factor"] = number("rope.scaling.attn_factor");
    }
  }

  void yarn(Json& scaling) const {
    constexpr GgufKey kKeys[] = {{"rope.scaling.original_context_length", "original_max_position_embeddings"},
                                 {"rope.scaling.yarn_attn_factor", "attention_factor"},
                                 {"rope.scaling.yarn_beta_fast", "beta_fast"},
                                 {"rope.scaling.yarn_beta_slow", "beta_slow"}};
    for (const GgufKey& key : kKeys) {
      if (!value(key.gguf).is_null()) scaling[std::string(key.config)] = number(key.gguf);
    }
    // mscale_all_dim, of DeepSeek a tenth of it. mscale is not said: it is 1, of DeepSeek the same.
    if (const double multiplier = number("rope.scaling.yarn_log_multiplier", 0.0); multiplier != 0.0) {
      scaling["mscale_all_dim"] = is("deepseek2") ? 10.0 * multiplier : multiplier;
      scaling["mscale"] = is("deepseek2") ? 10.0 * multiplier : 1.0;
    }
    if (is("gpt-oss")) scaling["truncate"] = false;
  }

  // A pattern of n: every n-th layer sees all. A list: which layers slide.
  void windows() {
    if (!config_.contains("sliding_window")) return;
    if (is("qwen2") || is("qwen3") || is("qwen3moe")) config_["use_sliding_window"] = true;
    const Json pattern = value("attention.sliding_window_pattern");
    if (pattern.is_null()) return;
    if (pattern.is_array() && pattern.size() < static_cast<size_t>(n_layers())) {
      fail("attention.sliding_window_pattern", "has fewer entries than the model layers");
    }
    const int every = pattern.is_array() ? 1 : std::max(whole("attention.sliding_window_pattern", 1), 1);
    Json types = Json::array();
    for (int l = 0; l < n_layers(); ++l) {
      const bool slides = pattern.is_array() ? pattern[l] == true || pattern[l] == 1 : (l + 1) % every != 0;
      types.push_back(slides ? "sliding_attention" : "full_attention");
    }
    config_["layer_types"] = std::move(types);
  }

  // The format does not say query_pre_attn_scalar; of the published models the 27B alone, of Gemma 2 with 46 layers and
  // of Gemma 3 with 62, has not the head dim.
  void gemma_scale() {
    const double scale = number("attention.scale", 0.0);
    const int layers_of_27b = is("gemma2") ? 46 : 62;
    const int of_27b = positive("hidden_size") / positive("num_attention_heads");
    const double scalar = scale > 0                     ? 1.0 / (scale * scale)
                          : n_layers() == layers_of_27b ? of_27b
                                                        : positive("head_dim");
    config_["query_pre_attn_scalar"] = scalar;
  }

  void recurrent_layers() {
    const int width = whole("ssm.inner_size", 0), heads = positive("linear_num_value_heads");
    if (width == 0 || width % heads != 0) fail("ssm.inner_size", "must be a multiple of ssm.time_step_rank");
    config_["linear_value_head_dim"] = width / heads;
    const Json recurrent = value("attention.recurrent_layers");
    if (recurrent.is_null()) return;
    if (!recurrent.is_array() || recurrent.size() < static_cast<size_t>(n_layers())) {
      fail("attention.recurrent_layers", "must say it for every layer");
    }
    Json types = Json::array();
    for (int l = 0; l < n_layers(); ++l) {
      types.push_back(recurrent[l] == true || recurrent[l] == 1 ? "linear_attention" : "full_attention");
    }
    config_["layer_types"] = std::move(types);
  }

  // Layers without key heads are recurrent. "finetuned" says whether the others rotate.
  void granite() {
    const Json kv_heads = value("attention.head_count_kv");
    if (kv_heads.is_array() && kv_heads.size() < static_cast<size_t>(n_layers())) {
      fail("attention.head_count_kv", "has fewer entries than the model layers");
    }
    Json types = Json::array();
    for (int l = 0; l < n_layers(); ++l) {
      types.push_back(kv_heads.is_array() && kv_heads[l] == 0 ? "mamba" : "attention");
    }
    config_["layer_types"] = std::move(types);
    const Json rotates = value("rope.scaling.finetuned");
    config_["position_embedding_type"] = (rotates.is_boolean() ? rotates == true : is("granite")) ? "rope" : "nope";
    if (is("granite")) return;
    const int width = whole("ssm.inner_size", 0), heads = positive("mamba_n_heads"), dim = positive("hidden_size");
    if (width == 0 || width % heads != 0 || width % dim != 0) {
      fail("ssm.inner_size", "must be a multiple of ssm.time_step_rank and of embedding_length");
    }
    config_["mamba_d_head"] = width / heads;
    config_["mamba_expand"] = width / dim;
  }

  // What the tensors say.
  void biases() {
    const bool implied = is("qwen2") || is("phi2") || is("starcoder2");
    const bool inputs_only = is("glm4") || is("glm4moe");
    const bool attention = anywhere(inputs_only ? "attn_q.bias" : "attn_output.bias") || anywhere("attn_kv_a_mqa.bias");
    if (!implied && attention) config_["attention_bias"] = true;
    const bool mlp = is("llama") || is("smollm3") || is("deepseek2");
    if (mlp && anywhere("ffn_gate.bias")) config_["mlp_bias"] = true;
    if (is("phi2") && anywhere("attn_q_norm.weight")) config_["qk_layernorm"] = true;
    if (is("glm4moe") && anywhere("attn_q_norm.weight")) config_["use_qk_norm"] = true;
    if (is("starcoder2") && !anywhere("attn_output.bias")) config_["use_bias"] = false;
    if (is("phimoe") && facts_.has_tensor("output.bias")) config_["lm_head_bias"] = true;
    if (is("granitehybrid")) {
      config_["mamba_conv_bias"] = anywhere("ssm_conv1d.bias");
      config_["mamba_proj_bias"] = anywhere("ssm_in.bias");
    }
  }

  bool is_known(std::string_view key) const {
    const auto names_it = [key](const GgufKey& row) { return row.gguf == key; };
    return std::ranges::any_of(kCommonKeys, names_it) || std::ranges::any_of(dialect_.keys, names_it) ||
           std::ranges::find(kSilent, key) != std::end(kSilent) ||
           std::ranges::find(kTranslated, key) != std::end(kTranslated);
  }

  // Numbers that are zero switch off what their key is about.
  void refuse_unknown() const {
    const std::string prefix = fmt::format("{}.", dialect_.name);
    std::vector<std::string> unknown;
    for (const std::string& key : facts_.keys) {
      if (!key.starts_with(prefix) || is_known(std::string_view(key).substr(prefix.size()))) continue;
      if (const Json found = facts_.value(key); !(found == 0 || found == false)) unknown.push_back(key);
    }
    if (unknown.empty()) return;
    throw Error(ErrorCode::unsupported,
                fmt::format("metadata: this architecture does not know \"{}\"; running it without would give wrong "
                            "answers",
                            fmt::join(unknown, "\", \"")));
  }

  const GgufDialect& dialect_;
  const GgufFacts& facts_;
  Json config_;
};

}  // namespace

Json gguf_config(const GgufDialect& dialect, const GgufFacts& facts) {
  return Translation(dialect, facts).run();
}

}  // namespace arc
