// What the registry knows of an architecture: how its config becomes a ModelSpec, and what its checkpoints call each
// weight.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "spec/config.h"
#include "spec/model_spec.h"
#include "spec/names.h"

namespace arc {

struct Arch {
  std::string_view name;  // as in the config's `architectures`
  ModelSpec (*build)(const Config&) = nullptr;
  std::span<const NameRow> own_names;  // within a layer; these win over kCommonNames
};

// The families; registry.cc lists them again for find_arch.
extern const Arch kLlama, kMistral, kMixtral, kQwen2, kQwen3, kQwen3Moe, kQwen3Next, kGemma, kGemma2, kGemma3, kPhi,
    kStarcoder2, kGlm4, kSmolLm3, kDeepseekV3, kGptOss, kPhi3, kPhiMoe, kMinistral3, kDeepseekV2, kGlm4Moe,
    kGlm4MoeLite, kGraniteHybrid, kEmbeddingGemma;

// Throws Error(unsupported) that lists the known names.
const Arch& find_arch(std::string_view name);
std::span<const Arch* const> all_archs();

// ---- shared by model files ----

// Everything but the layers, under the keys that all families use. `tied` is the family's default.
ModelSpec model_from(const Config& config, std::string_view arch, const NormSpec& final_norm, bool tied = false);

// Heads, head dim and rotation, under the keys that most families use. `default_head_dim` 0: hidden size / heads.
AttentionSpec attention_from(const Config& config, double default_theta = 10000.0, int default_head_dim = 0,
                             double default_partial = 1.0);

// num_hidden_layers. Throws Error(invalid_argument) unless it is from 1 to 1000.
int layers_from(const Config& config);

// `model` with as many layers like `layer`.
ModelSpec with_layers(const Config& config, ModelSpec model, const LayerSpec& layer);

// An RMS norm with the config's rms_norm_eps. GGUF files have an offset of 1 added already: norm_weights_shifted.
NormSpec rms_from(const Config& config, double default_eps = 1e-6, bool unit_offset = false);

// A whole number of at least 1, for "every n-th layer".
int interval_from(const Config& config, std::string_view key, int fallback);

// Throws Error(unsupported) unless the key is absent or has the one value that this family implements.
void expect_value(const Config& config, std::string_view key, std::string_view value);

// Throws Error(unsupported) when the switch is on.
void expect_off(const Config& config, std::string_view key);

// Whether a Qwen layer has experts: every decoder_sparse_step-th one that mlp_only_layers does not name.
bool is_sparse(const Config& config, int layer);

// Which layers are of `type` rather than `other`, from the list under `key` where the config has it, else from
// `fallback(config, layer)`. Any other name is an Error.
std::vector<bool> layers_of_type(const Config& config, std::string_view type, std::string_view other, int n_layers,
                                 bool (*fallback)(const Config&, int layer), std::string_view key = "layer_types");
// Which layers slide rather than see all.
std::vector<bool> sliding_layers(const Config& config, int n_layers, bool (*fallback)(const Config&, int layer));

// Latent attention under DeepSeek's keys. The softmax scale takes YaRN's temperature squared, on top of the factor on
// cos and sin.
MlaSpec latent_attention_from(const Config& config);

// DeepSeek-V3's experts: sigmoid scores, a correction of the choice, groups, and shared experts beside them.
MoeSpec sigmoid_experts_from(const Config& config);
// As their checkpoints call the shared experts.
inline constexpr NameRow kSharedExpertNames[] = {
    {"shared.gate", "mlp.shared_experts.gate_proj.weight", {}},
    {"shared.up", "mlp.shared_experts.up_proj.weight", {}},
    {"shared.down", "mlp.shared_experts.down_proj.weight", {}},
};

// The activation that transformers calls by the name under `key`.
Activation activation_from(const Config& config, std::string_view key = "hidden_act");

}  // namespace arc
