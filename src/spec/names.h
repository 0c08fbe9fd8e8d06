// What checkpoints call each weight, and how it lies in them.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>

namespace arc {

// How a tensor lies in the checkpoint, where that is not a plain [out, in] matrix per slot.
struct TensorLayout {
  bool stacked = false;       // all experts in one tensor, the expert as its first axis
  bool transposed = false;    // [in, out]
  bool interleaved = false;   // rows of gate and up alternate
  bool negative_exp = false;  // -exp(w) is stored where w is meant
};

// One weight: Arc's slot and the checkpoint's name behind its layer's. "{e}" is the expert's number.
struct NameRow {
  std::string_view slot;
  std::string_view tensor;
  TensorLayout layout;
};

// What the families have in common in one kind of file. Tables of a family's own names win over `common`.
struct Naming {
  std::string_view embed, final_norm, head;
  std::string_view layer;                      // before a layer's number
  std::span<const std::string_view> prefixes;  // one of them stands before all names but the head's; commonest first
  std::span<const NameRow> common;
};

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

// GGUF names tensors alike in every family. Experts are stacked; latent attention's kv_b is split, and its keys turned.
inline constexpr TensorLayout kGgufStack{.stacked = true};
inline constexpr NameRow kGgufCommonNames[] = {
    {"pre_norm", "attn_norm.weight", {}},
    {"post_norm", "post_attention_norm.weight", {}},
    {"ffn_pre_norm", "ffn_norm.weight", {}},
    {"ffn_post_norm", "post_ffw_norm.weight", {}},
    {"attn.q", "attn_q.weight", {}},
    {"attn.k", "attn_k.weight", {}},
    {"attn.v", "attn_v.weight", {}},
    {"attn.qkv", "attn_qkv.weight", {}},
    {"attn.o", "attn_output.weight", {}},
    {"attn.q_norm", "attn_q_norm.weight", {}},
    {"attn.k_norm", "attn_k_norm.weight", {}},
    {"attn.sinks", "attn_sinks.weight", {}},
    {"mlp.gate", "ffn_gate.weight", {}},
    {"mlp.up", "ffn_up.weight", {}},
    {"mlp.down", "ffn_down.weight", {}},
    {"moe.router", "ffn_gate_inp.weight", {}},
    {"moe.correction_bias", "exp_probs_b.bias", {}},
    {"expert.gate", "ffn_gate_exps.weight", kGgufStack},
    {"expert.up", "ffn_up_exps.weight", kGgufStack},
    {"expert.gate_up", "ffn_gate_up_exps.weight", kGgufStack},
    {"expert.down", "ffn_down_exps.weight", kGgufStack},
    {"shared.router", "ffn_gate_inp_shexp.weight", {}},
    {"shared.gate", "ffn_gate_shexp.weight", {}},
    {"shared.up", "ffn_up_shexp.weight", {}},
    {"shared.down", "ffn_down_shexp.weight", {}},
    {"mla.q", "attn_q.weight", {}},
    {"mla.q_a", "attn_q_a.weight", {}},
    {"mla.q_a_norm", "attn_q_a_norm.weight", {}},
    {"mla.q_b", "attn_q_b.weight", {}},
    {"mla.kv_a", "attn_kv_a_mqa.weight", {}},
    {"mla.kv_a_norm", "attn_kv_a_norm.weight", {}},
    {"mla.kv_b", "attn_kv_b.weight", {}},
    {"mla.k_b", "attn_k_b.weight", kGgufStack},
    {"mla.v_b", "attn_v_b.weight", kGgufStack},
    {"mla.o", "attn_output.weight", {}},
    {"delta.qkvz", "ssm_in.weight", {}},
    {"delta.qkv", "attn_qkv.weight", {}},
    {"delta.z", "attn_gate.weight", {}},
    {"delta.ba", "ssm_ba.weight", {}},
    {"delta.conv", "ssm_conv1d.weight", {}},
    {"delta.dt_bias", "ssm_dt.bias", {}},
    {"delta.a_log", "ssm_a", {.negative_exp = true}},
    {"delta.norm", "ssm_norm.weight", {}},
    {"delta.o", "ssm_out.weight", {}},
};

inline constexpr std::string_view kHubPrefixes[] = {"model.", "", "model.language_model.", "language_model.model."};
inline constexpr std::string_view kGgufPrefixes[] = {""};
inline constexpr Naming kHubNaming{.embed = "embed_tokens.weight",
                                   .final_norm = "norm.weight",
                                   .head = "lm_head.weight",
                                   .layer = "layers.",
                                   .prefixes = kHubPrefixes,
                                   .common = kCommonNames};
inline constexpr Naming kGgufNaming{.embed = "token_embd.weight",
                                    .final_norm = "output_norm.weight",
                                    .head = "output.weight",
                                    .layer = "blk.",
                                    .prefixes = kGgufPrefixes,
                                    .common = kGgufCommonNames};

// The file's name of a layer slot, `own` rows first; null when the family has no such slot.
inline const NameRow* find_name(std::span<const NameRow> own, std::span<const NameRow> common, std::string_view slot) {
  const auto has_slot = [slot](const NameRow& row) { return row.slot == slot; };
  if (const auto row = std::ranges::find_if(own, has_slot); row != own.end()) return &*row;
  const auto row = std::ranges::find_if(common, has_slot);
  return row == common.end() ? nullptr : &*row;
}

}  // namespace arc
