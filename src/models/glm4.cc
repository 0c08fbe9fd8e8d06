// GLM-4 (0414), dense: sandwich norms, half of each head rotated in interleaved pairs, gate and up in one tensor.
// GLM-4.5 to 4.7: pre-norms, pairs as elsewhere, leading dense layers, then experts as DeepSeek V3's.
#include "models/arch.h"

namespace arc {
namespace {

ModelSpec glm4(const Config& c) {
  const NormSpec norm = rms_from(c, 1.5625e-7);
  AttentionSpec attention = attention_from(c);
  attention.rope.interleaved = true;
  attention.qkv_bias = c.b_or("attention_bias", false);
  const MlpSpec mlp{.hidden = c.i("intermediate_size"), .act = activation_from(c)};
  return with_layers(c, model_from(c, "glm4", norm),
                     {.mixer = attention, .ffn = mlp, .pre = norm, .post = norm, .ffn_pre = norm, .ffn_post = norm});
}

ModelSpec glm4_moe(const Config& c) {
  const NormSpec norm = rms_from(c, 1e-5);
  AttentionSpec attention = attention_from(c, 10000.0, 0, 0.5);
  attention.qkv_bias = c.b_or("attention_bias", false);
  if (c.b_or("use_qk_norm", false)) attention.qk_norm = norm;
  const MlpSpec dense{.hidden = c.i("intermediate_size"), .act = activation_from(c)};
  const MoeSpec moe = sigmoid_experts_from(c);
  const int first_sparse = c.i_or("first_k_dense_replace", 1);

  ModelSpec m = model_from(c, "glm4moe", norm);
  for (int l = 0; l < layers_from(c); ++l) {
    m.layers.push_back(
        {.mixer = attention, .ffn = l >= first_sparse ? FfnSpec{moe} : FfnSpec{dense}, .pre = norm, .ffn_pre = norm});
  }
  return m;
}

constexpr NameRow kNames[] = {
    {"post_norm", "post_self_attn_layernorm.weight", {}},
    {"ffn_post_norm", "post_mlp_layernorm.weight", {}},
    {"mlp.gate_up", "mlp.gate_up_proj.weight", {}},
};

}  // namespace

constinit const Arch kGlm4{"Glm4ForCausalLM", glm4, kNames};
constinit const Arch kGlm4Moe{"Glm4MoeForCausalLM", glm4_moe, kSharedExpertNames};

}  // namespace arc
