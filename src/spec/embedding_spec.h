// How one vector is made of a text's last hidden states: sentence-transformers' modules as data.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace arc {

// All tokens' states become one. The weights of a weighted mean are the positions, from 1.
enum class Pooling : uint8_t { cls, max, mean, mean_sqrt_len, weighted_mean, last };

struct PoolingSpec {
  std::vector<Pooling> modes;  // several: their vectors side by side
  bool include_prompt = true;  // no: the tokens of the prompt before the text do not count
};

// y = act(W x + bias)
struct DenseSpec {
  enum class Act : uint8_t { identity, tanh, relu, gelu, silu, sigmoid };
  int32_t in = 0, out = 0;
  bool bias = true;
  Act act = Act::tanh;
  std::string folder;  // of its weights, within the model's
};

// To length 1.
struct NormalizeSpec {};

using EmbeddingModule = std::variant<DenseSpec, NormalizeSpec>;

struct EmbeddingSpec {
  std::string origin;  // who says so, for the load report
  PoolingSpec pooling;
  std::vector<EmbeddingModule> modules;        // after the pooling
  std::map<std::string, std::string> prompts;  // by name: what can be put before a text
  std::string default_prompt;                  // the name of the one before texts that ask for none; empty: no prompt
  int32_t max_tokens = 0;                      // of a text; 0: as many as the model reads

  bool needs_all_rows() const { return pooling.modes != std::vector{Pooling::last}; }
};

// The length of the vector for states of length `dim`.
int32_t embedding_size(const EmbeddingSpec& spec, int32_t dim);

// The modules in a line.
std::string to_string(const EmbeddingSpec& spec, int32_t dim);

// By its name in sentence-transformers ("mean", "cls", "lasttoken", ...; "last" too). Throws Error(invalid_argument).
Pooling pooling_from(const std::string& name);

}  // namespace arc
