// Mistral 7B, Nemo, Small, Ministral 3, and Mixtral: Llama with an optional window over all layers; Ministral 3 has
// queries that grow with the position, Mixtral softmax-routed experts.
#include "models/arch.h"

namespace arc {
namespace {

AttentionSpec attention(const Config& c) {
  AttentionSpec a = attention_from(c);
  a.window = c.i_or("sliding_window", 0);
  return a;
}

ModelSpec dense(const Config& c, std::string_view arch, const NormSpec& norm) {
  const MlpSpec mlp{.hidden = c.i("intermediate_size"), .act = activation_from(c)};
  return with_layers(c, model_from(c, arch, norm), {.mixer = attention(c), .ffn = mlp, .pre = norm, .ffn_pre = norm});
}

ModelSpec mistral(const Config& c) {
  return dense(c, "mistral", rms_from(c));
}

ModelSpec ministral3(const Config& c) {
  return dense(c, "mistral3", rms_from(c, 1e-5));
}

ModelSpec mixtral(const Config& c) {
  const NormSpec norm = rms_from(c, 1e-5);
  const MoeSpec moe{.router = {.experts = c.i_or("num_local_experts", 8),
                               .top_k = c.i_or("num_experts_per_tok", 2),
                               .renormalize = true},
                    .expert = {.hidden = c.i("intermediate_size"), .act = activation_from(c)}};
  c.ignore({"router_jitter_noise"});  // of training
  return with_layers(c, model_from(c, "mixtral", norm),
                     {.mixer = attention(c), .ffn = moe, .pre = norm, .ffn_pre = norm});
}

constexpr NameRow kMixtralNames[] = {
    {"moe.router", "block_sparse_moe.gate.weight", {}},
    {"expert.gate", "block_sparse_moe.experts.{e}.w1.weight", {}},
    {"expert.up", "block_sparse_moe.experts.{e}.w3.weight", {}},
    {"expert.down", "block_sparse_moe.experts.{e}.w2.weight", {}},
};

}  // namespace

constinit const Arch kMistral{"MistralForCausalLM", mistral, {}};
constinit const Arch kMinistral3{"Ministral3ForCausalLM", ministral3, {}};
constinit const Arch kMixtral{"MixtralForCausalLM", mixtral, kMixtralNames};

}  // namespace arc
