#include "models/gguf.h"

#include <algorithm>
#include <set>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "nlohmann/json.hpp"

#include "base/error.h"

namespace arc {
namespace {

// ---- data ----------------------------------------------------------------------------------------------------------

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
constexpr std::string_view kSilent[] = {"vocab_size",         "attention.value_length",  "rope.scaling.finetuned",
                                        "expert_group_count", "expert_group_used_count", "tensor_data_layout"};
// Keys that Translation reads by itself.
constexpr std::string_view kTranslated[] = {"block_count",
                                            "nextn_predict_layers",
                                            "attention.key_length",
                                            "rope.dimension_count",
                                            "rope.scaling.type",
                                            "rope.scaling.factor",
                                            "rope.scale_linear",
                                            "rope.scaling.original_context_length",
                                            "rope.scaling.yarn_attn_factor",
                                            "rope.scaling.yarn_beta_fast",
                                            "rope.scaling.yarn_beta_slow",
                                            "rope.scaling.yarn_log_multiplier",
                                            "attention.sliding_window_pattern",
                                            "attention.causal",
                                            "expert_gating_func"};

constexpr GgufKey kMixtralKeys[] = {{"expert_count", "num_local_experts"},
                                    {"expert_used_count", "num_experts_per_tok"}};
constexpr GgufKey kQwen2Keys[] = {{"attention.sliding_window", "sliding_window"}};
constexpr GgufKey kGemma2Keys[] = {{"attention.sliding_window", "sliding_window"},
                                   {"attn_logit_softcapping", "attn_logit_softcapping"},
                                   {"final_logit_softcapping", "final_logit_softcapping"}};
constexpr GgufKey kPhi2Keys[] = {{"attention.layer_norm_epsilon", "layer_norm_eps"}};
constexpr GgufKey kPhi3Keys[] = {{"attention.sliding_window", "sliding_window"}};
constexpr GgufKey kStarcoder2Keys[] = {{"attention.layer_norm_epsilon", "norm_epsilon"},
                                       {"attention.sliding_window", "sliding_window"}};
constexpr GgufKey kQwen3MoeKeys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"expert_count", "num_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
    {"expert_weights_norm", "norm_topk_prob"},
};
constexpr GgufKey kQwen3NextKeys[] = {
    {"expert_count", "num_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
    {"expert_weights_norm", "norm_topk_prob"},
    {"full_attention_interval", "full_attention_interval"},
    {"ssm.conv_kernel", "linear_conv_kernel_dim"},
    {"ssm.state_size", "linear_key_head_dim"},
    {"ssm.group_count", "linear_num_key_heads"},
    {"ssm.time_step_rank", "linear_num_value_heads"},
    {"ssm.inner_size", "linear_value_head_dim"},  // of all heads
    {"attention.recurrent_layers", "layer_types"},
};
constexpr GgufKey kGemma3Keys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"rope.freq_base_swa", "rope_local_base_freq"},
    {"final_logit_softcapping", "final_logit_softcapping"},
    {"attention.scale", "query_pre_attn_scalar"},  // its inverse root
};
constexpr GgufKey kDeepseekKeys[] = {
    {"leading_dense_block_count", "first_k_dense_replace"},
    {"attention.q_lora_rank", "q_lora_rank"},
    {"attention.kv_lora_rank", "kv_lora_rank"},
    {"attention.value_length", "v_head_dim"},
    {"attention.value_length_mla", "v_head_dim"},  // where both are, this one
    {"attention.key_length_mla", "qk_nope_head_dim"},
    {"expert_count", "n_routed_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_shared_count", "n_shared_experts"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_weights_norm", "norm_topk_prob"},
    {"expert_weights_scale", "routed_scaling_factor"},
    {"expert_group_count", "n_group"},
    {"expert_group_used_count", "topk_group"},
};
constexpr GgufKey kGptOssKeys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"expert_count", "num_local_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_feed_forward_length", "intermediate_size"},
};
constexpr NameRow kNormAfterAttention[] = {{"ffn_pre_norm", "post_attention_norm.weight", {}}};
constexpr NameRow kGateInUp[] = {{"mlp.gate_up", "ffn_up.weight", {}}};

