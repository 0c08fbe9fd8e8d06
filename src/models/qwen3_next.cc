// Qwen3-Next: three gated DeltaNet layers to one full-attention layer with an output gate; experts beside a gated
// shared one.

#include <algorithm>

#include "models/arch.h"

namespace arc {
namespace {

bool is_full(const Config& c, int layer) {
  return (layer + 1) % interval_from(c, "full_attention_interval", 4) == 0;
}

ModelSpec qwen3_next(const Config& c) {
  const NormSpec norm = rms_from(c, 1e-6, true);
  AttentionSpec attention = attention_from(c, 10000.0, 256);
  attention.qk_norm = norm;
  attention.qkv_bias = attention.out_bias = c.b_or("attention_bias", false);
  attention.output_gate = true;
  const DeltaNetSpec delta{.key_heads = c.i_or("linear_num_key_heads", 16),
                           .value_heads = c.i_or("linear_num_value_heads", 32),
                           .key_dim = c.i_or("linear_key_head_dim", 128),
                           .value_dim = c.i_or("linear_value_head_dim", 128),
                           .conv_kernel = c.i_or("linear_conv_kernel_dim", 4),
                           .out_norm = {.kind = NormSpec::Kind::rms, .eps = norm.eps}};
  const MlpSpec dense{.hidden = c.i_or("intermediate_size", 5632), .act = activation_from(c)};
  const MoeSpec moe{.router = {.experts = c.i_or("num_experts", 512),
                               .top_k = c.i_or("num_experts_per_tok", 10),
                               .renormalize = c.b_or("norm_topk_prob", true)},
                    .expert = {.hidden = c.i_or("moe_intermediate_size", 512), .act = dense.act},
                    .shared = {.hidden = c.i_or("shared_expert_intermediate_size", 512), .act = dense.act},
                    .shared_gate = true};
  const int n_layers = layers_from(c);
  const std::vector<bool> full = layers_of_type(c, "full_attention", "linear_attention", n_layers, is_full);
  c.ignore({"full_attention_interval"});

  ModelSpec m = model_from(c, "qwen3next", norm);
  for (int l = 0; l < n_layers; ++l) {
    m.layers.push_back({.mixer = full[l] ? MixerSpec{attention} : MixerSpec{delta},
                        .ffn = is_sparse(c, l) ? FfnSpec{moe} : FfnSpec{dense},
                        .pre = norm,
                        .ffn_pre = norm});
  }
  return m;
}

constexpr NameRow kNames[] = {
    {"delta.qkvz", "linear_attn.in_proj_qkvz.weight", {}},
    {"delta.ba", "linear_attn.in_proj_ba.weight", {}},
    {"delta.conv", "linear_attn.conv1d.weight", {}},
    {"delta.dt_bias", "linear_attn.dt_bias", {}},
    {"delta.a_log", "linear_attn.A_log", {}},
    {"delta.norm", "linear_attn.norm.weight", {}},
    {"delta.o", "linear_attn.out_proj.weight", {}},
    {"shared.router", "mlp.shared_expert_gate.weight", {}},
    {"shared.gate", "mlp.shared_expert.gate_proj.weight", {}},
    {"shared.up", "mlp.shared_expert.up_proj.weight", {}},
    {"shared.down", "mlp.shared_expert.down_proj.weight", {}},
};

}  // namespace

constinit const Arch kQwen3Next{"Qwen3NextForCausalLM", qwen3_next, kNames};

}  // namespace arc
