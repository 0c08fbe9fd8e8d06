#include "parity/golden_gguf.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/check.h"

namespace arc::test {
namespace {

using Values = std::vector<float>;
using Sizes = std::vector<int64_t>;

// The golden's name, and what ggml calls its architecture.
const std::map<std::string, std::string> kFamilies = {{"llama", "llama"},
                                                      {"mixtral", "llama"},
                                                      {"mistral", "llama"},
                                                      {"smollm3", "smollm3"},
                                                      {"gemma", "gemma"},
                                                      {"gemma2", "gemma2"},
                                                      {"phi", "phi2"},
                                                      {"starcoder2", "starcoder2"},
                                                      {"glm4", "glm4"},
                                                      {"qwen2", "qwen2"},
                                                      {"qwen3", "qwen3"},
                                                      {"gemma3", "gemma3"},
                                                      {"qwen3_moe", "qwen3moe"},
                                                      {"qwen3_next", "qwen3next"},
                                                      {"deepseek_v3", "deepseek2"},
                                                      {"gpt_oss", "gpt-oss"},
                                                      {"phi3_long", "phi3"},
                                                      {"phi3_short", "phi3"},
                                                      {"phimoe_long", "phimoe"},
                                                      {"phimoe_short", "phimoe"},
                                                      {"ministral3", "mistral3"},
                                                      {"deepseek_v2", "deepseek2"},
                                                      {"deepseek_v2_lite", "deepseek2"},
                                                      {"glm4_moe", "glm4moe"},
                                                      {"glm4_moe_lite", "deepseek2"},
                                                      {"granite_dense", "granite"},
                                                      {"granite_hybrid", "granitehybrid"}};

// Names within a layer, without the ending.
const std::map<std::string, std::string> kLayerNames = {
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"self_attn.q_a_proj", "attn_q_a"},
    {"self_attn.q_a_layernorm", "attn_q_a_norm"},
    {"self_attn.q_b_proj", "attn_q_b"},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
    {"self_attn.dense", "attn_output"},
    {"self_attn.q_layernorm", "attn_q_norm"},
    {"self_attn.k_layernorm", "attn_k_norm"},
    {"post_self_attn_layernorm", "post_attention_norm"},
    {"post_mlp_layernorm", "post_ffw_norm"},
    {"mlp.fc1", "ffn_up"},
    {"mlp.fc2", "ffn_down"},
    {"mlp.c_fc", "ffn_up"},
    {"mlp.c_proj", "ffn_down"},
    {"mlp.gate_up_proj", "ffn_up"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"mlp.router", "ffn_gate_inp"},
    {"block_sparse_moe.gate", "ffn_gate_inp"},
    {"mlp.shared_expert_gate", "ffn_gate_inp_shexp"},
    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
    {"linear_attn.in_proj_ba", "ssm_ba"},
    {"linear_attn.conv1d", "ssm_conv1d"},
    {"linear_attn.norm", "ssm_norm"},
    {"linear_attn.out_proj", "ssm_out"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"mamba.in_proj", "ssm_in"},
    {"mamba.conv1d", "ssm_conv1d"},
    {"mamba.norm", "ssm_norm"},
    {"mamba.out_proj", "ssm_out"},
    {"block_sparse_moe.router.layer", "ffn_gate_inp"},
    {"block_sparse_moe.output_linear", "ffn_down_exps"},
    {"eh_proj", "nextn.eh_proj"},
    {"enorm", "nextn.enorm"},
    {"shared_head.norm", "nextn.shared_head_norm"},
};

const std::map<std::string, std::string> kExpertNames = {{"gate_proj", "ffn_gate_exps"}, {"up_proj", "ffn_up_exps"},
                                                         {"down_proj", "ffn_down_exps"}, {"w1", "ffn_gate_exps"},
                                                         {"w3", "ffn_up_exps"},          {"w2", "ffn_down_exps"}};

// Rows [begin, begin + count) of every `block` rows.
Values rows_of(const Values& values, int64_t cols, int64_t block, int64_t begin, int64_t count) {
  Values out;
  for (size_t first = 0; first < values.size(); first += block * cols) {
    const auto from = values.begin() + first + begin * cols;
    out.insert(out.end(), from, from + count * cols);
  }
  return out;
}

Values every_second(const Values& values, size_t first, int64_t width) {
  Values out;
  for (size_t i = first * width; i < values.size(); i += 2 * width) {
    out.insert(out.end(), values.begin() + i, values.begin() + i + width);
  }
  return out;
}

Values transposed(const Values& values, int64_t rows, int64_t cols) {
  Values out;
  for (size_t first = 0; first < values.size(); first += rows * cols) {
    for (int64_t c = 0; c < cols; ++c) {
      for (int64_t r = 0; r < rows; ++r) out.push_back(values[first + r * cols + c]);
    }
  }
  return out;
}

class Converter {
 public:
  Converter(const Golden& golden, const Json& config, bool old)
      : golden_(golden), config_(config), arch_(gguf_architecture(golden)), old_(old) {}

