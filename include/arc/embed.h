// Vectors of texts, for search and comparison: of an embedding model, or of any model that was loaded with a pooling.
#pragma once

#include <cstdint>
#include <vector>

#include "arc/engine.h"

namespace arc {

struct EmbeddingRequest {
  Prompt prompt = TextPrompt{};  // a text or tokens
  EmbeddingParams params;
};

struct Embedding {
  std::vector<float> values;  // [ModelInfo::embedding_size], or as many as were asked for
  int32_t prompt_tokens = 0;
};

// One vector per request. Requests given together share the engine's steps; what else runs does not change a vector.
// Throws Error for a request that the engine refuses, and Error(resource) when one fails.
std::vector<Embedding> embed(Engine& engine, const std::vector<EmbeddingRequest>& requests);

}  // namespace arc
