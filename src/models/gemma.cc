// Gemma 1 and 2: scaled embeddings, norms of 1 + w, GeGLU. Gemma 2 adds norms behind both blocks, soft caps, and a
// window on every other layer.
#include <cmath>

#include "models/arch.h"

namespace arc {
namespace {

bool slides(const Config&, int layer) {
  return layer % 2 == 0;
}

ModelSpec gemma_model(const Config& c, std::string_view arch, const NormSpec& norm) {
  ModelSpec m = model_from(c, arch, norm, true);
  m.embed_scale = static_cast<float>(std::sqrt(static_cast<double>(m.dim)));
  m.round_embed_scale = true;
  return m;
}

ModelSpec gemma(const Config& c) {
  const NormSpec norm = rms_from(c, 1e-6, true);
  AttentionSpec attention = attention_from(c);
  attention.qkv_bias = attention.out_bias = c.b_or("attention_bias", false);
  // The first configs say "gelu" where the models were trained with its tanh form.
  MlpSpec mlp{.hidden = c.i("intermediate_size"), .act = {.kind = Activation::Kind::gelu_tanh}};
  if (c.has("hidden_activation")) {
    mlp.act = activation_from(c, "hidden_activation");
    c.ignore({"hidden_act"});
  } else if (c.s_or("hidden_act", "gelu_pytorch_tanh") != "gelu") {
    mlp.act = activation_from(c, "hidden_act");
  }
  expect_off(c, "use_bidirectional_attention");
  return with_layers(c, gemma_model(c, "gemma", norm), {.mixer = attention, .ffn = mlp, .pre = norm, .ffn_pre = norm});
}

ModelSpec gemma2(const Config& c) {
  const NormSpec norm = rms_from(c, 1e-6, true);
  AttentionSpec attention = attention_from(c);
  attention.qkv_bias = attention.out_bias = c.b_or("attention_bias", false);
  attention.scale = static_cast<float>(1.0 / std::sqrt(c.f_or("query_pre_attn_scalar", 256.0)));
  attention.softcap = static_cast<float>(c.f_or("attn_logit_softcapping", 50.0));
  const MlpSpec mlp{.hidden = c.i("intermediate_size"), .act = activation_from(c, "hidden_activation")};
  const int n_layers = layers_from(c), window = c.i_or("sliding_window", 4096);
  const std::vector<bool> sliding = sliding_layers(c, n_layers, slides);
  expect_off(c, "use_bidirectional_attention");
  c.ignore({"hidden_act", "sliding_window_size"});

  ModelSpec m = gemma_model(c, "gemma2", norm);
  m.logit_softcap = static_cast<float>(c.f_or("final_logit_softcapping", 30.0));
  for (int l = 0; l < n_layers; ++l) {
    attention.window = sliding[l] ? window : 0;
    m.layers.push_back({.mixer = attention, .ffn = mlp, .pre = norm, .post = norm, .ffn_pre = norm, .ffn_post = norm});
  }
  return m;
}

constexpr NameRow kGemma2Names[] = {
    {"post_norm", "post_attention_layernorm.weight", {}},
    {"ffn_pre_norm", "pre_feedforward_layernorm.weight", {}},
    {"ffn_post_norm", "post_feedforward_layernorm.weight", {}},
};

}  // namespace

constinit const Arch kGemma{"GemmaForCausalLM", gemma, {}};
constinit const Arch kGemma2{"Gemma2ForCausalLM", gemma2, kGemma2Names};

}  // namespace arc
