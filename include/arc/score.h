// How likely a given text is to a model, token by token. `arc eval` stands on it.
#pragma once

#include <cstdint>
#include <vector>

#include "arc/engine.h"

namespace arc {

struct ScoreRequest {
  std::vector<int32_t> tokens;  // at least one; as many as ModelInfo::max_seq_len at most: longer texts in strides
  int32_t top = 0;              // alternatives per position, at most 128
  float* logits = nullptr;  // [tokens, vocabulary], memory of the caller: row i becomes the raw logits after token i
};

struct Score {
  std::vector<float> logprobs;                 // [tokens - 1] natural log of the chance of tokens[i + 1] after 0 to i
  std::vector<std::vector<TokenLogprob>> top;  // [tokens - 1] the most likely tokens there, when asked for
};

// One score per request. Requests given together share the engine's steps; what else runs does not change a score.
// Throws Error for a request that the engine refuses, and Error(resource) when one fails.
std::vector<Score> score(Engine& engine, const std::vector<ScoreRequest>& requests);

}  // namespace arc
