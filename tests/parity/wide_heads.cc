#include "parity/wide_heads.h"

#include <algorithm>
#include <random>
#include <string_view>
#include <utility>

#include "nlohmann/json.hpp"

namespace arc::test {

Golden with_wide_heads(const std::string& name, int head_dim, int n_tokens) {
  Golden golden = read_golden(name);
  Json config = parse_json(golden.config_json, "config.json");
  const int64_t old = config.at("head_dim").get<int>();
  config["head_dim"] = head_dim;
  golden.config_json = config.dump();
  golden.name += "_wide";
  golden.hidden.clear();
  golden.logits.clear();
  constexpr std::pair<std::string_view, size_t> kWidened[] = {// part of a tensor's name, its axis of heads
                                                              {"self_attn.q_proj", 0}, {"self_attn.k_proj", 0},
                                                              {"self_attn.v_proj", 0}, {"self_attn.o_proj.weight", 1},
                                                              {"self_attn.q_norm", 0}, {"self_attn.k_norm", 0}};
  for (GoldenTensor& tensor : golden.tensors) {
    for (const auto& [part, axis] : kWidened) {
      if (tensor.name.find(part) == std::string::npos) continue;
      int64_t& size = tensor.shape[axis];
      size = size / old * head_dim;
    }
  }
  std::mt19937 random(11);
  const auto vocab = config.at("vocab_size").get<unsigned>();
  golden.tokens.resize(static_cast<size_t>(n_tokens));
  for (int32_t& token : golden.tokens) token = static_cast<int32_t>(random() % vocab);
  return golden;
}

}  // namespace arc::test