  GoldenGguf run() {
    metadata();
    for (const GoldenTensor& tensor : golden_.tensors) {
      if (!tensor.ignored || keeps_mtp()) convert(tensor.name, tensor.shape, generate(tensor, golden_.seed));
    }
    for (const auto& [name, stack] : experts_) {
      Sizes shape = stack.shape;
      shape.insert(shape.begin(), static_cast<int64_t>(stack.matrices.size()));
      Values all;
      for (const auto& [e, values] : stack.matrices) all.insert(all.end(), values.begin(), values.end());
      emit(name, shape, all);
    }
    return std::move(file_);
  }

 private:
  struct Stack {
    Sizes shape;
    std::map<int, Values> matrices;
  };

  bool has_paired_rows() const {
    return arch_ == "llama" || arch_ == "smollm3" || arch_ == "mistral3" || arch_.starts_with("granite");
  }
  bool keeps_mtp() const { return golden_.name.starts_with("glm4_moe"); }  // of DeepSeek's the converter drops them
  bool shifts_norms() const { return arch_.starts_with("gemma") || arch_ == "qwen3next"; }
  int64_t number(const char* key) const { return config_.at(key).get<int64_t>(); }

  void emit(const std::string& name, const Sizes& shape, const Values& values) {
    constexpr uint32_t kF32 = 0;
    file_.tensors.tensor(name, shape, kF32, std::as_bytes(std::span(values)));
  }

  void convert(const std::string& name, const Sizes& shape, Values values) {
    constexpr std::string_view kLayers = "model.layers.";
    if (shifts_norms() && name.ends_with("norm.weight") && !name.ends_with("linear_attn.norm.weight")) {
      for (float& v : values) v += 1.0f;
    }
    if (name == "model.embed_tokens.weight") return emit("token_embd.weight", shape, values);
    const std::string suffix = name.substr(name.rfind('.'));
    if (name.starts_with("model.norm.") || name.starts_with("model.final_layernorm.")) {
      return emit("output_norm" + suffix, shape, values);
    }
    if (name.starts_with("lm_head.")) return emit("output" + suffix, shape, values);
    ARC_CHECK(name.starts_with(kLayers)) << name;
    const size_t dot = name.find('.', kLayers.size());
    const std::string layer = fmt::format("blk.{}.", name.substr(kLayers.size(), dot - kLayers.size()));
    in_layer(layer, name.substr(dot + 1), shape, std::move(values));
  }

  void in_layer(const std::string& layer, const std::string& rest, const Sizes& shape, Values values) {
    if (rest.find("experts.") != std::string::npos && rest.find("shared_experts") == std::string::npos) {
      return expert(layer, rest.substr(rest.find("experts.") + 8), shape, values);
    }
    if (rest == "mlp.gate.e_score_correction_bias") return emit(layer + "exp_probs_b.bias", shape, values);
    if (rest == "self_attn.sinks") return emit(layer + "attn_sinks.weight", shape, values);
    if (rest == "self_attn.kv_b_proj.weight" && old_) return emit(layer + "attn_kv_b.weight", shape, values);
    if (rest == "self_attn.kv_b_proj.weight") return latent(layer, shape[1], values);
    if (rest == "linear_attn.in_proj_qkvz.weight") return delta(layer, shape[1], values);
    if (rest.ends_with(".dt_bias")) return emit(layer + "ssm_dt.bias", shape, values);
    if (rest.ends_with(".A_log")) {
      for (float& v : values) v = -std::exp(v);
      return emit(layer + "ssm_a", rest == "mamba.A_log" ? Sizes{shape[0], 1} : shape, values);
    }
    if (rest == "mamba.D") return emit(layer + "ssm_d", {shape[0], 1}, values);
    if (rest == "mamba.norm.weight") {
      const int64_t groups = number("mamba_n_groups");
      return emit(layer + "ssm_norm.weight", {groups, shape[0] / groups}, values);
    }
    if (rest.ends_with(".input_linear.weight")) return gate_up(layer, rest, shape, values);
    if (rest == "shared_mlp.output_linear.weight") return emit(layer + shared("ffn_down"), shape, values);
    const size_t ending = rest.rfind('.');
    const std::string stem = rest.substr(0, ending);
    std::string target = kLayerNames.at(stem);
    const bool late_norm =
        arch_ == "gemma2" || arch_ == "gemma3" || arch_ == "qwen3next" || arch_ == "gpt-oss" || arch_ == "glm4moe";
    if (stem == "post_attention_layernorm" && late_norm) target = "post_attention_norm";
    if (has_paired_rows() && (target == "attn_q" || target == "attn_k")) {
      values = paired_rows(values, shape, number(target == "attn_q" ? "num_attention_heads" : "num_key_value_heads"));
    }
    const Sizes kept = target == "ssm_conv1d" && shape.size() == 3 ? Sizes{shape[0], shape[2]} : shape;
    emit(layer + target + rest.substr(ending), kept, values);
  }