// Llama's and SmolLM's rows of q and k are turned for pairs (2i, 2i + 1); norms of Gemma and Qwen3-Next have the 1
// added. Mistral is told as Llama, without its window; Phi-3 is Mistral but for its fused matrices.
constexpr GgufDialect kDialects[] = {
    {.name = "llama",
     .arch = "MixtralForCausalLM",
     .experts = true,
     .keys = kMixtralKeys,
     .constants = R"({"rope_interleave": true})"},
    {.name = "llama", .arch = "LlamaForCausalLM", .constants = R"({"rope_interleave": true})"},
    {.name = "smollm3", .arch = "SmolLM3ForCausalLM", .constants = R"({"rope_interleave": true})"},
    {.name = "qwen2", .arch = "Qwen2ForCausalLM", .keys = kQwen2Keys},
    {.name = "qwen3", .arch = "Qwen3ForCausalLM", .keys = kQwen2Keys},
    {.name = "qwen3moe",
     .arch = "Qwen3MoeForCausalLM",
     .experts = true,
     .keys = kQwen3MoeKeys,
     .constants = R"({"norm_topk_prob": true})"},
    {.name = "qwen3next",
     .arch = "Qwen3NextForCausalLM",
     .experts = true,
     .keys = kQwen3NextKeys,
     .names = kNormAfterAttention,
     .constants = R"({"norm_topk_prob": true, "norm_weights_shifted": true})"},
    {.name = "gemma",
     .arch = "GemmaForCausalLM",
     .constants = R"({"hidden_activation": "gelu_pytorch_tanh", "norm_weights_shifted": true})"},
    {.name = "gemma2",
     .arch = "Gemma2ForCausalLM",
     .keys = kGemma2Keys,
     .constants = R"({"hidden_activation": "gelu_pytorch_tanh", "norm_weights_shifted": true})"},
    {.name = "gemma3",
     .arch = "Gemma3ForCausalLM",
     .keys = kGemma3Keys,
     .constants = R"({"hidden_activation": "gelu_pytorch_tanh", "norm_weights_shifted": true})"},
    {.name = "phi2", .arch = "PhiForCausalLM", .keys = kPhi2Keys, .constants = R"({"hidden_act": "gelu_new"})"},
    {.name = "phi3", .arch = "MistralForCausalLM", .keys = kPhi3Keys, .names = kGateInUp},
    {.name = "starcoder2",
     .arch = "Starcoder2ForCausalLM",
     .keys = kStarcoder2Keys,
     .constants = R"({"hidden_act": "gelu_pytorch_tanh"})"},
    {.name = "glm4", .arch = "Glm4ForCausalLM", .names = kGateInUp},
    {.name = "deepseek2",
     .arch = "DeepseekV3ForCausalLM",
     .experts = true,
     .keys = kDeepseekKeys,
     .constants = R"({"norm_topk_prob": false})"},
    {.name = "gpt-oss",
     .arch = "GptOssForCausalLM",
     .experts = true,
     .keys = kGptOssKeys,
     .names = kNormAfterAttention},
};

constexpr int kSigmoid = 2;  // expert_gating_func

