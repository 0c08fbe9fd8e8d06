// Llama 1 to 3.3: pre-norm decoder, grouped-query attention, gated SiLU.
#include "models/arch.h"

namespace arc {
namespace {

ModelSpec llama(const Config& c) {
  const NormSpec norm = rms_from(c);
  AttentionSpec attention = attention_from(c);
  attention.qkv_bias = attention.out_bias = c.b_or("attention_bias", false);
  const MlpSpec mlp{.hidden = c.i("intermediate_size"), .act = activation_from(c), .bias = c.b_or("mlp_bias", false)};
  c.ignore({"pretraining_tp"});  // how the trainer sliced its products; the result is the same
  return with_layers(c, model_from(c, "llama", norm), {.mixer = attention, .ffn = mlp, .pre = norm, .ffn_pre = norm});
}

}  // namespace

constinit const Arch kLlama{"LlamaForCausalLM", llama, {}};

}  // namespace arc
