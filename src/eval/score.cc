// Scores as requests of an engine.
#include "arc/score.h"

#include <utility>

#include "eval/in_flight.h"

namespace arc {

std::vector<Score> score(Engine& engine, const std::vector<ScoreRequest>& requests) {
  std::vector<Score> scores(requests.size());
  const auto make = [&](size_t i) {
    const ScoreRequest& wanted = requests[i];
    Request request{.prompt = TokenPrompt{wanted.tokens}, .prompt_logits = wanted.logits};
    request.sampling = {.temperature = 0, .max_tokens = 0, .top_logprobs = wanted.top, .prompt_logprobs = true};
    return request;
  };
  const auto take = [&](size_t i, Answer answer) {
    for (size_t p = 1; p < answer.prompt_logprobs.size(); ++p) {
      scores[i].logprobs.push_back(answer.prompt_logprobs[p].chosen.logprob);
      if (requests[i].top > 0) scores[i].top.push_back(std::move(answer.prompt_logprobs[p].top));
    }
  };
  run_requests(engine, requests.size(), make, take);
  return scores;
}

}  // namespace arc
