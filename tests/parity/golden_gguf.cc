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
#include "io/gguf_bytes.h"

namespace arc::test {
namespace {

using Values = std::vector<float>;
using Sizes = std::vector<int64_t>;

// The golden's name, and what ggml calls its architecture.
const std::map<std::string, std::string> kFamilies = {
    {"llama", "llama"},        {"mixtral", "llama"},         {"mistral", "llama"},
    {"smollm3", "smollm3"},    {"gemma", "gemma"},           {"gemma2", "gemma2"},
    {"phi", "phi2"},           {"starcoder2", "starcoder2"}, {"glm4", "glm4"},
    {"qwen2", "qwen2"},        {"qwen3", "qwen3"},           {"gemma3", "gemma3"},
    {"qwen3_moe", "qwen3moe"}, {"qwen3_next", "qwen3next"},  {"deepseek_v3", "deepseek2"},
    {"gpt_oss", "gpt-oss"}};

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
  Converter(const Golden& golden, const Json& config, const std::string& arch)
      : golden_(golden), config_(config), arch_(arch) {}

  GgufBytes run() {
    metadata();
    for (const GoldenTensor& tensor : golden_.tensors) {
      if (!tensor.ignored) convert(tensor.name, tensor.shape, generate(tensor, golden_.seed));
    }
    for (const auto& [name, parts] : fused_) {
      Values all;
      for (const auto& [place, values] : parts) all.insert(all.end(), values.begin(), values.end());
      emit(name, {static_cast<int64_t>(all.size()) / number("hidden_size"), number("hidden_size")}, all);
    }
    for (const auto& [name, stack] : experts_) {
      Sizes shape = stack.shape;
      shape.insert(shape.begin(), static_cast<int64_t>(stack.matrices.size()));
      Values all;
      for (const auto& [e, values] : stack.matrices) all.insert(all.end(), values.begin(), values.end());
      emit(name, shape, all);
    }
    return file_;
  }

 private:
  struct Stack {
    Sizes shape;
    std::map<int, Values> matrices;
  };

  bool is_llama() const { return arch_ == "llama" || arch_ == "smollm3"; }
  bool shifts_norms() const { return arch_.starts_with("gemma") || arch_ == "qwen3next"; }
  int64_t number(const char* key) const { return config_.at(key).get<int64_t>(); }

