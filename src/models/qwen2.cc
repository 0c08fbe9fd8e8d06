// Qwen 2 and 2.5: Llama with biases on q, k and v only; layers from max_window_layers on may slide.
#include "models/arch.h"

namespace arc {
namespace {

bool slides(const Config& c, int layer) {
  return layer >= c.i_or("max_window_layers", 28);
}

ModelSpec qwen2(const Config& c) {
  const NormSpec norm = rms_from(c);
  AttentionSpec attention = attention_from(c);
  attention.qkv_bias = true;
  const MlpSpec mlp{.hidden = c.i("intermediate_size"), .act = activation_from(c)};
  const int window = c.b_or("use_sliding_window", false) ? c.i_or("sliding_window", 4096) : 0;
  const int n_layers = layers_from(c);
  const std::vector<bool> sliding = sliding_layers(c, n_layers, slides);
  c.ignore({"sliding_window", "max_window_layers"});

  ModelSpec m = model_from(c, "qwen2", norm);
  for (int l = 0; l < n_layers; ++l) {
    attention.window = sliding[l] ? window : 0;
    m.layers.push_back({.mixer = attention, .ffn = mlp, .pre = norm, .ffn_pre = norm});
  }
  return m;
}

}  // namespace

constinit const Arch kQwen2{"Qwen2ForCausalLM", qwen2, {}};

}  // namespace arc
