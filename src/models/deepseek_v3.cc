// DeepSeek-V3 and R1: latent attention, leading dense layers, then sigmoid-routed experts in groups beside shared
// experts.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/arch.h"
#include "spec/rope.h"

namespace arc {
namespace {

// The softmax scale takes YaRN's temperature squared, on top of the factor on cos and sin.
MlaSpec latent_attention(const Config& c) {
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
  return a;
}

ModelSpec deepseek_v3(const Config& c) {
  const NormSpec norm = rms_from(c);
  const MlaSpec attention = latent_attention(c);
  const MlpSpec dense{.hidden = c.i("intermediate_size"), .act = activation_from(c)};
  const int expert_hidden = c.i("moe_intermediate_size");
  const MoeSpec moe{.router = {.experts = c.i_or("n_routed_experts", c.i_or("num_local_experts", 0)),
                               .top_k = c.i("num_experts_per_tok"),
                               .score = RouterSpec::Score::sigmoid,
                               .correction_bias = true,
                               .groups = c.i_or("n_group", 1),
                               .top_groups = c.i_or("topk_group", 1),
                               .renormalize = c.b_or("norm_topk_prob", true),
                               .scale = static_cast<float>(c.f_or("routed_scaling_factor", 1.0))},
                    .expert = {.hidden = expert_hidden, .act = dense.act},
                    .shared = {.hidden = expert_hidden * c.i_or("n_shared_experts", 0), .act = dense.act}};
  const int first_sparse = c.i_or("first_k_dense_replace", 0), every = interval_from(c, "moe_layer_freq", 1);
  expect_value(c, "scoring_func", "sigmoid");
  expect_value(c, "topk_method", "noaux_tc");
  c.ignore({"head_dim", "qk_head_dim", "pretraining_tp", "aux_loss_alpha", "seq_aux", "ep_size",
            "num_nextn_predict_layers", "num_mtp_layers", "n_routed_experts"});

  ModelSpec m = model_from(c, "deepseek3", norm);
  for (int l = 0; l < c.i("num_hidden_layers"); ++l) {
    const bool sparse = l >= first_sparse && l % every == 0;
    m.layers.push_back(
        {.mixer = attention, .ffn = sparse ? FfnSpec{moe} : FfnSpec{dense}, .pre = norm, .ffn_pre = norm});
  }
  return m;
}

constexpr NameRow kNames[] = {
    {"shared.gate", "mlp.shared_experts.gate_proj.weight", {}},
    {"shared.up", "mlp.shared_experts.up_proj.weight", {}},
    {"shared.down", "mlp.shared_experts.down_proj.weight", {}},
};

}  // namespace

constinit const Arch kDeepseekV3{"DeepseekV3ForCausalLM", deepseek_v3, kNames};

}  // namespace arc
