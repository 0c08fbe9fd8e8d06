// The explicit list of architectures, and what model files share.
#include <algorithm>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "base/error.h"
#include "models/arch.h"
#include "spec/rope.h"

namespace arc {

namespace {

const Arch* const kArchs[] = {
    &kLlama,  &kMistral, &kMixtral,    &kQwen2,      &kQwen3,   &kQwen3Moe,    &kQwen3Next,     &kGemma,
    &kGemma2, &kGemma3,  &kPhi,        &kStarcoder2, &kGlm4,    &kSmolLm3,     &kDeepseekV3,    &kGptOss,
    &kPhi3,   &kPhiMoe,  &kMinistral3, &kDeepseekV2, &kGlm4Moe, &kGlm4MoeLite, &kGraniteHybrid, &kEmbeddingGemma};

}  // namespace

std::span<const Arch* const> all_archs() {
  return kArchs;
}

const Arch& find_arch(std::string_view name) {
  for (const Arch* arch : kArchs) {
    if (arch->name == name) return *arch;
  }
  std::vector<std::string_view> known;
  for (const Arch* arch : kArchs) known.push_back(arch->name);
  throw Error(ErrorCode::unsupported,
              fmt::format("architecture \"{}\" is not supported; Arc knows {}", name, fmt::join(known, ", ")));
}

ModelSpec model_from(const Config& c, std::string_view arch, const NormSpec& final_norm, bool tied) {
  return {.arch = std::string(arch),
          .vocab = c.i("vocab_size"),
          .dim = c.i("hidden_size"),
          .max_positions = c.i_or("max_position_embeddings", 2048),
          .final_norm = final_norm,
          .tied_head = c.b_or("tie_word_embeddings", tied)};
}

AttentionSpec attention_from(const Config& c, double default_theta, int default_head_dim, double default_partial) {
  const int heads = c.i("num_attention_heads");
  const int head_dim =
      c.i_or("head_dim", default_head_dim > 0 ? default_head_dim : c.i("hidden_size") / std::max(heads, 1));
  return {.heads = heads,
          .kv_heads = c.i_or("num_key_value_heads", heads),
          .head_dim = head_dim,
          .rope = rope_from(c, head_dim, "", default_theta, default_partial)};
}

int layers_from(const Config& c) {
  constexpr int kMost = 1000;
  const int n = c.i("num_hidden_layers");
  if (n >= 1 && n <= kMost) return n;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("config.json: \"num_hidden_layers\" is {}; it must be from 1 to {}", n, kMost));
}

ModelSpec with_layers(const Config& c, ModelSpec model, const LayerSpec& layer) {
  model.layers.assign(static_cast<size_t>(layers_from(c)), layer);
  return model;
}

NormSpec rms_from(const Config& c, double default_eps, bool unit_offset) {
  return {.kind = NormSpec::Kind::rms,
          .eps = static_cast<float>(c.f_or("rms_norm_eps", default_eps)),
          .unit_offset = unit_offset && !c.b_or("norm_weights_shifted", false)};
}

int interval_from(const Config& c, std::string_view key, int fallback) {
  const int interval = c.i_or(key, fallback);
  if (interval >= 1) return interval;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("config.json: \"{}\" is {}; it must be at least 1", key, interval));
}

void expect_value(const Config& c, std::string_view key, std::string_view value) {
  const std::string found = c.s_or(key, value);
  if (found == value) return;
  throw Error(ErrorCode::unsupported,
              fmt::format("config.json: \"{}\" is \"{}\"; this architecture implements \"{}\"", key, found, value));
}

void expect_off(const Config& c, std::string_view key) {
  if (c.b_or(key, false)) throw Error(ErrorCode::unsupported, fmt::format("config.json: \"{}\" is not supported", key));
}

bool is_sparse(const Config& c, int layer) {
  const std::vector<int> dense = c.ints_or_empty("mlp_only_layers");
  return (layer + 1) % interval_from(c, "decoder_sparse_step", 1) == 0 &&
         std::ranges::find(dense, layer) == dense.end();
}

std::vector<bool> layers_of_type(const Config& config, std::string_view type, std::string_view other, int n_layers,
                                 bool (*fallback)(const Config&, int layer), std::string_view key) {
  const std::vector<std::string> types = config.strings_or_empty(key);
  if (!types.empty() && types.size() != static_cast<size_t>(n_layers)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("config.json lists {} {} for {} layers", types.size(), key, n_layers));
  }
  std::vector<bool> chosen;
  for (int l = 0; l < n_layers; ++l) {
    if (!types.empty() && types[l] != type && types[l] != other) {
      throw Error(
          ErrorCode::unsupported,
          fmt::format("config.json calls layer {} \"{}\"; this architecture has {} and {}", l, types[l], type, other));
    }
    chosen.push_back(types.empty() ? fallback(config, l) : types[l] == type);
  }
  return chosen;
}

std::vector<bool> sliding_layers(const Config& config, int n_layers, bool (*fallback)(const Config&, int layer)) {
  return layers_of_type(config, "sliding_attention", "full_attention", n_layers, fallback);
}

Activation activation_from(const Config& config, std::string_view key) {
  const std::string name = config.s_or(key, "silu");
  if (name == "silu" || name == "swish") return {.kind = Activation::Kind::silu};
  if (name == "gelu") return {.kind = Activation::Kind::gelu};
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return {.kind = Activation::Kind::gelu_tanh};
  if (name == "relu") return {.kind = Activation::Kind::relu};
  throw Error(ErrorCode::unsupported, fmt::format("activation \"{}\" is not supported", name));
}

}  // namespace arc
