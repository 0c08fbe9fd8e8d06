#include "sample/sampler.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace arc {
namespace {

uint64_t total_weight(std::span<const Candidate> candidates) {
  uint64_t total = 0;
  for (const Candidate& c : candidates) total += c.weight;
  return total;
}

// The last one of the smallest leading set, in the order of `outweighs`, whose weights reach `needed`. Halves the range
// that holds it until one candidate is left: linear time on average.
Candidate crossing_candidate(std::span<Candidate> range, uint64_t needed) {
  while (range.size() > 1) {
    const size_t half = range.size() / 2;
    std::nth_element(range.begin(), range.begin() + static_cast<ptrdiff_t>(half), range.end(), outweighs);
    const uint64_t upper = total_weight(range.first(half));
    if (upper >= needed) {
      range = range.first(half);
    } else {
      needed -= upper;
      range = range.subspan(half);
    }
  }
  return range.front();
}

}  // namespace

Sampler::Sampler(int32_t vocab_size) : vocab_size_(vocab_size) {
  ARC_CHECK(vocab_size >= 1 && vocab_size <= kMaxVocab) << "vocabulary of " << vocab_size;
  candidates_.reserve(static_cast<size_t>(vocab_size));
  work_.reserve(static_cast<size_t>(vocab_size));
  top_.reserve(kMaxTopLogprobs);
}

Sample Sampler::sample(std::span<const float> logits, const SamplingRow& row, const SamplingTables& tables) noexcept {
  const SampleOutcome outcome = prepare(logits, row, tables);
  if (outcome != SampleOutcome::ok) return {.outcome = outcome};
  return {.token = draw(row.seed, row.sequence, row.position)};
}

SampleOutcome Sampler::prepare(std::span<const float> logits, const SamplingRow& row,
                               const SamplingTables& tables) noexcept {
  ARC_CHECK(static_cast<int32_t>(logits.size()) == vocab_size_);
  const SampleOutcome outcome = collect(logits, row, tables);
  if (outcome != SampleOutcome::ok) {
    candidates_.clear();
    return outcome;
  }
  if (is_greedy(row)) {
    candidates_ = {*std::min_element(candidates_.begin(), candidates_.end(), ranks_before)};
    candidates_.front().weight = kMaxWeight;
    return SampleOutcome::ok;
  }
  keep_top_k(row.top_k);
  weigh(row.temperature);
  keep_top_p(row.top_p);
  keep_min_p(row.min_p);
  uint64_t sum = 0;
  for (Candidate& c : candidates_) c.weight = sum += c.weight;
  return SampleOutcome::ok;
}

int32_t Sampler::draw(uint64_t seed, uint32_t sequence, uint32_t position) const noexcept {
  ARC_CHECK(!candidates_.empty());
  const uint64_t target = draw_below(candidates_.back().weight, seed, sequence, position);
  const auto exceeds = [](uint64_t t, const Candidate& c) { return t < c.weight; };
  return std::upper_bound(candidates_.begin(), candidates_.end(), target, exceeds)->token;
}

// Steps 1 to 3: the tokens that may be drawn, with their penalised logits.
SampleOutcome Sampler::collect(std::span<const float> logits, const SamplingRow& row,
                               const SamplingTables& tables) noexcept {
  const auto row_of = [](const uint32_t* table, int32_t r, int32_t width) {
    return r < 0 ? nullptr : table + int64_t{r} * width;
  };
  const uint32_t* mask = row_of(tables.allowed, row.mask_row, mask_words(vocab_size_));
  const uint32_t* counts = row_of(tables.counts, row.counts_row, vocab_size_);
  const BiasEntry* bias = tables.biases + row.bias_begin;
  const BiasEntry* bias_end = bias + row.bias_count;

  candidates_.clear();
  for (int32_t token = 0; token < vocab_size_; ++token) {
    float value = logits[static_cast<size_t>(token)];
    if (bias != bias_end && bias->token == token) value += (bias++)->value;
    if (mask != nullptr && !is_allowed(mask, token)) continue;
    if (counts != nullptr) value = penalize(value, counts[token], row);
    if (is_bad_logit(value)) return SampleOutcome::bad_logits;
    if (!is_impossible(value)) candidates_.push_back({.value = value, .token = token});
  }
  return candidates_.empty() ? SampleOutcome::no_candidate : SampleOutcome::ok;
}

void Sampler::keep_top_k(int32_t k) noexcept {
  if (k <= 0 || static_cast<size_t>(k) >= candidates_.size()) return;
  work_ = candidates_;
  const auto last = work_.begin() + (k - 1);
  std::nth_element(work_.begin(), last, work_.end(), ranks_before);
  std::erase_if(candidates_, [&](const Candidate& c) { return ranks_before(*last, c); });
}

void Sampler::weigh(float temperature) noexcept {
  float max = candidates_.front().value;
  for (const Candidate& c : candidates_) max = std::max(max, c.value);
  const double inverse_temperature = 1.0 / static_cast<double>(temperature);
  for (Candidate& c : candidates_) c.weight = token_weight(c.value, max, inverse_temperature);
  std::erase_if(candidates_, [](const Candidate& c) { return c.weight == 0; });
}

void Sampler::keep_top_p(float p) noexcept {
  if (p >= 1.0f) return;
  const uint64_t total = total_weight(candidates_);
  const uint64_t needed = top_p_mass(total, p);
  // Tokens this light could all be dropped and the rest would still reach `needed`: the crossing one is not among them.
  const uint64_t negligible = (total - needed) / candidates_.size();
  work_.clear();
  for (const Candidate& c : candidates_) {
    if (c.weight > negligible) work_.push_back(c);
  }
  const Candidate last = crossing_candidate(work_, needed);
  std::erase_if(candidates_, [&](const Candidate& c) { return outweighs(last, c); });
}

void Sampler::keep_min_p(float p) noexcept {
  if (p <= 0.0f) return;
  const uint64_t least = min_p_weight(p);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < least; });
}

RawLogprobs Sampler::logprobs(std::span<const float> logits, int32_t chosen, int32_t k) noexcept {
  ARC_CHECK(static_cast<int32_t>(logits.size()) == vocab_size_ && chosen >= 0 && chosen < vocab_size_);
  ARC_CHECK(k >= 0 && k <= kMaxTopLogprobs);
  work_.clear();
  float max = -HUGE_VALF;
  for (int32_t token = 0; token < vocab_size_; ++token) {
    const float value = logits[static_cast<size_t>(token)];
    if (is_bad_logit(value)) return {.outcome = SampleOutcome::bad_logits};
    if (is_impossible(value)) continue;
    work_.push_back({.value = value, .token = token});
    max = std::max(max, value);
  }
  if (work_.empty()) return {.outcome = SampleOutcome::no_candidate};
  double sum = 0.0;
  for (const Candidate& c : work_) sum += std::exp(static_cast<double>(c.value) - static_cast<double>(max));
  const double log_sum = static_cast<double>(max) + std::log(sum);
  const auto logprob = [&](int32_t token) {
    const double value = static_cast<double>(logits[static_cast<size_t>(token)]);
    return RawLogprob{.token = token, .logprob = static_cast<float>(value - log_sum)};
  };

  const auto end = work_.begin() + std::min<ptrdiff_t>(k, static_cast<ptrdiff_t>(work_.size()));
  std::partial_sort(work_.begin(), end, work_.end(), ranks_before);
  top_.clear();
  for (auto c = work_.begin(); c != end; ++c) top_.push_back(logprob(c->token));
  return {.chosen = logprob(chosen), .top = top_};
}

}  // namespace arc
