// What checkpoints call each weight, and how it lies in them.
#pragma once

#include <algorithm>
#include <iterator>
#include <span>
#include <string_view>

namespace arc {

// How a tensor lies in the checkpoint, where that is not a plain [out, in] matrix per slot.
struct TensorLayout {
  bool stacked = false;      // all experts in one tensor, the expert as its first axis
  bool transposed = false;   // [in, out]
  bool interleaved = false;  // rows of gate and up alternate
};

// One weight: Arc's slot and the checkpoint's name. "{e}" is the expert's number. Names of layer slots follow
// "<prefix>layers.{l}."; others stand alone.
struct NameRow {
  std::string_view slot;
  std::string_view tensor;
  TensorLayout layout;
};

// Names outside the layers are the same in every family, behind the prefix; only the head never has one.
inline constexpr std::string_view kEmbedTensor = "embed_tokens.weight";
inline constexpr std::string_view kFinalNormTensor = "norm.weight";
inline constexpr std::string_view kHeadTensor = "lm_head.weight";
// Prefixes that checkpoints put before the transformer's names, most common first.
inline constexpr std::string_view kPrefixes[] = {"model.", "", "model.language_model.", "language_model.model."};

// The names that Llama gave and most families kept; latent attention under DeepSeek's.
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
    {"mla.q", "self_attn.q_proj.weight", {}},
    {"mla.q_a", "self_attn.q_a_proj.weight", {}},
    {"mla.q_a_norm", "self_attn.q_a_layernorm.weight", {}},
    {"mla.q_b", "self_attn.q_b_proj.weight", {}},
    {"mla.kv_a", "self_attn.kv_a_proj_with_mqa.weight", {}},
    {"mla.kv_a_norm", "self_attn.kv_a_layernorm.weight", {}},
    {"mla.kv_b", "self_attn.kv_b_proj.weight", {}},
    {"mla.o", "self_attn.o_proj.weight", {}},
    {"moe.correction_bias", "mlp.gate.e_score_correction_bias", {}},
};

// The checkpoint's name of a layer slot, `own` rows first; null when the family has no such slot.
inline const NameRow* find_name(std::span<const NameRow> own, std::string_view slot) {
  const auto has_slot = [slot](const NameRow& row) { return row.slot == slot; };
  if (const auto row = std::ranges::find_if(own, has_slot); row != own.end()) return &*row;
  const auto row = std::ranges::find_if(kCommonNames, has_slot);
  return row == std::end(kCommonNames) ? nullptr : row;
}

}  // namespace arc