  void emit(const std::string& name, const Sizes& shape, const Values& values) {
    constexpr uint32_t kF32 = 0;
    file_.tensor(name, shape, kF32, std::as_bytes(std::span(values)));
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
    if (rest == "self_attn.kv_b_proj.weight") return latent(layer, shape[1], values);
    if (rest == "linear_attn.in_proj_qkvz.weight") return delta(layer, shape[1], values);
    if (rest == "linear_attn.dt_bias") return emit(layer + "ssm_dt.bias", shape, values);
    if (rest == "linear_attn.A_log") {
      for (float& v : values) v = -std::exp(v);
      return emit(layer + "ssm_a", shape, values);
    }
    const size_t ending = rest.rfind('.');
    const std::string stem = rest.substr(0, ending);
    std::string target = kLayerNames.at(stem);
    const bool late_norm = arch_ == "gemma2" || arch_ == "gemma3" || arch_ == "qwen3next" || arch_ == "gpt-oss";
    if (stem == "post_attention_layernorm" && late_norm) target = "post_attention_norm";
    if (is_llama() && (target == "attn_q" || target == "attn_k")) {
      values = paired_rows(values, shape, number(target == "attn_q" ? "num_attention_heads" : "num_key_value_heads"));
    }
    if (arch_ == "phi3") {
      constexpr std::string_view kParts[] = {"attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"};
      const auto* part = std::ranges::find(kParts, target);
      if (part != std::end(kParts)) {
        fused_[layer + (part < kParts + 3 ? "attn_qkv.weight" : "ffn_up.weight")][part - kParts] = std::move(values);
        return;
      }
    }
    const Sizes kept = stem == "linear_attn.conv1d" ? Sizes{shape[0], shape[2]} : shape;
    emit(layer + target + rest.substr(ending), kept, values);
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

  void add_count(const std::string& key, int64_t value) {
    file_.add(fmt::format("{}.{}", arch_, key), static_cast<uint32_t>(value));
  }
  void add_number(const std::string& key, double value) {
    file_.add(fmt::format("{}.{}", arch_, key), static_cast<float>(value));
  }
  void copy_count(const char* key, const char* from) {
    if (config_.contains(from) && config_[from].is_number()) add_count(key, number(from));
  }
  void copy_number(const char* key, const char* from) {
    if (config_.contains(from) && config_[from].is_number()) add_number(key, config_[from].get<double>());
  }

  void metadata() {
    file_.add("general.architecture", arch_);
    const int64_t head_dim = config_.value("head_dim", number("hidden_size") / number("num_attention_heads"));
    copy_count("block_count", "num_hidden_layers");
    copy_count("context_length", "max_position_embeddings");
    copy_count("embedding_length", "hidden_size");
    copy_count("feed_forward_length", "intermediate_size");
    copy_count("attention.head_count", "num_attention_heads");
    copy_number("attention.layer_norm_rms_epsilon", "rms_norm_eps");
    for (const char* key : {"layer_norm_eps", "norm_epsilon"}) copy_number("attention.layer_norm_epsilon", key);
    copy_number("attn_logit_softcapping", "attn_logit_softcapping");
    copy_number("rope.freq_base", "rope_theta");
    add_count("attention.head_count_kv", arch_ == "deepseek2" ? 1 : number("num_key_value_heads"));
    if (arch_ == "deepseek2") {
      latent_metadata();
    } else {
      add_count("attention.key_length", head_dim);
      add_count("attention.value_length", head_dim);
    }
    if (config_.contains("partial_rotary_factor")) {
      add_count("rope.dimension_count",
                static_cast<int64_t>(config_["partial_rotary_factor"].get<double>() * head_dim));
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
      add_count("ssm.inner_size", number("linear_num_value_heads") * number("linear_value_head_dim"));
      copy_count("full_attention_interval", "full_attention_interval");
    }
  }

  void latent_metadata() {
    const int64_t rotated = number("qk_rope_head_dim");
    copy_count("leading_dense_block_count", "first_k_dense_replace");
    copy_count("attention.q_lora_rank", "q_lora_rank");
    copy_count("attention.kv_lora_rank", "kv_lora_rank");
    add_count("attention.key_length", number("kv_lora_rank") + rotated);
    add_count("attention.value_length", number("kv_lora_rank"));
    add_count("attention.key_length_mla", number("qk_nope_head_dim") + rotated);
    copy_count("attention.value_length_mla", "v_head_dim");
    add_count("rope.dimension_count", rotated);
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
    if (arch_ == "deepseek2") {
      file_.add("deepseek2.expert_weights_norm", config_.value("norm_topk_prob", false));
      add_count("expert_gating_func", 2);  // sigmoid
    }
  }

  void windows() {
    if (config_.contains("use_sliding_window") && !config_["use_sliding_window"].get<bool>()) return;
    if (!config_.contains("sliding_window") || !config_["sliding_window"].is_number()) return;
    copy_count("attention.sliding_window", "sliding_window");
    if (arch_ == "gemma2" || arch_ == "starcoder2" || arch_ == "phi3")
      return;  // the architecture implies which layers slide
    const int64_t n_layers = number("num_hidden_layers");
    std::vector<bool> slides;
    for (int64_t l = 0; l < n_layers; ++l) {
      slides.push_back(config_.contains("layer_types") ? config_["layer_types"][l] == "sliding_attention"
                       : arch_ == "gemma3"             ? (l + 1) % number("sliding_window_pattern") != 0
                                                       : l >= number("max_window_layers"));
    }
    std::vector<uint8_t> numbers(slides.begin(), slides.end());
    file_.add(fmt::format("{}.attention.sliding_window_pattern", arch_), numbers);
  }

  void rope() {
    const Json scaling = config_.value("rope_scaling", Json());
    if (!scaling.is_object()) return;
    const std::string type = scaling.value("rope_type", scaling.value("type", ""));
    if (type == "llama3") return divisors(scaling);
    file_.add(fmt::format("{}.rope.scaling.type", arch_), type);
    add_number("rope.scaling.factor", scaling["factor"].get<double>());
    if (type != "yarn") return;
    add_count("rope.scaling.original_context_length", scaling["original_max_position_embeddings"].get<int64_t>());
    for (const auto& [key, from] : {std::pair{"yarn_attn_factor", "attention_factor"},
                                    {"yarn_beta_fast", "beta_fast"},
                                    {"yarn_beta_slow", "beta_slow"}}) {
      if (scaling.contains(from)) add_number(fmt::format("rope.scaling.{}", key), scaling[from].get<double>());
    }
    if (scaling.contains("mscale_all_dim")) {
      add_number("rope.scaling.yarn_log_multiplier", 0.1 * scaling["mscale_all_dim"].get<double>());
    }
  }

  void divisors(const Json& scaling) {
    const double factor = scaling["factor"].get<double>(), low = scaling["low_freq_factor"].get<double>(),
                 high = scaling["high_freq_factor"].get<double>(),
                 context = scaling["original_max_position_embeddings"].get<double>();
    const int64_t dims = number("head_dim");
    Values result;
    for (int64_t i = 0; i < dims; i += 2) {
      const double frequency = std::pow(number("rope_theta"), -static_cast<double>(i) / static_cast<double>(dims));
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
  GgufBytes file_;
  std::map<std::string, Stack> experts_;
  std::map<std::string, std::map<std::ptrdiff_t, Values>> fused_;  // Phi-3's: by name, then place
};

}  // namespace

bool has_gguf(const Golden& golden) {
  return kFamilies.contains(golden.name);
}

Json expressible_config(const Golden& golden) {
  Json config = parse_json(golden.config_json, "config.json");
  if (golden.name == "mistral") config.erase("sliding_window");
  if (golden.name == "gemma2") config["query_pre_attn_scalar"] = config["head_dim"];
  if (golden.name == "smollm3") {
    for (const char* key : {"no_rope_layers", "layer_types", "use_sliding_window", "sliding_window"}) config.erase(key);
  }
  if (golden.name == "deepseek_v3") config["rope_scaling"]["mscale"] = config["rope_scaling"]["mscale_all_dim"];
  return config;
}

void write_gguf(const Golden& golden, const Json& config, const std::filesystem::path& path) {
  write_gguf(golden, config, kFamilies.at(golden.name), path);
}

void write_gguf(const Golden& golden, const Json& config, const std::string& arch, const std::filesystem::path& path) {
  Converter(golden, config, arch).run().write(path);
}

}  // namespace arc::test
