// Granite 4.0, dense and hybrid: attention or Mamba-2, then a gated MLP with or without experts beside it; multipliers
// on embedding, residuals, scores and logits.
#include <algorithm>

#include "base/error.h"
#include "models/arch.h"

namespace arc {
namespace {

bool always(const Config&, int) {
  return true;
}

Mamba2Spec mamba2(const Config& c, const NormSpec& norm) {
  const int heads = std::max(c.i_or("mamba_n_heads", 128), 1), width = c.i_or("mamba_expand", 2) * c.i("hidden_size");
  Mamba2Spec m{.heads = heads,
               .head_dim = width / heads,
               .groups = c.i_or("mamba_n_groups", 1),
               .state_dim = c.i_or("mamba_d_state", 256),
               .conv_kernel = c.i_or("mamba_d_conv", 4),
               .conv_bias = c.b_or("mamba_conv_bias", true),
               .bias = c.b_or("mamba_proj_bias", false),
               .out_norm = norm};
  const int head_dim = c.is_string("mamba_d_head") ? m.head_dim : c.i_or("mamba_d_head", m.head_dim);
  if (int64_t{head_dim} * heads != width) {
    throw Error(ErrorCode::invalid_argument,
                "config.json: mamba_n_heads x mamba_d_head must be mamba_expand x hidden_size");
  }
  if (const std::vector<double> limit = c.numbers_or_empty("time_step_limit"); !limit.empty()) {
    if (limit.size() != 2)
      throw Error(ErrorCode::invalid_argument, "config.json: time_step_limit must hold two numbers");
    m.dt_min = limit.front();
    m.dt_max = limit.back();
  }
  return m;
}

// Hubs say mamba and attention, transformers 5 linear_attention and full_attention.
std::vector<bool> mamba_layers(const Config& c, int n_layers) {
  const std::vector<std::string> types = c.strings_or_empty("layer_types");
  const bool old = std::ranges::any_of(types, [](const std::string& t) { return t == "mamba" || t == "attention"; });
  return layers_of_type(c, old ? "mamba" : "linear_attention", old ? "attention" : "full_attention", n_layers, always);
}

ModelSpec granite_hybrid(const Config& c) {
  const NormSpec norm = rms_from(c);
  AttentionSpec attention = attention_from(c);
  // Without position_embedding_type no layer rotates, whatever the rope's own keys say.
  if (c.s_or("position_embedding_type", "nope") != "rope") {
    expect_value(c, "position_embedding_type", "nope");
    attention.rope = {};
  }
  attention.scale = static_cast<float>(c.f_or("attention_multiplier", 1.0));
  attention.qkv_bias = attention.out_bias = c.b_or("attention_bias", false);
  const MlpSpec shared{.hidden = c.i_or("shared_intermediate_size", 1024), .act = activation_from(c)};
  const MoeSpec moe{.router = {.experts = c.i_or("num_local_experts", 8),
                               .top_k = c.i_or("num_experts_per_tok", 2),
                               .score = RouterSpec::Score::softmax_selected},
                    .expert = {.hidden = c.i("intermediate_size"), .act = shared.act},
                    .shared = shared};
  const int n_layers = layers_from(c);
  const std::vector<bool> recurrent = mamba_layers(c, n_layers);
  const bool hybrid = std::ranges::find(recurrent, true) != recurrent.end();
  const Mamba2Spec mamba = hybrid ? mamba2(c, norm) : Mamba2Spec{};
  c.ignore({"mamba_n_heads", "mamba_expand", "mamba_d_head", "mamba_n_groups", "mamba_d_state", "mamba_d_conv",
            "mamba_conv_bias", "mamba_proj_bias", "mamba_chunk_size", "time_step_limit"});  // where no layer has them
  expect_value(c, "normalization_function", "rmsnorm");
  c.ignore({"init_method"});

  ModelSpec m = model_from(c, "granitehybrid", norm);
  m.embed_scale = static_cast<float>(c.f_or("embedding_multiplier", 1.0));
  m.logit_scale = static_cast<float>(1.0 / c.f_or("logits_scaling", 1.0));
  for (int l = 0; l < n_layers; ++l) {
    m.layers.push_back({.mixer = recurrent[l] ? MixerSpec{mamba} : MixerSpec{attention},
                        .ffn = moe.router.experts != 0 ? FfnSpec{moe} : FfnSpec{shared},
                        .pre = norm,
                        .ffn_pre = norm,
                        .residual_scale = static_cast<float>(c.f_or("residual_multiplier", 1.0))});
  }
  return m;
}

constexpr TensorLayout kStacked{.stacked = true};

constexpr NameRow kNames[] = {
    {"mamba.in", "mamba.in_proj.weight", {}},
    {"mamba.conv", "mamba.conv1d.weight", {}},
    {"mamba.dt_bias", "mamba.dt_bias", {}},
    {"mamba.a_log", "mamba.A_log", {}},
    {"mamba.d", "mamba.D", {}},
    {"mamba.norm", "mamba.norm.weight", {}},
    {"mamba.o", "mamba.out_proj.weight", {}},
    {"mlp.gate_up", "shared_mlp.input_linear.weight", {}},
    {"mlp.down", "shared_mlp.output_linear.weight", {}},
    {"shared.gate_up", "shared_mlp.input_linear.weight", {}},
    {"shared.down", "shared_mlp.output_linear.weight", {}},
    {"moe.router", "block_sparse_moe.router.layer.weight", {}},
    {"expert.gate_up", "block_sparse_moe.input_linear.weight", kStacked},
    {"expert.down", "block_sparse_moe.output_linear.weight", kStacked},
};

}  // namespace

constinit const Arch kGraniteHybrid{"GraniteMoeHybridForCausalLM", granite_hybrid, kNames};

}  // namespace arc