  // Granite's gate above up, of each expert or of all.
  void gate_up(const std::string& layer, const std::string& rest, const Sizes& shape, const Values& values) {
    const bool experts = rest.starts_with("block_sparse_moe");
    const int64_t rows = shape[shape.size() - 2], cols = shape.back();
    Sizes half = shape;
    half[half.size() - 2] = rows / 2;
    emit(layer + (experts ? "ffn_gate_exps.weight" : shared("ffn_gate")), half,
         rows_of(values, cols, rows, 0, rows / 2));
    emit(layer + (experts ? "ffn_up_exps.weight" : shared("ffn_up")), half,
         rows_of(values, cols, rows, rows / 2, rows / 2));
  }
  std::string shared(const std::string& name) const {
    return name + (number("num_local_experts") > 0 ? "_shexp.weight" : ".weight");
  }

  // Rows (half, i) of each head become rows (i, half).
  static Values paired_rows(const Values& values, const Sizes& shape, int64_t heads) {
    const int64_t cols = shape.size() > 1 ? shape[1] : 1, rows = shape[0] / heads;
    Values out;
    for (int64_t h = 0; h < heads; ++h) {
      const Values head(values.begin() + h * rows * cols, values.begin() + (h + 1) * rows * cols);
      for (int64_t i = 0; i < rows / 2; ++i) {
        for (int64_t half = 0; half < 2; ++half) {
          const auto from = head.begin() + (half * rows / 2 + i) * cols;
          out.insert(out.end(), from, from + cols);
        }
      }
    }
    return out;
  }

  // "3.gate_proj.weight" of one expert, or a tensor of all: those have [in, out] matrices, gate and up alternating.
  void expert(const std::string& layer, const std::string& rest, const Sizes& shape, const Values& values) {
    if (rest == "gate_up_proj") {
      const Values turned = transposed(values, shape[1], shape[2]);
      const Sizes half = {shape[0], shape[2] / 2, shape[1]};
      emit(layer + "ffn_gate_exps.weight", half, every_second(turned, 0, shape[1]));
      return emit(layer + "ffn_up_exps.weight", half, every_second(turned, 1, shape[1]));
    }
    if (rest == "gate_up_proj_bias") {
      emit(layer + "ffn_gate_exps.bias", {shape[0], shape[1] / 2}, every_second(values, 0, 1));
      return emit(layer + "ffn_up_exps.bias", {shape[0], shape[1] / 2}, every_second(values, 1, 1));
    }
    if (rest == "down_proj_bias") return emit(layer + "ffn_down_exps.bias", shape, values);
    if (rest == "down_proj") {
      return emit(layer + "ffn_down_exps.weight", {shape[0], shape[2], shape[1]},
                  transposed(values, shape[1], shape[2]));
    }
    const size_t dot = rest.find('.'), end = rest.rfind('.');
    Stack& stack = experts_[layer + kExpertNames.at(rest.substr(dot + 1, end - dot - 1)) + ".weight"];
    stack.shape = shape;
    stack.matrices[std::stoi(rest)] = values;
  }

  void latent(const std::string& layer, int64_t rank, const Values& values) {
    const int64_t nope = number("qk_nope_head_dim"), v = number("v_head_dim"), heads = number("num_attention_heads");
    emit(layer + "attn_k_b.weight", {heads, rank, nope},
         transposed(rows_of(values, rank, nope + v, 0, nope), nope, rank));
    emit(layer + "attn_v_b.weight", {heads, v, rank}, rows_of(values, rank, nope + v, nope, v));
  }

