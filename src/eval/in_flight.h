// Many requests at an engine at once, so that its steps are full.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "arc/engine.h"

namespace arc {

struct Answer {
  std::string text;
  std::vector<PositionLogprobs> prompt_logprobs;
  std::vector<float> embedding;
  int32_t prompt_tokens = 0;
};

// Submits `make(i)` for i in [0, n), some at a time, and hands the answers over on the calling thread as they come.
// Throws what submit throws, and Error(resource) when a request fails; nothing runs any more then.
void run_requests(Engine& engine, size_t n, const std::function<Request(size_t)>& make,
                  const std::function<void(size_t, Answer)>& done);

}  // namespace arc
