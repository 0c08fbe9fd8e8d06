// SmolLM 3: Llama whose every fourth layer, or those that no_rope_layers marks with 0, does not rotate.
#include <algorithm>

#include "base/error.h"
#include "models/arch.h"

namespace arc {
namespace {

bool slides(const Config&, int) {
  return false;
}

ModelSpec smollm3(const Config& c) {
  const NormSpec norm = rms_from(c);
  AttentionSpec attention = attention_from(c, 2e6);
  attention.qkv_bias = attention.out_bias = c.b_or("attention_bias", false);
  const MlpSpec mlp{.hidden = c.i("intermediate_size"), .act = activation_from(c), .bias = c.b_or("mlp_bias", false)};
  const RopeSpec rope = attention.rope;
  const int n_layers = layers_from(c), interval = interval_from(c, "no_rope_layer_interval", 4);
  const std::vector<int> rotates = c.ints_or_empty("no_rope_layers");
  const bool flags = std::ranges::all_of(rotates, [](int r) { return r == 0 || r == 1; });
  if (!flags || (!rotates.empty() && rotates.size() != static_cast<size_t>(n_layers))) {
    throw Error(ErrorCode::invalid_argument, "config.json: no_rope_layers must hold a 0 or 1 per layer");
  }
  const int window = c.b_or("use_sliding_window", false) ? c.i_or("sliding_window", 0) : 0;
  const std::vector<bool> sliding = sliding_layers(c, n_layers, slides);
  c.ignore({"sliding_window", "max_window_layers", "pretraining_tp"});

  ModelSpec m = model_from(c, "smollm3", norm, true);
  for (int l = 0; l < n_layers; ++l) {
    const bool rotated = rotates.empty() ? (l + 1) % interval != 0 : rotates[l] != 0;
    attention.rope = rotated ? rope : RopeSpec{};
    attention.window = sliding[l] ? window : 0;
    m.layers.push_back({.mixer = attention, .ffn = mlp, .pre = norm, .ffn_pre = norm});
  }
  return m;
}

}  // namespace

constinit const Arch kSmolLm3{"SmolLM3ForCausalLM", smollm3, {}};

}  // namespace arc