  void delta(const std::string& layer, int64_t cols, const Values& values) {
    const int64_t dk = number("linear_key_head_dim"), keys = number("linear_num_key_heads");
    const int64_t dv = number("linear_num_value_heads") / keys * number("linear_value_head_dim"), block = 2 * (dk + dv);
    Values qkv = rows_of(values, cols, block, 0, dk);
    for (const Values& more : {rows_of(values, cols, block, dk, dk), rows_of(values, cols, block, 2 * dk, dv)}) {
      qkv.insert(qkv.end(), more.begin(), more.end());
    }
    emit(layer + "attn_qkv.weight", {keys * (2 * dk + dv), cols}, qkv);
    emit(layer + "attn_gate.weight", {keys * dv, cols}, rows_of(values, cols, block, 2 * dk + dv, dv));
  }

  // ---- metadata

  void add(const std::string& key, Json value) { file_.metadata[fmt::format("{}.{}", arch_, key)] = std::move(value); }
  void add_number(const std::string& key, double value) { add(key, value); }
  void copy_count(const char* key, const char* from) {
    if (config_.contains(from) && config_[from].is_number()) add(key, number(from));
  }
  void copy_number(const char* key, const char* from) {
    if (config_.contains(from) && config_[from].is_number()) add_number(key, config_[from].get<double>());
  }

  void metadata() {
    file_.metadata["general.architecture"] = arch_;
    const int64_t head_dim = config_.value("head_dim", number("hidden_size") / number("num_attention_heads"));
    add("block_count", number("num_hidden_layers") + (keeps_mtp() ? number("num_nextn_predict_layers") : 0));
    if (keeps_mtp()) copy_count("nextn_predict_layers", "num_nextn_predict_layers");
    copy_count("context_length", "max_position_embeddings");
    copy_count("embedding_length", "hidden_size");
    copy_count("feed_forward_length", "intermediate_size");
    copy_count("attention.head_count", "num_attention_heads");
    copy_number("attention.layer_norm_rms_epsilon", "rms_norm_eps");
    for (const char* key : {"layer_norm_eps", "norm_epsilon"}) copy_number("attention.layer_norm_epsilon", key);
    copy_number("attn_logit_softcapping", "attn_logit_softcapping");
    add_number("rope.freq_base", theta());
    copy_count("attention.head_count_kv", "num_key_value_heads");
    if (arch_ == "deepseek2") {
      latent_metadata();
    } else {
      add("attention.key_length", head_dim);
      add("attention.value_length", head_dim);
      add("rope.dimension_count", static_cast<int64_t>(config_.value("partial_rotary_factor", 1.0) * head_dim));
    }
    rope();
    windows();
    expert_metadata();
    copy_number("final_logit_softcapping", "final_logit_softcapping");
    if (arch_ == "gemma3") {
      copy_number("rope.freq_base_swa", "rope_local_base_freq");
      add_number("attention.scale", 1.0 / std::sqrt(config_["query_pre_attn_scalar"].get<double>()));
    }
    if (arch_ == "qwen3next") {
      copy_count("ssm.conv_kernel", "linear_conv_kernel_dim");
      copy_count("ssm.state_size", "linear_key_head_dim");
      copy_count("ssm.group_count", "linear_num_key_heads");
      copy_count("ssm.time_step_rank", "linear_num_value_heads");
      add("ssm.inner_size", number("linear_num_value_heads") * number("linear_value_head_dim"));
      copy_count("full_attention_interval", "full_attention_interval");
    }
    if (arch_.starts_with("granite")) granite_metadata();
  }

  void granite_metadata() {
    copy_number("attention.scale", "attention_multiplier");
    copy_number("embedding_scale", "embedding_multiplier");
    copy_number("residual_scale", "residual_multiplier");
    copy_number("logit_scale", "logits_scaling");
    copy_count("expert_shared_feed_forward_length", "shared_intermediate_size");
    add("rope.scaling.finetuned", arch_ == "granite");
    if (arch_ == "granite") return;
    add("context_length", 1 << 20);
    Json kv_heads = Json::array();
    for (const Json& type : config_["layer_types"]) {
      kv_heads.push_back(type == "attention" ? number("num_key_value_heads") : 0);
    }
    add("attention.head_count_kv", std::move(kv_heads));
    copy_count("ssm.conv_kernel", "mamba_d_conv");
    copy_count("ssm.state_size", "mamba_d_state");
    copy_count("ssm.group_count", "mamba_n_groups");
    copy_count("ssm.time_step_rank", "mamba_n_heads");
    add("ssm.inner_size", number("mamba_expand") * number("hidden_size"));
  }