// ---- translation ---------------------------------------------------------------------------------------------------

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
    if (dialect_.name == "deepseek2") {
      latent_attention();
    } else {
      heads();
    }
    rope();
    windows();
    if (dialect_.name == "gemma2" || dialect_.name == "gemma3") gemma_scale();
    if (dialect_.name == "qwen3next") recurrent_layers();
    biases();
    if (facts_.has_tensor("rope_factors_long.weight")) {
      throw Error(ErrorCode::unsupported,
                  "the tensor rope_factors_long.weight asks for a rotation (longrope) that Arc "
                  "does not support");
    }
    if (value("attention.causal") == false) fail("attention.causal", "is false, which Arc does not support");
    refuse_unknown();
    return std::move(config_);
  }

 private:
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
    if (found.is_null()) return;
    if (found.is_array() && key.config != "layer_types") {
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

  int n_layers() const { return positive("num_hidden_layers"); }
  int gating() const { return whole("expert_gating_func", 0); }

  void layers() {
    const int blocks = whole("block_count", 0), extra = whole("nextn_predict_layers", 0);
    if (blocks < 1 || extra >= blocks || blocks > 65'536) fail("block_count", "gives no layers");
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
    if (gating() == kSigmoid) fail("expert_gating_func", "is sigmoid, which this architecture does not have");
    const int rotated = whole("rope.dimension_count", head_dim);
    config_["head_dim"] = head_dim;
    // Half a coordinate more, so that head_dim times this is never one too few.
    if (rotated != head_dim) config_["partial_rotary_factor"] = (rotated + 0.5) / std::max(head_dim, 1);
  }

  // Files from before the split of kv_b give the lengths of heads as key_length and value_length.
  void latent_attention() {
    config_.erase("num_key_value_heads");
    const int rotated = whole("rope.dimension_count", 64);
    config_["qk_rope_head_dim"] = rotated;
    config_["qk_nope_head_dim"] = whole("attention.key_length_mla", whole("attention.key_length", 0)) - rotated;
    config_["scoring_func"] = gating() == kSigmoid ? "sigmoid" : "softmax";
  }

  void rope() {
    const double factor = number("rope.scaling.factor", number("rope.scale_linear", 0.0));
    const Json named = value("rope.scaling.type");
    const std::string type = named.is_string() ? named.get<std::string>() : factor > 0 ? "linear" : "none";
    Json scaling = Json::object();
    if (!facts_.rope_divisors.empty()) {
      scaling = {{"rope_type", "divisors"}, {"divisors", facts_.rope_divisors}};
    } else if (type == "linear" && factor > 0) {
      scaling = {{"rope_type", "linear"}, {"factor", factor}};
    } else if (type == "yarn") {
      scaling = {{"rope_type", "yarn"}, {"factor", number("rope.scaling.factor")}};
      yarn(scaling);
    } else if (type != "none" && type != "linear") {
      fail("rope.scaling.type", fmt::format("is \"{}\", which Arc does not support", type));
    }
    if (!scaling.empty()) config_["rope_scaling"] = std::move(scaling);
  }

  void yarn(Json& scaling) const {
    constexpr GgufKey kKeys[] = {{"rope.scaling.original_context_length", "original_max_position_embeddings"},
                                 {"rope.scaling.yarn_attn_factor", "attention_factor"},
                                 {"rope.scaling.yarn_beta_fast", "beta_fast"},
                                 {"rope.scaling.yarn_beta_slow", "beta_slow"}};
    for (const GgufKey& key : kKeys) {
      if (!value(key.gguf).is_null()) scaling[std::string(key.config)] = number(key.gguf);
    }
    // A tenth of mscale_all_dim; the format takes mscale to be the same.
    if (const double log_multiplier = number("rope.scaling.yarn_log_multiplier", 0.0); log_multiplier != 0.0) {
      scaling["mscale"] = scaling["mscale_all_dim"] = 10.0 * log_multiplier;
    }
    if (dialect_.name == "gpt-oss") scaling["truncate"] = false;
  }

  // A pattern of n: every n-th layer sees all. A list: which layers slide.
  void windows() {
    if (!config_.contains("sliding_window")) return;
    if (dialect_.name == "qwen2" || dialect_.name == "qwen3" || dialect_.name == "qwen3moe") {
      config_["use_sliding_window"] = true;
    }
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
    const int layers_of_27b = dialect_.name == "gemma2" ? 46 : 62;
    const int of_27b = positive("hidden_size") / positive("num_attention_heads");
    const double scalar = scale > 0                     ? 1.0 / (scale * scale)
                          : n_layers() == layers_of_27b ? of_27b
                                                        : positive("head_dim");
    config_["query_pre_attn_scalar"] = scalar;
  }

  void recurrent_layers() {
    const int heads = whole("ssm.time_step_rank", 0);
    if (heads < 1) fail("ssm.time_step_rank", "is missing");
    config_["linear_value_head_dim"] = whole("ssm.inner_size", 0) / heads;
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

  void biases() {
    const auto anywhere = [&](std::string_view tensor) {
      for (int l = 0; l < n_layers(); ++l) {
        if (facts_.has_tensor(fmt::format("blk.{}.{}", l, tensor))) return true;
      }
      return false;
    };
    const auto is = [this](std::string_view name) { return dialect_.name == name; };
    const bool implied = is("qwen2") || is("phi2") || is("starcoder2");
    const bool attention = anywhere(is("glm4") ? "attn_q.bias" : "attn_output.bias") || anywhere("attn_kv_a_mqa.bias");
    if (!implied && attention) config_["attention_bias"] = true;
    if ((is("llama") || is("smollm3")) && anywhere("ffn_gate.bias")) config_["mlp_bias"] = true;
    if (is("phi2") && anywhere("attn_q_norm.weight")) config_["qk_layernorm"] = true;
    if (is("starcoder2") && !anywhere("attn_output.bias")) config_["use_bias"] = false;
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

const GgufDialect& find_gguf_dialect(const GgufFacts& facts) {
  const Json named = facts.value("general.architecture");
  const std::string name = named.is_string() ? named.get<std::string>() : "";
  const Json experts = facts.value(fmt::format("{}.expert_count", name));
  const bool has_experts = experts.is_number() && experts != 0;
  for (const GgufDialect& dialect : kDialects) {
    if (dialect.name == name && dialect.experts == has_experts) return dialect;
  }
  std::set<std::string_view> known;
  for (const GgufDialect& dialect : kDialects) known.insert(dialect.name);
  throw Error(ErrorCode::unsupported, fmt::format("GGUF architecture \"{}\"{} is not supported; Arc knows {}", name,
                                                  has_experts ? " with experts" : "", fmt::join(known, ", ")));
}

Json gguf_config(const GgufDialect& dialect, const GgufFacts& facts) {
  return Translation(dialect, facts).run();
}

}  // namespace arc
