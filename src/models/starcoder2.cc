// StarCoder 2: layer norms, biases everywhere, a plain MLP, one window over all layers.
#include "models/arch.h"

namespace arc {
namespace {

ModelSpec starcoder2(const Config& c) {
  const bool bias = c.b_or("use_bias", true);
  const NormSpec norm{
      .kind = NormSpec::Kind::layer, .eps = static_cast<float>(c.f_or("norm_epsilon", 1e-5)), .bias = true};
  AttentionSpec attention = attention_from(c);
  attention.window = c.i_or("sliding_window", 0);
  attention.qkv_bias = attention.out_bias = bias;
  const MlpSpec mlp{
      .hidden = c.i("intermediate_size"), .act = activation_from(c, "hidden_act"), .gated = false, .bias = bias};
  expect_value(c, "mlp_type", "default");
  expect_value(c, "norm_type", "layer_norm");
  // Second names of keys above, and how the trainer computed the softmax.
  c.ignore({"activation_function", "layer_norm_epsilon", "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32",
            "scale_attn_weights", "embedding_dropout", "residual_dropout"});
  return with_layers(c, model_from(c, "starcoder2", norm, true),
                     {.mixer = attention, .ffn = mlp, .pre = norm, .ffn_pre = norm});
}

constexpr NameRow kNames[] = {
    {"mlp.up", "mlp.c_fc.weight", {}},
    {"mlp.down", "mlp.c_proj.weight", {}},
};

}  // namespace

constinit const Arch kStarcoder2{"Starcoder2ForCausalLM", starcoder2, kNames};

}  // namespace arc
