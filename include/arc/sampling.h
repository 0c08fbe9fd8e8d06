// What a request may ask of the sampler. Plain values; the order in which they act is in src/sample/sampler_math.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace arc {

struct SamplingParams {
  float temperature = 1.0f;         // 0 means greedy
  int32_t top_k = 0;                // keep the k most likely tokens; 0 keeps all
  float top_p = 1.0f;               // keep the smallest set whose mass reaches p; the crossing token is kept
  float min_p = 0.0f;               // drop tokens less likely than min_p times the most likely one
  float repetition_penalty = 1.0f;  // positive logits are divided, negative multiplied; counts prompt and output
  float frequency_penalty = 0.0f;   // subtracted per occurrence in the output
  float presence_penalty = 0.0f;    // subtracted once for a token that occurs in the output
  std::vector<std::pair<int32_t, float>> logit_bias;  // token id, value added to its logit

  std::optional<uint64_t> seed;  // absent: the engine draws one
  int32_t n = 1;                 // independent answers that share the prompt

  int32_t max_tokens = -1;              // generated tokens; -1: as far as the model's context goes
  int32_t min_tokens = 0;               // stop ids and stop strings are ignored before
  bool ignore_eos = false;              // the model's own end tokens do not stop
  std::vector<std::string> stop;        // strings that end the answer and are not part of it
  std::vector<int32_t> stop_token_ids;  // ids that end the answer

  bool logprobs = false;         // natural log of the raw distribution, before penalties and temperature
  int32_t top_logprobs = 0;      // alternatives per position
  bool prompt_logprobs = false;  // also for the prompt's tokens (echo)
};

// Values for what a request leaves open; absent: no wish.
struct SamplingDefaults {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int32_t> top_k;
};

}  // namespace arc
