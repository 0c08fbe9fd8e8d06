// Phi 1 to 2: attention and a plain MLP side by side behind one layer norm, biases everywhere, the head's too.
#include "models/arch.h"

namespace arc {
namespace {

ModelSpec phi(const Config& c) {
  const NormSpec norm{
      .kind = NormSpec::Kind::layer, .eps = static_cast<float>(c.f_or("layer_norm_eps", 1e-5)), .bias = true};
  AttentionSpec attention = attention_from(c);
  attention.qkv_bias = attention.out_bias = true;
  if (c.b_or("qk_layernorm", false)) attention.qk_norm = norm;
  const MlpSpec mlp{.hidden = c.i("intermediate_size"), .act = activation_from(c), .gated = false, .bias = true};
  ModelSpec m = model_from(c, "phi", norm);
  m.head_bias = true;
  return with_layers(c, std::move(m), {.mixer = attention, .ffn = mlp, .pre = norm, .parallel = true});
}

constexpr NameRow kNames[] = {
    {"final_norm", "final_layernorm.weight", {}},
    {"attn.o", "self_attn.dense.weight", {}},
    {"attn.q_norm", "self_attn.q_layernorm.weight", {}},
    {"attn.k_norm", "self_attn.k_layernorm.weight", {}},
    {"mlp.up", "mlp.fc1.weight", {}},
    {"mlp.down", "mlp.fc2.weight", {}},
};

}  // namespace

constinit const Arch kPhi{"PhiForCausalLM", phi, kNames};

}  // namespace arc
