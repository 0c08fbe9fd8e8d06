// Llama 1 to 3.3: pre-norm decoder, grouped-query attention, gated SiLU.
#include <algorithm>

#include "models/arch.h"
#include "spec/rope.h"

namespace arc {
namespace {

ModelSpec llama(const Config& c) {
  const NormSpec norm = rms_from(c);
  const int heads = c.i("num_attention_heads");
  const int head_dim = c.i_or("head_dim", c.i("hidden_size") / std::max(heads, 1));
  const bool bias = c.b_or("attention_bias", false);
  const AttentionSpec attention{.heads = heads,
                                .kv_heads = c.i_or("num_key_value_heads", heads),
                                .head_dim = head_dim,
                                .rope = rope_from(c, head_dim),
                                .qkv_bias = bias,
                                .out_bias = bias};
  const MlpSpec mlp{.hidden = c.i("intermediate_size"), .act = activation_from(c), .bias = c.b_or("mlp_bias", false)};
  c.ignore({"pretraining_tp"});  // how the trainer sliced its products; the result is the same

  ModelSpec m = model_from(c, "llama", norm);
  m.layers.assign(static_cast<size_t>(c.i("num_hidden_layers")),
                  {.mixer = attention, .ffn = mlp, .pre = norm, .ffn_pre = norm});
  return m;
}

}  // namespace

constinit const Arch kLlama{"LlamaForCausalLM", llama, {}};

}  // namespace arc