  void latent_metadata() {
    const int64_t rotated = number("qk_rope_head_dim");
    copy_count("leading_dense_block_count", "first_k_dense_replace");
    copy_count("attention.q_lora_rank", "q_lora_rank");
    copy_count("attention.kv_lora_rank", "kv_lora_rank");
    add("rope.dimension_count", rotated);
    add(old_ ? "attention.key_length" : "attention.key_length_mla", number("qk_nope_head_dim") + rotated);
    copy_count(old_ ? "attention.value_length" : "attention.value_length_mla", "v_head_dim");
    if (old_) return;
    add("attention.head_count_kv", 1);
    add("attention.key_length", number("kv_lora_rank") + rotated);
    add("attention.value_length", number("kv_lora_rank"));
  }

  void expert_metadata() {
    for (const char* key : {"num_experts", "num_local_experts", "n_routed_experts"}) copy_count("expert_count", key);
    copy_count("expert_used_count", "num_experts_per_tok");
    copy_count("expert_shared_count", "n_shared_experts");
    copy_count("expert_group_count", "n_group");
    copy_count("expert_group_used_count", "topk_group");
    copy_count("expert_feed_forward_length", arch_ == "gpt-oss" ? "intermediate_size" : "moe_intermediate_size");
    copy_count("expert_shared_feed_forward_length", "shared_expert_intermediate_size");
    copy_number("expert_weights_scale", "routed_scaling_factor");
    const bool deepseek = arch_ == "deepseek2";
    if (deepseek || arch_ == "glm4moe") add("expert_weights_norm", config_.value("norm_topk_prob", false));
    if (deepseek && config_.contains("scoring_func"))
      add("expert_gating_func", config_["scoring_func"] == "sigmoid" ? 2 : 1);
    if (arch_ == "glm4moe") {
      copy_count("leading_dense_block_count", "first_k_dense_replace");
      add("expert_gating_func", 2);
    }
  }

  void windows() {
    if (config_.contains("use_sliding_window") && !config_["use_sliding_window"].get<bool>()) return;
    if (arch_.starts_with("phi3") || arch_ == "phimoe") add("attention.sliding_window", 0);  // of none
    if (!config_.contains("sliding_window") || !config_["sliding_window"].is_number()) return;
    copy_count("attention.sliding_window", "sliding_window");
    // The architecture implies which layers slide.
    if (arch_ == "gemma2" || arch_ == "starcoder2" || arch_.starts_with("phi")) return;
    const int64_t n_layers = number("num_hidden_layers");
    std::vector<bool> slides;
    for (int64_t l = 0; l < n_layers; ++l) {
      slides.push_back(config_.contains("layer_types") ? config_["layer_types"][l] == "sliding_attention"
                       : arch_ == "gemma3"             ? (l + 1) % number("sliding_window_pattern") != 0
                                                       : l >= number("max_window_layers"));
    }
    add("attention.sliding_window_pattern", slides);
  }

  Json scaling() const {
    for (const char* key : {"rope_scaling", "rope_parameters"}) {
      if (config_.contains(key) && config_[key].is_object()) return config_[key];
    }
    return Json::object();
  }
  double theta() const {
    return config_.contains("rope_theta") ? config_["rope_theta"].get<double>() : scaling()["rope_theta"].get<double>();
  }

  void rope() {
    const Json scaling = this->scaling();
    const std::string type = scaling.value("rope_type", scaling.value("type", "default"));
    if (type == "default") return;
    if (type == "llama3") return divisors(scaling);
    if (type == "longrope") return longrope(scaling);
    add("rope.scaling.type", type);
    add_number("rope.scaling.factor", scaling["factor"].get<double>());
    if (type != "yarn") return;
    add("rope.scaling.original_context_length", scaling["original_max_position_embeddings"].get<int64_t>());
    for (const auto& [key, from] : {std::pair{"yarn_attn_factor", "attention_factor"},
                                    {"yarn_beta_fast", "beta_fast"},
                                    {"yarn_beta_slow", "beta_slow"}}) {
      if (scaling.contains(from)) add_number(fmt::format("rope.scaling.{}", key), scaling[from].get<double>());
    }
    if (scaling.contains("mscale_all_dim")) {
      const double all = scaling["mscale_all_dim"].get<double>();
      add_number("rope.scaling.yarn_log_multiplier", arch_ == "deepseek2" ? 0.1 * all : all);
    }
    if (scaling.contains("llama_4_scaling_beta")) {
      add_number("attention.temperature_scale", scaling["llama_4_scaling_beta"].get<double>());
    }
  }

