// GLM-4 (0414), dense: sandwich norms, half of each head rotated in interleaved pairs, gate and up in one tensor.
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

constexpr NameRow kNames[] = {
    {"post_norm", "post_self_attn_layernorm.weight", {}},
    {"ffn_post_norm", "post_mlp_layernorm.weight", {}},
    {"mlp.gate_up", "mlp.gate_up_proj.weight", {}},
};

}  // namespace

constinit const Arch kGlm4{"Glm4ForCausalLM", glm4, kNames};

}  // namespace arc
