// Phi 3, 3.5, 4 and 4-mini: Llama with q, k, v in one tensor and gate, up in another, and LongRoPE. Phi-3.5-MoE: layer
// norms, biases, and experts that sparsemixer chooses.
#include "base/error.h"
#include "models/arch.h"

namespace arc {
namespace {

// Both families slide over all layers or none. The context before LongRoPE stands outside rope_scaling.
AttentionSpec attention(const Config& c, double theta) {
  AttentionSpec a = attention_from(c, theta);
  a.window = c.i_or("sliding_window", 0);
  c.ignore({"original_max_position_embeddings"});
  return a;
}

ModelSpec phi3(const Config& c) {
  const NormSpec norm = rms_from(c, 1e-5);
  const MlpSpec mlp{.hidden = c.i("intermediate_size"), .act = activation_from(c)};
  // What Phi-4-mini's configs say of variants that no checkpoint has.
  for (const char* key : {"attention_bias", "mlp_bias", "lm_head_bias"}) expect_off(c, key);
  if (c.i_or("full_attn_mod", 1) != 1 || c.i_or("interpolate_factor", 1) != 1) {
    throw Error(ErrorCode::unsupported,
                "config.json: full_attn_mod and interpolate_factor other than 1 are not supported");
  }
  return with_layers(c, model_from(c, "phi3", norm),
                     {.mixer = attention(c, 10000.0), .ffn = mlp, .pre = norm, .ffn_pre = norm});
}

ModelSpec phi_moe(const Config& c) {
  const NormSpec norm{
      .kind = NormSpec::Kind::layer, .eps = static_cast<float>(c.f_or("rms_norm_eps", 1e-5)), .bias = true};
  AttentionSpec mixer = attention(c, 1e6);
  mixer.qkv_bias = mixer.out_bias = c.b_or("attention_bias", false);
  const MoeSpec moe{.router = {.experts = c.i_or("num_local_experts", 16),
                               .top_k = c.i_or("num_experts_per_tok", 2),
                               .score = RouterSpec::Score::sparsemixer,
                               .jitter = c.f_or("router_jitter_noise", 0.01)},
                    .expert = {.hidden = c.i("intermediate_size"), .act = activation_from(c)}};
  c.ignore({"input_jitter_noise", "expert_dropout"});  // of training

  ModelSpec m = model_from(c, "phimoe", norm);
  m.head_bias = c.b_or("lm_head_bias", false);
  return with_layers(c, std::move(m), {.mixer = mixer, .ffn = moe, .pre = norm, .ffn_pre = norm});
}

constexpr NameRow kPhi3Names[] = {
    {"attn.qkv", "self_attn.qkv_proj.weight", {}},
    {"mlp.gate_up", "mlp.gate_up_proj.weight", {}},
};

constexpr NameRow kPhiMoeNames[] = {
    {"moe.router", "block_sparse_moe.gate.weight", {}},
    {"expert.gate", "block_sparse_moe.experts.{e}.w1.weight", {}},
    {"expert.up", "block_sparse_moe.experts.{e}.w3.weight", {}},
    {"expert.down", "block_sparse_moe.experts.{e}.w2.weight", {}},
};

}  // namespace

constinit const Arch kPhi3{"Phi3ForCausalLM", phi3, kPhi3Names};
constinit const Arch kPhiMoe{"PhiMoEForCausalLM", phi_moe, kPhiMoeNames};

}  // namespace arc
