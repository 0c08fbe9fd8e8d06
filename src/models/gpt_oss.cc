// GPT-OSS 20B and 120B: alternating sliding and full attention with sinks, YaRN, biased experts with a clamped SwiGLU.
#include "models/arch.h"

namespace arc {
namespace {

bool slides(const Config&, int layer) {
  return (layer + 1) % 2 != 0;
}

ModelSpec gpt_oss(const Config& c) {
  const NormSpec norm = rms_from(c, 1e-5);
  AttentionSpec attention = attention_from(c, 150000.0, 64);
  attention.qkv_bias = attention.out_bias = c.b_or("attention_bias", true);
  attention.sinks = true;
  const MoeSpec moe{.router = {.experts = c.i_or("num_local_experts", c.i_or("num_experts", 0)),
                               .top_k = c.i_or("num_experts_per_tok", c.i_or("experts_per_token", 4)),
                               .score = RouterSpec::Score::softmax_selected,
                               .bias = true},
                    .expert = {.hidden = c.i("intermediate_size"),
                               .act = {.kind = Activation::Kind::clamped_swiglu,
                                       .limit = static_cast<float>(c.f_or("swiglu_limit", 7.0))},
                               .bias = true}};
  const int n_layers = layers_from(c);
  const int window = c.i_or("sliding_window", 0);
  const std::vector<bool> sliding = sliding_layers(c, n_layers, slides);
  c.ignore({"hidden_act", "initial_context_length", "experts_per_token"});

  ModelSpec m = model_from(c, "gpt-oss", norm);
  for (int l = 0; l < n_layers; ++l) {
    attention.window = sliding[l] ? window : 0;
    m.layers.push_back({.mixer = attention, .ffn = moe, .pre = norm, .ffn_pre = norm});
  }
  return m;
}

constexpr TensorLayout kStacked{.stacked = true, .transposed = true};
constexpr TensorLayout kStackedPairs{.stacked = true, .transposed = true, .interleaved = true};

constexpr NameRow kNames[] = {
    {"attn.sinks", "self_attn.sinks", {}},
    {"moe.router", "mlp.router.weight", {}},
    {"expert.gate_up", "mlp.experts.gate_up_proj", kStackedPairs},
    {"expert.down", "mlp.experts.down_proj", kStacked},
};

}  // namespace

constinit const Arch kGptOss{"GptOssForCausalLM", gpt_oss, kNames};

}  // namespace arc