  void longrope(const Json& scaling) {
    const double original = number("original_max_position_embeddings"),
                 stretch = number("max_position_embeddings") / original;
    add("rope.scaling.original_context_length", number("original_max_position_embeddings"));
    add_number("rope.scaling.attn_factor", std::sqrt(1 + std::log(stretch) / std::log(original)));
    for (const auto& [name, key] :
         {std::pair{"rope_factors_long.weight", "long_factor"}, {"rope_factors_short.weight", "short_factor"}}) {
      const auto factors = scaling[key].get<Values>();
      emit(name, {static_cast<int64_t>(factors.size())}, factors);
    }
  }

  void divisors(const Json& scaling) {
    const double factor = scaling["factor"].get<double>(), low = scaling["low_freq_factor"].get<double>(),
                 high = scaling["high_freq_factor"].get<double>(),
                 context = scaling["original_max_position_embeddings"].get<double>();
    const int64_t dims = number("head_dim");
    Values result;
    for (int64_t i = 0; i < dims; i += 2) {
      const double frequency = std::pow(theta(), -static_cast<double>(i) / static_cast<double>(dims));
      const double length = 2 * M_PI / frequency, smooth = (context / length - low) / (high - low);
      result.push_back(static_cast<float>(length < context / high  ? 1.0
                                          : length > context / low ? factor
                                                                   : 1.0 / ((1 - smooth) / factor + smooth)));
    }
    emit("rope_freqs.weight", {dims / 2}, result);
  }

  const Golden& golden_;
  const Json& config_;
  const std::string arch_;
  const bool old_;
  GoldenGguf file_;
  std::map<std::string, Stack> experts_;
};

void add_pair(GgufBytes& file, const std::string& key, const Json& value) {
  if (value.is_string()) return file.add(key, value.get<std::string>());
  if (value.is_boolean()) return file.add(key, value.get<bool>());
  if (value.is_number_float()) return file.add(key, value.get<float>());
  if (!value.is_array()) return file.add(key, value.get<uint32_t>());
  if (value.front().is_boolean()) return file.add(key, value.get<std::vector<bool>>());
  if (value.front().is_string()) return file.add(key, value.get<std::vector<std::string>>());
  file.add(key, value.get<std::vector<uint32_t>>());
}

}  // namespace

std::string gguf_architecture(const Golden& golden) {
  const auto family = kFamilies.find(golden.name);
  return family == kFamilies.end() ? "" : family->second;
}

std::vector<std::string> gguf_golden_names() {
  std::vector<std::string> names = golden_names();
  std::erase(names, "embeddinggemma");
  return names;
}

Json expressible_config(const Golden& golden) {
  Json config = parse_json(golden.config_json, "config.json");
  if (golden.name == "mistral") config.erase("sliding_window");
  if (golden.name == "gemma2") config["query_pre_attn_scalar"] = config["head_dim"];
  if (golden.name == "smollm3") {
    for (const char* key : {"no_rope_layers", "layer_types", "use_sliding_window", "sliding_window"}) config.erase(key);
  }
  if (golden.name.starts_with("deepseek")) config["rope_scaling"]["mscale"] = config["rope_scaling"]["mscale_all_dim"];
  if (golden.name.starts_with("phimoe")) {
    config.erase("router_jitter_noise");
    for (const char* key : {"short_mscale", "long_mscale"}) {
      if (config["rope_scaling"].is_object()) config["rope_scaling"][key] = 1.243163121016122;
    }
  }
  if (golden.name == "granite_hybrid") config.erase("time_step_limit");
  return config;
}

void GoldenGguf::write(const std::filesystem::path& path) const {
  GgufBytes file = tensors;
  for (const auto& [key, value] : metadata.items()) add_pair(file, key, value);
  file.write(path);
}

GoldenGguf to_gguf(const Golden& golden, const Json& config, bool old) {
  return Converter(golden, config, old).run();
}

}  // namespace arc::test
