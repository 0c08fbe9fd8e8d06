// Families with latent attention: DeepSeek V2 (softmax-routed experts, in groups that their best expert stands for),
// V3 and R1 (sigmoid-routed), GLM-4.7-Flash (as V3); leading dense layers, shared experts.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/arch.h"
#include "spec/rope.h"

namespace arc {

MlaSpec latent_attention_from(const Config& c) {
  MlaSpec a{.heads = c.i("num_attention_heads"),
            .q_rank = c.i_or("q_lora_rank", 0),
            .kv_rank = c.i("kv_lora_rank"),
            .nope_dim = c.i("qk_nope_head_dim"),
            .rope_dim = c.i("qk_rope_head_dim"),
            .v_dim = c.i("v_head_dim"),
            .rope = rope_from(c, c.i("qk_rope_head_dim")),
            .latent_norm = {.kind = NormSpec::Kind::rms, .eps = 1e-6f},  // whatever rms_norm_eps says
            .a_bias = c.b_or("attention_bias", false),
            .out_bias = c.b_or("attention_bias", false)};
  if (c.i_or("num_key_value_heads", a.heads) != a.heads) {
    throw Error(ErrorCode::unsupported,
                "config.json: latent attention shares one latent; num_key_value_heads must equal the heads");
  }
  a.rope.interleaved = c.b_or("rope_interleave", true);
  const double mscale = a.rope.mscale_all_dim == 0.0 ? 1.0 : yarn_mscale(a.rope.factor, a.rope.mscale_all_dim);
  a.scale = static_cast<float>(mscale * mscale / std::sqrt(static_cast<double>(a.nope_dim + a.rope_dim)));
  c.ignore({"head_dim", "qk_head_dim"});  // follow from the dims above
  return a;
}

MoeSpec sigmoid_experts_from(const Config& c) {
  const MlpSpec expert{.hidden = c.i("moe_intermediate_size"), .act = activation_from(c)};
  MlpSpec shared = expert;
  shared.hidden *= c.i_or("n_shared_experts", 0);
  expect_value(c, "scoring_func", "sigmoid");
  expect_value(c, "topk_method", "noaux_tc");
  c.ignore({"num_nextn_predict_layers", "num_mtp_layers"});  // layers behind the last, which answer nothing
  return {.router = {.experts = c.i_or("n_routed_experts", c.i_or("num_local_experts", 0)),
                     .top_k = c.i("num_experts_per_tok"),
                     .score = RouterSpec::Score::sigmoid,
                     .correction_bias = true,
                     .groups = c.i_or("n_group", 1),
                     .top_groups = c.i_or("topk_group", 1),
                     .renormalize = c.b_or("norm_topk_prob", true),
                     .scale = static_cast<float>(c.f_or("routed_scaling_factor", 1.0))},
          .expert = expert,
          .shared = shared};
}

namespace {

// Latent attention in every layer; layers from first_k_dense_replace on have experts, or every n-th of them.
ModelSpec deepseek(const Config& c, std::string_view arch, const MlpSpec& dense, const MoeSpec& moe) {
  const NormSpec norm = rms_from(c);
  const MlaSpec attention = latent_attention_from(c);
  const int first_sparse = c.i_or("first_k_dense_replace", 0), every = interval_from(c, "moe_layer_freq", 1);
  c.ignore({"pretraining_tp", "aux_loss_alpha", "seq_aux", "ep_size"});  // of training

  ModelSpec m = model_from(c, arch, norm);
  for (int l = 0; l < layers_from(c); ++l) {
    const bool sparse = l >= first_sparse && l % every == 0;
    m.layers.push_back(
        {.mixer = attention, .ffn = sparse ? FfnSpec{moe} : FfnSpec{dense}, .pre = norm, .ffn_pre = norm});
  }
  return m;
}

ModelSpec deepseek_v3(const Config& c) {
  const MlpSpec dense{.hidden = c.i("intermediate_size"), .act = activation_from(c)};
  return deepseek(c, "deepseek3", dense, sigmoid_experts_from(c));
}

ModelSpec deepseek_v2(const Config& c) {
  const bool bias = c.b_or("mlp_bias", false);
  const MlpSpec dense{.hidden = c.i("intermediate_size"), .act = activation_from(c), .bias = bias};
  const int expert_hidden = c.i("moe_intermediate_size");
  MoeSpec moe{.router = {.experts = c.i("n_routed_experts"),
                         .top_k = c.i("num_experts_per_tok"),
                         .group_best = 1,
                         .scale = static_cast<float>(c.f_or("routed_scaling_factor", 1.0))},
              .expert = {.hidden = expert_hidden, .act = dense.act},
              .shared = {.hidden = expert_hidden * c.i_or("n_shared_experts", 2), .act = dense.act, .bias = bias}};
  expect_value(c, "scoring_func", "softmax");
  expect_off(c, "norm_topk_prob");
  if (c.s_or("topk_method", "greedy") == "group_limited_greedy") {
    moe.router.groups = c.i("n_group");
    moe.router.top_groups = c.i("topk_group");
  } else {
    expect_value(c, "topk_method", "greedy");
    c.ignore({"n_group", "topk_group"});
  }
  return deepseek(c, "deepseek2", dense, moe);
}

bool all_but_first(const Config&, int layer) {
  return layer > 0;
}

ModelSpec glm4_moe_lite(const Config& c) {
  const NormSpec norm = rms_from(c, 1e-5);
  const MlaSpec attention = latent_attention_from(c);
  const MlpSpec dense{.hidden = c.i("intermediate_size"), .act = activation_from(c)};
  const MoeSpec moe = sigmoid_experts_from(c);
  const int n_layers = layers_from(c);
  const std::vector<bool> sparse = layers_of_type(c, "sparse", "dense", n_layers, all_but_first, "mlp_layer_types");
  c.ignore({"pretraining_tp"});
  if (c.i_or("first_k_dense_replace", 1) != 1) {
    throw Error(ErrorCode::unsupported,
                "config.json: first_k_dense_replace must be 1; mlp_layer_types says which layers are dense");
  }

  ModelSpec m = model_from(c, "glm4moelite", norm);
  for (int l = 0; l < n_layers; ++l) {
    m.layers.push_back(
        {.mixer = attention, .ffn = sparse[l] ? FfnSpec{moe} : FfnSpec{dense}, .pre = norm, .ffn_pre = norm});
  }
  return m;
}

}  // namespace

constinit const Arch kDeepseekV2{"DeepseekV2ForCausalLM", deepseek_v2, kSharedExpertNames};
constinit const Arch kDeepseekV3{"DeepseekV3ForCausalLM", deepseek_v3, kSharedExpertNames};
constinit const Arch kGlm4MoeLite{"Glm4MoeLiteForCausalLM", glm4_moe_lite, kSharedExpertNames};

}  // namespace arc
