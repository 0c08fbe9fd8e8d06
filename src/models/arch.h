// What the registry knows of an architecture: how its config becomes a ModelSpec, and what its checkpoints call each
// weight.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "spec/config.h"
#include "spec/model_spec.h"
#include "spec/tensor_layout.h"

namespace arc {

// One weight: Arc's slot and the checkpoint's name. "{e}" is the expert's number. Names of layer slots follow
// "<prefix>layers.{l}."; others stand alone.
struct NameRow {
  std::string_view slot;
  std::string_view tensor;
  TensorLayout layout;
};

struct Arch {
  std::string_view name;  // as in the config's `architectures`
  ModelSpec (*build)(const Config&) = nullptr;
  std::span<const NameRow> own_names;  // within a layer; these win over kCommonNames
};

// Names outside the layers are the same in every family, behind the prefix; only the head never has one.
inline constexpr std::string_view kEmbedTensor = "embed_tokens.weight";
inline constexpr std::string_view kFinalNormTensor = "norm.weight";
inline constexpr std::string_view kHeadTensor = "lm_head.weight";
// Prefixes that checkpoints put before the transformer's names, most common first.
inline constexpr std::string_view kPrefixes[] = {"model.", "", "model.language_model.", "language_model.model."};

// The names that Llama gave and most families kept.
inline constexpr NameRow kCommonNames[] = {
    {"pre_norm", "input_layernorm.weight", {}},
    {"ffn_pre_norm", "post_attention_layernorm.weight", {}},
    {"attn.q", "self_attn.q_proj.weight", {}},
    {"attn.k", "self_attn.k_proj.weight", {}},
    {"attn.v", "self_attn.v_proj.weight", {}},
    {"attn.o", "self_attn.o_proj.weight", {}},
    {"attn.q_norm", "self_attn.q_norm.weight", {}},
    {"attn.k_norm", "self_attn.k_norm.weight", {}},
    {"mlp.gate", "mlp.gate_proj.weight", {}},
    {"mlp.up", "mlp.up_proj.weight", {}},
    {"mlp.down", "mlp.down_proj.weight", {}},
    {"moe.router", "mlp.gate.weight", {}},
    {"expert.gate", "mlp.experts.{e}.gate_proj.weight", {}},
    {"expert.up", "mlp.experts.{e}.up_proj.weight", {}},
    {"expert.down", "mlp.experts.{e}.down_proj.weight", {}},
};

// The checkpoint's name of a layer slot; null when this architecture has no such slot.
const NameRow* find_name(const Arch& arch, std::string_view slot);

// Throws Error(unsupported) that lists the known names.
const Arch& find_arch(std::string_view name);
std::span<const Arch* const> all_archs();

// ---- shared by model files ----

// Which layers slide, from `layer_types` where the config has it, else from `fallback(config, layer)`.
std::vector<bool> sliding_layers(const Config& config, int n_layers, bool (*fallback)(const Config&, int layer));

// The activation that transformers calls by the name under `key`.
Activation activation_from(const Config& config, std::string_view key = "hidden_act");

}  // namespace arc
