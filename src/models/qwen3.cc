// Qwen3 dense and MoE: pre-norm decoder, GQA with per-head q/k RMSNorm, gated SiLU or top-k experts.

#include "models/arch.h"

namespace arc {
namespace {

bool slides(const Config& c, int layer) {
  return layer >= c.i_or("max_window_layers", 28);
}
bool always(const Config&, int) {
  return true;
}

ModelSpec qwen3(const Config& c) {
  const NormSpec norm = rms_from(c);
  AttentionSpec attention = attention_from(c, 10000.0, 128);
  attention.qk_norm = norm;
  attention.qkv_bias = attention.out_bias = c.b_or("attention_bias", false);
  const MlpSpec dense{.hidden = c.i("intermediate_size"), .act = activation_from(c)};
  const MoeSpec moe{.router = {.experts = c.i_or("num_experts", c.i_or("num_local_experts", 0)),
                               .top_k = c.i_or("num_experts_per_tok", 0),
                               .renormalize = c.b_or("norm_topk_prob", false)},
                    .expert = {.hidden = c.i_or("moe_intermediate_size", 0), .act = dense.act}};
  const bool sparse_model = moe.router.experts > 0;
  const int window = c.b_or("use_sliding_window", false) ? c.i_or("sliding_window", 0) : 0;
  const int n_layers = layers_from(c);
  const std::vector<bool> sliding = sliding_layers(c, n_layers, sparse_model ? always : slides);
  c.ignore({"sliding_window", "max_window_layers"});

  ModelSpec m = model_from(c, sparse_model ? "qwen3moe" : "qwen3", norm);
  for (int l = 0; l < n_layers; ++l) {
    const bool sparse = sparse_model && is_sparse(c, l);
    attention.window = sliding[l] ? window : 0;
    m.layers.push_back(
        {.mixer = attention, .ffn = sparse ? FfnSpec{moe} : FfnSpec{dense}, .pre = norm, .ffn_pre = norm});
  }
  return m;
}

}  // namespace

constinit const Arch kQwen3{"Qwen3ForCausalLM", qwen3, {}};
constinit const Arch kQwen3Moe{"Qwen3MoeForCausalLM", qwen3, {}};

}  // namespace arc
