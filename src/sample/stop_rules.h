// When a sequence ends because of a token or of its length. Stop strings: stop_strings.h.
#pragma once

#include <cstdint>
#include <vector>

#include "arc/sampling.h"

namespace arc {

enum class StopCause : uint8_t { none, eos, stop_id, length };

struct StopRules {
  std::vector<int32_t> eos_ids;   // the model's own end tokens
  std::vector<int32_t> stop_ids;  // the request's
  bool ignore_eos = false;
  int32_t min_tokens = 0;
  int32_t max_tokens = 0;  // at least 0: the model's context is already counted in

  // Whether stop ids and stop strings count when the `n_generated`-th token arrives: `min_tokens` must precede it.
  bool may_stop(int32_t n_generated) const noexcept { return n_generated > min_tokens; }

  // What token number `n_generated` (1 for the first of the output) does.
  StopCause check(int32_t token, int32_t n_generated) const noexcept;
};

// `room` is how many tokens the context still holds.
StopRules make_stop_rules(const SamplingParams& params, std::vector<int32_t> eos_ids, int32_t room);

}  // namespace arc
