// A request while it is served. Made by the submitting thread and read-only afterwards, so that the engine thread and
// the output thread can share it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "arc/engine.h"
#include "sample/sampling_row.h"
#include "sample/stop_rules.h"

namespace arc {

using Clock = std::chrono::steady_clock;

struct ActiveRequest {
  RequestId id = 0;
  SamplingParams sampling;
  EventSink sink;
  std::vector<int32_t> prompt;
  std::string cache_salt;
  float* prompt_logits = nullptr;
  std::optional<EmbeddingParams> embedding;
  int32_t pool_from = 0;  // embedding: the first token that counts
  uint64_t seed = 0;
  StopRules stop;
  std::vector<BiasEntry> biases;
  std::vector<BiasEntry> biases_before_min;  // with the stop tokens forbidden, until min_tokens are there
  Clock::time_point submitted;

  bool penalised() const {
    return sampling.repetition_penalty != 1.0f || sampling.frequency_penalty != 0.0f ||
           sampling.presence_penalty != 0.0f;
  }
  int32_t n_logprobs() const { return sampling.logprobs ? sampling.top_logprobs : -1; }
  int32_t n_prompt_logprobs() const { return sampling.prompt_logprobs ? sampling.top_logprobs : -1; }
};

}  // namespace arc
