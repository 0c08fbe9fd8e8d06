// Vectors as requests of an engine.
#include "arc/embed.h"

#include <utility>

#include "eval/in_flight.h"

namespace arc {

std::vector<Embedding> embed(Engine& engine, const std::vector<EmbeddingRequest>& requests) {
  std::vector<Embedding> embeddings(requests.size());
  const auto make = [&](size_t i) { return Request{.prompt = requests[i].prompt, .embedding = requests[i].params}; };
  const auto take = [&](size_t i, Answer answer) {
    embeddings[i] = {.values = std::move(answer.embedding), .prompt_tokens = answer.prompt_tokens};
  };
  run_requests(engine, requests.size(), make, take);
  return embeddings;
}

}  // namespace arc
