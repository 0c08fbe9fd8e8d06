// Gemma 3 text: sandwich norms, scaled embeddings, q/k norm, sliding and full layers with a rotation of its own for
// each. Without its head and reading both ways it is EmbeddingGemma (arXiv 2509.20354).
#include <cmath>

#include "models/arch.h"
#include "spec/rope.h"

namespace arc {
namespace {

bool slides(const Config& c, int layer) {
  return (layer + 1) % interval_from(c, "sliding_window_pattern", 6) != 0;
}

ModelSpec build(const Config& c, bool causal) {
  const NormSpec norm = rms_from(c, 1e-6, true);
  const int head_dim = c.i_or("head_dim", 256);
  const bool bias = c.b_or("attention_bias", false);
  AttentionSpec attention{.heads = c.i_or("num_attention_heads", 8),
                          .kv_heads = c.i_or("num_key_value_heads", 4),
                          .head_dim = head_dim,
                          .qk_norm = norm,
                          .scale = static_cast<float>(1.0 / std::sqrt(c.f_or("query_pre_attn_scalar", 256.0))),
                          .softcap = static_cast<float>(c.f_or("attn_logit_softcapping", 0.0)),
                          .qkv_bias = bias,
                          .out_bias = bias,
                          .causal = causal};
  // Sliding layers rotate without scaling, with a theta of their own in the flat dialect of the config.
  const RopeSpec global = rope_from(c, head_dim, "full_attention", 1e6);
  const RopeSpec local = c.has("rope_parameters")
                             ? rope_from(c, head_dim, "sliding_attention")
                             : RopeSpec{.dims = head_dim, .theta = c.f_or("rope_local_base_freq", 10000.0)};
  const MlpSpec mlp{.hidden = c.i("intermediate_size"), .act = activation_from(c, "hidden_activation")};
  const int n_layers = layers_from(c), sliding_window = c.i_or("sliding_window", 4096);
  const int window = causal ? sliding_window : sliding_window / 2 + 1;  // to each side, the token itself included
  const std::vector<bool> sliding = sliding_layers(c, n_layers, slides);
  c.ignore({"hidden_act", "rope_local_base_freq", "sliding_window_pattern", "_sliding_window_pattern"});
  c.ignore({"vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index", "image_token_index"});

  ModelSpec m = model_from(c, "gemma3", norm, true);
  m.embed_scale = static_cast<float>(std::sqrt(static_cast<double>(m.dim)));
  m.round_embed_scale = true;
  for (int l = 0; l < n_layers; ++l) {
    attention.window = sliding[l] ? window : 0;
    attention.rope = sliding[l] ? local : global;
    m.layers.push_back({.mixer = attention, .ffn = mlp, .pre = norm, .post = norm, .ffn_pre = norm, .ffn_post = norm});
  }
  return m;
}

ModelSpec gemma3(const Config& c) {
  expect_off(c, "use_bidirectional_attention");
  ModelSpec m = build(c, true);
  m.logit_softcap = static_cast<float>(c.f_or("final_logit_softcapping", 0.0));
  return m;
}

ModelSpec gemma3_text_model(const Config& c) {
  ModelSpec m = build(c, !c.b_or("use_bidirectional_attention", false));
  m.arch = "embeddinggemma";
  m.has_head = false;
  c.ignore({"final_logit_softcapping"});
  return m;
}

constexpr NameRow kNames[] = {
    {"post_norm", "post_attention_layernorm.weight", {}},
    {"ffn_pre_norm", "pre_feedforward_layernorm.weight", {}},
    {"ffn_post_norm", "post_feedforward_layernorm.weight", {}},
};

}  // namespace

constinit const Arch kGemma3{"Gemma3ForCausalLM", gemma3, kNames};
constinit const Arch kEmbeddingGemma{"Gemma3TextModel", gemma3_text_model, kNames};

}  // namespace arc
