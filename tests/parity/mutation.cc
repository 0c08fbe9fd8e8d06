#include "parity/mutation.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "nlohmann/json.hpp"

#include "base/json.h"

namespace arc::test {
namespace {

using Notice = ConfigKey::Notice;

// A key (or with * the beginning of keys) of which not every change must be noticed. `golden` is the beginning of the
// names that are meant; empty `file`: any.
struct Exemption {
  std::string_view key, reason, golden = {}, file = {};
  Notice notice = Notice::none;

  bool covers(std::string_view of_golden, std::string_view of_file, std::string_view of_key) const {
    const bool begins = key.ends_with('*') && of_key.starts_with(key.substr(0, key.size() - 1));
    return (key == of_key || begins) && of_golden.starts_with(golden) && (file.empty() || file == of_file);
  }
};

constexpr std::string_view kSecond = "config2.json", kAny = {};

constexpr Exemption kExemptions[] = {
    {"attention_dropout", "for training"},
    {"initializer_range", "for training"},
    {"output_router_logits", "for training"},
    {"router_aux_loss_coef", "for training"},
    {"ep_size", "how the trainer dealt the experts out"},
    {"pretraining_tp", "how the trainer sliced its products"},
    {"num_nextn_predict_layers", "layers behind the last one, which answer nothing; they are skipped"},
    {"model_type", "`architectures` says what the model is"},
    {"dtype", "each tensor says its own type"},
    {"torch_dtype", "each tensor says its own type"},
    {"transformers_version", "who wrote the file"},
    {"cache_implementation", "a cache of transformers' own"},
    {"use_cache", "a cache of transformers' own"},
    {"bos_token_id", "which tokens go in; not what becomes of them"},
    {"eos_token_id", "when a caller stops"},
    {"pad_token_id", "no sequence is padded"},
    {"max_position_embeddings", "the attention factor of longrope follows from it", "phi3", kAny, Notice::every},
    {"max_position_embeddings", "the longest context that is allowed; these prompts are shorter"},

    // Another key wins.
    {"sliding_window", "halved, so that one step of two ends on the same", "embeddinggemma", kAny, Notice::some},
    {"final_logit_softcapping", "there is no head", "embeddinggemma"},
    {"tie_word_embeddings", "there is no head", "embeddinggemma"},
    {"sliding_window_pattern", "layer_types wins", "embeddinggemma", kSecond},
    {"head_dim", "follows from qk_rope_head_dim", "deepseek_v"},
    {"qk_head_dim", "follows from the two it is the sum of", "deepseek_v"},
    {"rope_parameters/type", "rope_type wins"},
    {"qk_head_dim", "follows from the two it is the sum of", "glm4_moe_lite"},
    {"partial_rotary_factor", "the one in rope_parameters wins", "qwen3_next", kSecond},
    {"sliding_window_pattern", "layer_types wins", "gemma3", kSecond},
    {"max_window_layers", "layer_types wins", "qwen3", kSecond},
    {"max_window_layers", "in this family every layer slides or none", "qwen3_moe"},
    {"sliding_window", "off: use_sliding_window is false", "qwen3_moe"},
    {"use_sliding_window", "there is no window to use", "qwen3_moe"},
    {"experts_per_token", "num_experts_per_tok wins", "gpt_oss"},
    {"initial_context_length", "the rope's own original_max_position_embeddings wins", "gpt_oss"},
    {"hidden_act", "the family has one activation, which no key names", "gpt_oss"},
    {"hidden_act", "hidden_activation wins", "gemma2"},
    {"hidden_act", "the first configs say gelu where they mean its tanh form", "gemma", kAny, Notice::some},
    {"sliding_window_size", "sliding_window wins", "gemma2"},
    {"max_window_layers", "layer_types wins", "qwen2", kSecond},
    {"max_window_layers", "layer_types wins", "smollm3"},
    {"no_rope_layer_interval", "no_rope_layers wins", "smollm3"},
    {"partial_rotary_factor", "the one in rope_parameters wins", "phi", kSecond},
    {"partial_rotary_factor", "the one in rope_parameters wins", "glm4", kSecond},
    {"activation_function", "hidden_act wins", "starcoder2"},
    {"layer_norm_epsilon", "norm_epsilon wins", "starcoder2"},
    {"attention_softmax_in_fp32", "how the trainer computed", "starcoder2"},
    {"scale_attention_softmax_in_fp32", "how the trainer computed", "starcoder2"},
    {"scale_attn_weights", "no checkpoint has it off, and transformers does not read it", "starcoder2"},
    {"embedding_dropout", "for training", "starcoder2"},
    {"residual_dropout", "for training", "starcoder2"},
    {"embd_pdrop", "for training", "phi"},
    {"resid_pdrop", "for training", "phi"},
    {"router_jitter_noise", "for training", "mixtral"},
    {"input_jitter_noise", "for training", "phimoe"},
    {"hidden_dropout", "for training", "phimoe"},
    {"aux_loss_alpha", "for training", "deepseek_v2"},
    {"seq_aux", "for training", "deepseek_v2"},
    {"init_method", "for training", "granite"},
    {"mamba_chunk_size", "how the trainer cut the recurrence", "granite"},
    {"n_group", "for another topk_method", "deepseek_v2_lite"},
    {"topk_group", "for another topk_method", "deepseek_v2_lite"},
    {"rope_theta", "no layer rotates", "granite_hybrid"},
    {"rope_parameters/rope_theta", "no layer rotates", "granite_hybrid"},
    {"rope_scaling", "no layer rotates", "granite_hybrid", kAny, Notice::some},
    {"original_max_position_embeddings", "only whether the prompt is longer", "phimoe", kAny, Notice::some},
    {"rope_scaling/original_max_position_embeddings", "the one outside wins", "phi"},
    {"rope_parameters/original_max_position_embeddings", "the one outside wins", "phi"},
    {"rope_scaling/long_factor", "the prompt is short", "phi3_short", kAny, Notice::some},
    {"rope_scaling/long_factor", "the prompt is short", "phimoe_short", kAny, Notice::some},
    {"rope_scaling/long_mscale", "the prompt is short", "phimoe_short"},
    {"rope_parameters/long_factor", "the prompt is short", "phi3_short", kAny, Notice::some},
    {"rope_parameters/long_factor", "the prompt is short", "phimoe_short", kAny, Notice::some},
    {"rope_parameters/long_mscale", "the prompt is short", "phimoe_short"},
    {"rope_scaling/short_mscale", "the prompt is long", "phimoe_long"},
    {"rope_scaling/short_factor", "the prompt is long", "phi3_long", kAny, Notice::some},
    {"rope_scaling/short_factor", "the prompt is long", "phimoe_long", kAny, Notice::some},
    {"rope_parameters/short_factor", "the prompt is long", "phimoe_long", kAny, Notice::some},
    {"rope_parameters/short_mscale", "the prompt is long", "phimoe_long"},
    {"rope_parameters/short_factor", "the prompt is long", "phi3_long", kAny, Notice::some},
    {"intermediate_size", "of experts, which the model has not", "granite_dense"},
    {"num_experts_per_tok", "of experts, which the model has not", "granite_dense"},
    {"time_step_limit", "of Mamba layers, which the model has not", "granite_dense", kSecond},
    {"mamba_*", "of Mamba layers, which the model has not", "granite_dense", kSecond},

    // A head that is in the checkpoint is used, whatever this says (as in transformers).
    {"tie_word_embeddings", "the checkpoint has both matrices", "deepseek_v"},
    {"tie_word_embeddings", "the checkpoint has both matrices", "glm4"},
    {"tie_word_embeddings", "the checkpoint has both matrices", "gpt_oss"},
    {"tie_word_embeddings", "the checkpoint has both matrices", "granite_hybrid"},
    {"tie_word_embeddings", "the checkpoint has both matrices", "mistral"},
    {"tie_word_embeddings", "the checkpoint has both matrices", "mixtral"},
    {"tie_word_embeddings", "the checkpoint has both matrices", "phi"},
    {"tie_word_embeddings", "the checkpoint has both matrices", "llama"},
    {"tie_word_embeddings", "the checkpoint has both matrices", "qwen3_moe"},
    {"tie_word_embeddings", "the checkpoint has both matrices", "qwen3_next"},

    // YaRN rounds the range that these give to whole coordinates: one step of two may end on the same.
    {"rope_scaling/beta_fast", "rounded", "deepseek_v", kAny, Notice::some},
    {"rope_scaling/beta_slow", "rounded", "deepseek_v", kAny, Notice::some},
    {"rope_scaling/original_max_position_embeddings", "rounded", "deepseek_v", kAny, Notice::some},
    {"rope_scaling/original_max_position_embeddings", "rounded", "qwen2", kAny, Notice::some},
    {"rope_scaling/original_max_position_embeddings", "rounded", "qwen3", kAny, Notice::some},
    {"rope_parameters/beta_fast", "rounded", "deepseek_v", kAny, Notice::some},
    {"rope_parameters/beta_fast", "rounded", "ministral3", kAny, Notice::some},
    {"rope_parameters/beta_slow", "rounded", "ministral3", kAny, Notice::some},
    {"rope_parameters/beta_slow", "rounded", "deepseek_v", kAny, Notice::some},
    {"rope_parameters/original_max_position_embeddings", "rounded", "deepseek_v", kAny, Notice::some},
    {"rope_parameters/original_max_position_embeddings", "rounded", "qwen2", kAny, Notice::some},
    {"rope_parameters/original_max_position_embeddings", "rounded", "qwen3", kAny, Notice::some},
};

const Exemption* find_exemption(std::string_view golden, std::string_view file, std::string_view key) {
  const auto row = std::ranges::find_if(kExemptions, [&](const Exemption& e) { return e.covers(golden, file, key); });
  return row == std::end(kExemptions) ? nullptr : row;
}

using Path = Json::json_pointer;

std::vector<std::string> other_words(const std::string& word) {
  static const std::map<std::string_view, std::string> kOthers = {
      {"silu", "gelu"},       {"gelu_pytorch_tanh", "gelu"},
      {"llama3", "linear"},   {"yarn", "linear"},
      {"linear", "default"},  {"sliding_attention", "full_attention"},
      {"sigmoid", "softmax"}, {"full_attention", "sliding_attention"},
      {"noaux_tc", "greedy"}, {"linear_attention", "full_attention"},
  };
  const auto other = kOthers.find(word);
  if (other == kOthers.end()) return {"nonsense"};
  return {other->second, "nonsense"};
}

// Values near to this one, and such as a reader that looks only half would take for it.
std::vector<Json> neighbours(const Json& value) {
  if (value.is_null()) return {7, Json{{"rope_type", "linear"}, {"factor", 4.0}}};
  if (value.is_boolean()) return {!value.get<bool>()};
  if (value.is_number_integer()) {
    const auto n = value.get<int64_t>();
    return {n + 1, n - 1, n == 0 ? 2 : 2 * n};
  }
  if (value.is_number()) {
    const auto x = value.get<double>();
    if (x == 0.0) return {0.5};
    return {1.25 * x, 0.75 * x};
  }
  std::vector<Json> near;
  if (value.is_string()) {
    for (const std::string& word : other_words(value.get<std::string>())) near.emplace_back(word);
    return near;
  }
  if (value.is_object()) return {0.5};  // in a list: transformers' spelling of infinity
  Json shorter = value;
  if (!value.empty()) shorter.erase(value.size() - 1);
  near.push_back(shorter);
  for (size_t i = 0; i < value.size(); ++i) {
    for (const Json& item : neighbours(value[i])) {
      near.push_back(value);
      near.back()[i] = item;
    }
  }
  return near;
}

// Paths of the objects, and of all other values (lists whole).
void walk(const Json& object, const Path& at, std::vector<Path>& objects, std::vector<Path>& leaves) {
  objects.push_back(at);
  for (const auto& [key, value] : object.items()) {
    if (value.is_object()) {
      walk(value, at / key, objects, leaves);
    } else {
      leaves.push_back(at / key);
    }
  }
}

std::string key_name(const Path& path) {
  constexpr std::string_view kAround = "/text_config";
  const std::string text = path.to_string();
  return text.substr(text.starts_with(kAround) ? kAround.size() + 1 : 1);
}

std::string replaced(const Json& config, const Path& path, const Json& value) {
  Json changed = config;
  changed[path] = value;
  return changed.dump();
}

// "model.layers.3.mlp.experts.7.up_proj.weight" -> "model.layers.#.mlp.experts.#.up_proj.weight"
std::string kind_of(const std::string& tensor) {
  std::string kind;
  for (char c : tensor) {
    const bool digit = c >= '0' && c <= '9';
    if (digit && kind.ends_with(".#")) continue;
    kind += digit && kind.ends_with('.') ? '#' : c;
  }
  return kind;
}

}  // namespace

std::vector<std::string> parameters(const Golden& golden, bool all) {
  std::vector<std::string> every;
  std::map<std::string, std::vector<std::string>> kinds;
  for (const GoldenTensor& tensor : golden.tensors) {
    if (tensor.ignored) continue;
    every.push_back(tensor.name);
    kinds[kind_of(tensor.name)].push_back(tensor.name);
  }
  if (all) return every;
  std::vector<std::string> chosen;
  for (const auto& [kind, names] : kinds) chosen.push_back(names[chosen.size() % names.size()]);
  return chosen;
}

std::vector<Dialect> dialects(const Golden& golden) {
  std::vector<Dialect> all = {{.file = "config.json", .text = golden.config_json}};
  if (!golden.config2_json.empty()) all.push_back({.file = "config2.json", .text = golden.config2_json});
  return all;
}

std::vector<ConfigKey> config_keys(const Golden& golden, const Dialect& dialect) {
  const Json config = parse_json(dialect.text, dialect.file);
  std::vector<Path> objects, leaves;
  walk(config, Path(), objects, leaves);
  std::vector<ConfigKey> keys;
  for (const Path& path : leaves) {
    ConfigKey key{.name = key_name(path)};
    if (const Exemption* row = find_exemption(golden.name, dialect.file, key.name)) key.notice = row->notice;
    for (const Json& value : neighbours(config[path])) {
      key.changes.push_back({.value = value.dump(), .config = replaced(config, path, value)});
    }
    keys.push_back(std::move(key));
  }
  return keys;
}

std::vector<std::string> with_unknown_key(const Dialect& dialect, std::string_view name) {
  const Json config = parse_json(dialect.text, dialect.file);
  std::vector<Path> objects, leaves;
  walk(config, Path(), objects, leaves);
  std::vector<std::string> configs;
  for (const Path& path : objects) configs.push_back(replaced(config, path / std::string(name), 1));
  return configs;
}

std::vector<std::string> stale_exemptions() {
  std::set<const Exemption*> used;
  for (const std::string& name : golden_names()) {
    const Golden golden = read_golden(name);
    for (const Dialect& dialect : dialects(golden)) {
      for (const ConfigKey& key : config_keys(golden, dialect)) {
        used.insert(find_exemption(name, dialect.file, key.name));
      }
    }
  }
  std::vector<std::string> stale;
  for (const Exemption& row : kExemptions) {
    if (!used.contains(&row)) stale.emplace_back(row.key);
  }
  return stale;
}

}  // namespace arc::test
