// The host sampler: the reference that every device kernel must equal, token for token. Steps: sampler_math.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sample/sampler_math.h"
#include "sample/sampling_row.h"

namespace arc {

struct Sample {
  SampleOutcome outcome = SampleOutcome::ok;
  int32_t token = -1;  // valid with SampleOutcome::ok
};

struct RawLogprob {
  int32_t token = 0;
  float logprob = 0.0f;  // natural log; minus infinity for a token that cannot occur
};

// Of the raw distribution: before masks, penalties and temperature.
struct RawLogprobs {
  SampleOutcome outcome = SampleOutcome::ok;
  RawLogprob chosen;
  std::span<const RawLogprob> top;  // most likely first, ties to the lower id; valid until the next call
};

constexpr int32_t kMaxTopLogprobs = 128;

// Scratch for one row at a time. Only the constructor allocates; one object per thread.
class Sampler {
 public:
  explicit Sampler(int32_t vocab_size);  // 1 to kMaxVocab

  // Draws one token. `logits` [V].
  Sample sample(std::span<const float> logits, const SamplingRow& row, const SamplingTables& tables) noexcept;

  // The two halves of `sample`: steps 1 to 7 once, then any number of draws from what they left.
  SampleOutcome prepare(std::span<const float> logits, const SamplingRow& row, const SamplingTables& tables) noexcept;
  int32_t draw(uint64_t seed, uint32_t sequence, uint32_t position) const noexcept;

  // What `prepare` left: by ascending token, `weight` now the running sum.
  std::span<const Candidate> candidates() const { return candidates_; }

  // Log-softmax of `logits` [V] at `chosen` and at the `k` (at most kMaxTopLogprobs) most likely tokens.
  RawLogprobs logprobs(std::span<const float> logits, int32_t chosen, int32_t k) noexcept;

 private:
  SampleOutcome collect(std::span<const float> logits, const SamplingRow& row, const SamplingTables& tables) noexcept;
  void keep_top_k(int32_t k) noexcept;
  void weigh(float temperature) noexcept;
  void keep_top_p(float p) noexcept;
  void keep_min_p(float p) noexcept;

  int32_t vocab_size_ = 0;
  std::vector<Candidate> candidates_;  // by ascending token
  std::vector<Candidate> work_;        // a copy to be reordered
  std::vector<RawLogprob> top_;
};

}  // namespace arc
