// The definition of sampling, for one token at a time, on host and device. The steps, in order:
//
//   1. masks and bias          `is_allowed`, then the bias is added
//   2. repetition penalty      on tokens of prompt and output          `penalize`
//   3. frequency and presence  on tokens of the output                 `penalize`
//   4. temperature             divides the logits                      `token_weight`
//   5. top-k                   by value, ties to the lower id          `ranks_before`
//   6. top-p                   the crossing token is kept              `outweighs`, `top_p_mass`
//   7. min-p                   relative to the most likely token       `min_p_weight`
//   8. draw                    among what is left, renormalised        `draw_below`
//
// After step 5 a token is an integer weight, exp((value - max) / temperature) in units of 2^-44. Integer sums are exact
// in any order, and every floating-point operation before them is a single correctly rounded one, so the same logits
// give the same token on every machine, however the work is split. (Division by the temperature keeps the order, so
// top-k may be taken before or after it.)
#pragma once

#include <cstdint>

#include "base/counter_rng.h"
#include "sample/sampling_row.h"

namespace arc {

constexpr float kGreedyTemperature = 1e-7f;
constexpr int kWeightBits = 44;
constexpr uint64_t kMaxWeight = uint64_t{1} << kWeightBits;
constexpr int32_t kMaxVocab = (1 << 20) - 1;  // so that the sum of all weights fits 64 bits

// ---- operations that no compiler may fuse or loosen (host code is built with -ffp-contract=off) --------------------

ARC_HOST_DEVICE inline float rounded_product(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
ARC_HOST_DEVICE inline double rounded_product(double a, double b) {
#if defined(__CUDA_ARCH__)
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}
ARC_HOST_DEVICE inline float rounded_quotient(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

// ---- logits --------------------------------------------------------------------------------------------------------

ARC_HOST_DEVICE inline bool is_greedy(const SamplingRow& row) {
  return row.temperature < kGreedyTemperature;
}

ARC_HOST_DEVICE inline bool is_allowed(const uint32_t* mask, int32_t token) {
  return (mask[token / 32] >> (token % 32) & 1u) != 0;
}

// Whether the row changes logits by what was said before, and so needs a row of counts.
ARC_HOST_DEVICE inline bool has_penalties(const SamplingRow& row) {
  return row.repetition_penalty != 1.0f || row.frequency_penalty != 0.0f || row.presence_penalty != 0.0f;
}

// Applies the three penalties to a biased logit. `count` is the token's word of SamplingTables::counts.
// Repetition as in N. S. Keskar et al., "CTRL" (2019), but a negative logit is multiplied, so that it falls too.
ARC_HOST_DEVICE inline float penalize(float logit, uint32_t count, const SamplingRow& row) {
  if (count == 0) return logit;
  const float r = row.repetition_penalty;
  const float repeated = logit > 0.0f ? rounded_quotient(logit, r) : rounded_product(logit, r);
  const uint32_t n_output = count & ~kInPrompt;
  if (n_output == 0) return repeated;
  return repeated - rounded_product(row.frequency_penalty, static_cast<float>(n_output)) - row.presence_penalty;
}

// NaN and plus infinity are SampleOutcome::bad_logits; minus infinity is a token that cannot be drawn.
ARC_HOST_DEVICE inline bool is_bad_logit(float logit) {
  return !(logit <= 3.402823466e38f);
}
ARC_HOST_DEVICE inline bool is_impossible(float logit) {
  return logit < -3.402823466e38f;
}

// ---- candidates ----------------------------------------------------------------------------------------------------

// A token that may be drawn.
struct Candidate {
  uint64_t weight = 0;
  float value = 0.0f;  // the logit after step 3
  int32_t token = 0;
};

// The order of top-k and of greedy choice: higher value first, then lower id.
ARC_HOST_DEVICE inline bool ranks_before(const Candidate& a, const Candidate& b) {
  return a.value > b.value || (a.value == b.value && a.token < b.token);
}

// The order of top-p: higher weight first, then lower id.
ARC_HOST_DEVICE inline bool outweighs(const Candidate& a, const Candidate& b) {
  return a.weight > b.weight || (a.weight == b.weight && a.token < b.token);
}

// exp((value - max) / temperature) in units of 2^-44, rounded; `max` itself weighs kMaxWeight, and what is less likely
// than 2^-45 of it weighs nothing. Range reduction by ln 2, then the Taylor polynomial of degree 12 on
// |r| <= ln(2) / 2 (error below 2^-52), then a shift.
ARC_HOST_DEVICE inline uint64_t token_weight(float value, float max, double inverse_temperature) {
  const double y = rounded_product(static_cast<double>(value) - static_cast<double>(max), inverse_temperature);
  if (!(y > -31.25)) return 0;
  const double n = static_cast<int>(rounded_product(y, 1.4426950408889634) - 0.5);  // y / ln 2, rounded; at most 0
  const double r = y - rounded_product(n, 0x1.62e42fefa38p-1) - rounded_product(n, 0x1.ef35793c7673p-45);
  constexpr double kInverseFactorials[] = {
      1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
      1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
  double e = 0.0;
  for (const double c : kInverseFactorials) e = rounded_product(e, r) + c;
  const uint64_t fraction = static_cast<uint64_t>(e * 0x1p52);  // e lies in [0.70, 1.42]
  const int shift = 52 - kWeightBits - static_cast<int>(n);
  return (fraction + (uint64_t{1} << (shift - 1))) >> shift;
}

// ---- sums of weights -----------------------------------------------------------------------------------------------

// The mass that top-p must reach: total * p, rounded up, at least 1. 0 <= p < 1.
ARC_HOST_DEVICE inline uint64_t top_p_mass(uint64_t total, float p) {
  const uint64_t share = static_cast<uint64_t>(static_cast<double>(p) * 0x1p63);
  const unsigned __int128 product = static_cast<unsigned __int128>(total) * share;
  const uint64_t floor = static_cast<uint64_t>(product >> 63);
  const bool exact = product == static_cast<unsigned __int128>(floor) << 63;
  return exact && floor > 0 ? floor : floor + 1;
}

// The least weight that min-p keeps.
ARC_HOST_DEVICE inline uint64_t min_p_weight(float p) {
  const double limit = static_cast<double>(p) * static_cast<double>(kMaxWeight);
  const uint64_t floor = static_cast<uint64_t>(limit);
  return floor + (static_cast<double>(floor) < limit ? 1 : 0);
}

// A random number in [0, total): the drawn token is the first, by id, at which the running sum of weights exceeds it.
// Its own for every (seed, sequence, position); the probability of a token is exact to 2^-64.
ARC_HOST_DEVICE inline uint64_t draw_below(uint64_t total, uint64_t seed, uint32_t sequence, uint32_t position) {
  const Philox random = philox(seed, position, sequence);
  const uint64_t bits = (uint64_t{random.word[0]} << 32) | random.word[1];
  return static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * total) >> 64);
}

}  // namespace arc
