// Tests of the sampler's steps: each against a definition written down another way, none of them about randomness
// (that is distribution_test.cc).
#include "sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "base/counter_rng.h"

namespace arc {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Deterministic noise for test inputs: a uniform number in (0, 1) for every (stream, index).
double noise(uint64_t stream, uint64_t index) {
  const Philox random = philox(0xA5C, stream, index);
  return open_uniform(random.word[0], random.word[1]);
}

Sample sample(const std::vector<float>& logits, const SamplingRow& row, const SamplingTables& tables = {}) {
  return Sampler(static_cast<int32_t>(logits.size())).sample(logits, row, tables);
}

TEST(TokenWeight, IsTheExponentialToItsLastUnit) {
  EXPECT_EQ(token_weight(3.0f, 3.0f, 17.0), kMaxWeight);
  EXPECT_EQ(token_weight(-kInfinity, 3.0f, 17.0), 0u);
  for (uint64_t i = 0; i < 200'000; ++i) {
    const float value = static_cast<float>(-32.0 * noise(1, i));
    const double inverse_temperature = 0.25 + noise(2, i);
    const double exact = std::exp(value * inverse_temperature) * 0x1p44;
    const double got = static_cast<double>(token_weight(value, 0.0f, inverse_temperature));
    ASSERT_LE(std::fabs(got - exact), 0.5 + exact * 0x1p-50) << value;
  }
}

// The bits themselves are part of the definition: other compilers and devices must get this sum.
TEST(TokenWeight, HasTheSameBitsEverywhere) {
  uint64_t mixed = 0;
  for (uint64_t i = 0; i < 100'000; ++i) {
    const uint64_t weight = token_weight(static_cast<float>(-32.0 * noise(3, i)), 0.5f, 0.5 + 2.0 * noise(4, i));
    mixed = (mixed ^ weight) * 0x9E3779B97F4A7C15u;
  }
  EXPECT_EQ(mixed, 7774022300084425952u);
}

TEST(Sampler, GreedyTakesTheLowestIdAmongEquals) {
  const SamplingRow greedy{.temperature = 0.0f};
  EXPECT_EQ(sample({1.0f, 5.0f, -2.0f, 5.0f}, greedy).token, 1);
  EXPECT_EQ(sample({-0.0f, 0.0f}, greedy).token, 0);
  EXPECT_EQ(sample({0.0f, 1e-6f}, {.temperature = 9e-8f}).token, 1);
}

TEST(Sampler, BrokenRowsAreOutcomes) {
  for (const float temperature : {0.0f, 1.0f}) {
    const SamplingRow row{.temperature = temperature};
    EXPECT_EQ(sample({1.0f, kNan}, row).outcome, SampleOutcome::bad_logits);
    EXPECT_EQ(sample({1.0f, kInfinity}, row).outcome, SampleOutcome::bad_logits);
    EXPECT_EQ(sample({-kInfinity, -kInfinity}, row).outcome, SampleOutcome::no_candidate);
    EXPECT_EQ(sample({-kInfinity, 2.0f}, row).token, 1);
  }
}

TEST(Sampler, MaskedTokensAreNeitherDrawnNorLookedAt) {
  const std::vector<uint32_t> allowed = {0xffffffffu, 0xffffffffu, 0u, 1u << 2};
  const SamplingTables tables{.allowed = allowed.data()};
  std::vector<float> logits(40, 0.0f);
  logits[3] = kNan;
  logits[5] = 100.0f;
  EXPECT_EQ(sample(logits, {.mask_row = 1}, tables).token, 34);
  EXPECT_EQ(sample(logits, {.mask_row = 0}, tables).outcome, SampleOutcome::bad_logits);
  const std::vector<uint32_t> none = {0, 0};
  EXPECT_EQ(sample(logits, {.mask_row = 0}, {.allowed = none.data()}).outcome, SampleOutcome::no_candidate);
}

// Values worked out by hand from the order of steps: bias, repetition, then frequency and presence.
TEST(Sampler, PenaltiesActInTheirOrder) {
  const SamplingRow row{.repetition_penalty = 2.0f, .frequency_penalty = 0.5f, .presence_penalty = 0.25f};
  EXPECT_EQ(penalize(4.0f, 0, row), 4.0f);
  EXPECT_EQ(penalize(4.0f, kInPrompt, row), 2.0f);
  EXPECT_EQ(penalize(-4.0f, kInPrompt, row), -8.0f);
  EXPECT_EQ(penalize(4.0f, 3, row), 2.0f - 1.5f - 0.25f);
  EXPECT_EQ(penalize(-4.0f, kInPrompt | 1u, row), -8.0f - 0.5f - 0.25f);

  const std::vector<uint32_t> counts = {9, 9, 9, 9, 2, 0, kInPrompt, 1};
  const std::vector<BiasEntry> biases = {{.token = 1, .value = 7.0f}, {.token = 0, .value = 4.0f}, {3, -1.0f}};
  SamplingRow full = row;
  full.counts_row = 1;
  full.bias_begin = 1;
  full.bias_count = 2;
  Sampler sampler(4);
  const std::vector<float> logits = {-1.0f, 2.0f, 3.0f, 2.5f};
  ASSERT_EQ(sampler.prepare(logits, full, {.biases = biases.data(), .counts = counts.data()}), SampleOutcome::ok);
  std::vector<float> values;
  for (const Candidate& c : sampler.candidates()) values.push_back(c.value);
  EXPECT_EQ(values, (std::vector<float>{3.0f / 2.0f - 1.0f - 0.25f, 2.0f, 1.5f, 0.75f - 0.5f - 0.25f}));
}

std::vector<int32_t> kept(const std::vector<float>& logits, const SamplingRow& row) {
  Sampler sampler(static_cast<int32_t>(logits.size()));
  EXPECT_EQ(sampler.prepare(logits, row, {}), SampleOutcome::ok);
  std::vector<int32_t> tokens;
  for (const Candidate& c : sampler.candidates()) tokens.push_back(c.token);
  return tokens;
}

TEST(Sampler, FiltersCutWhereTheirDefinitionsSay) {
  using Tokens = std::vector<int32_t>;
  const std::vector<float> equal(4, 1.0f);
  EXPECT_EQ(kept(equal, {.top_k = 2}), (Tokens{0, 1}));
  EXPECT_EQ(kept(equal, {.top_p = 0.5f}), (Tokens{0, 1}));
  EXPECT_EQ(kept(equal, {.top_p = 0.50001f}), (Tokens{0, 1, 2}));  // the crossing token is kept
  EXPECT_EQ(kept(equal, {.top_p = 0.0f}), (Tokens{0}));
  EXPECT_EQ(kept(equal, {.min_p = 1.0f}), (Tokens{0, 1, 2, 3}));

  const float l2 = std::log(2.0f);
  const std::vector<float> halves = {-2 * l2, 0.0f, -3 * l2, -l2};  // 1/4, 1, 1/8, 1/2 of the most likely
  EXPECT_EQ(kept(halves, {.min_p = 0.24f}), (Tokens{0, 1, 3}));
  EXPECT_EQ(kept(halves, {.min_p = 0.26f}), (Tokens{1, 3}));
  EXPECT_EQ(kept(halves, {.temperature = 2.0f, .min_p = 0.49f}), (Tokens{0, 1, 3}));  // after temperature
  EXPECT_EQ(kept(halves, {.top_p = 0.6f}), (Tokens{1, 3}));           // 8/15 does not reach it, 12/15 does
  EXPECT_EQ(kept(halves, {.top_p = 0.6f, .top_k = 2}), (Tokens{1}));  // 2/3 of what top-k left reaches it
  EXPECT_EQ(kept(halves, {.temperature = 0.25f, .top_p = 0.9f}), (Tokens{1}));
}

// The definition by a full sort over the same integer weights. Coarse logits make ties common.
std::vector<Candidate> by_full_sort(const std::vector<float>& logits, const SamplingRow& row) {
  std::vector<Candidate> all;
  for (size_t t = 0; t < logits.size(); ++t) all.push_back({.value = logits[t], .token = static_cast<int32_t>(t)});
  std::sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
    return std::pair(-a.value, a.token) < std::pair(-b.value, b.token);
  });
  if (row.top_k > 0) all.resize(std::min(all.size(), static_cast<size_t>(row.top_k)));
  const float max = all.front().value;
  uint64_t total = 0;
  for (Candidate& c : all) total += c.weight = token_weight(c.value, max, 1.0 / double{row.temperature});
  uint64_t sum = 0;
  std::vector<Candidate> kept;
  for (const Candidate& c : all) {
    const bool reached = !kept.empty() && static_cast<long double>(sum) >= static_cast<long double>(total) * row.top_p;
    if (reached || c.weight == 0 || static_cast<long double>(c.weight) < 0x1p44L * row.min_p) break;
    sum += c.weight;
    kept.push_back(c);
  }
  std::sort(kept.begin(), kept.end(), [](const auto& a, const auto& b) { return a.token < b.token; });
  return kept;
}

TEST(Sampler, SelectionEqualsAFullSort) {
  for (uint64_t i = 0; i < 3000; ++i) {
    const auto pick = [&](uint64_t stream, int n) { return static_cast<int>(noise(100 + stream, i) * n); };
    std::vector<float> logits(static_cast<size_t>(1 + pick(0, 300)));
    const float step = pick(1, 2) == 0 ? 0.5f : 0.001f;
    for (size_t t = 0; t < logits.size(); ++t)
      logits[t] = step * std::floor(8.0f * static_cast<float>(noise(i, t)) / step);
    const SamplingRow row{.temperature = 0.2f + 0.3f * static_cast<float>(pick(2, 5)),
                          .top_p = pick(3, 2) == 0 ? 1.0f : static_cast<float>(noise(104, i)),
                          .min_p = pick(5, 2) == 0 ? 0.0f : static_cast<float>(noise(106, i) * noise(107, i)),
                          .top_k = pick(8, 2) == 0 ? 0 : 1 + pick(9, 50)};
    Sampler sampler(static_cast<int32_t>(logits.size()));
    ASSERT_EQ(sampler.prepare(logits, row, {}), SampleOutcome::ok);
    const std::vector<Candidate> expected = by_full_sort(logits, row);
    ASSERT_EQ(sampler.candidates().size(), expected.size()) << i;
    uint64_t sum = 0;
    for (size_t c = 0; c < expected.size(); ++c) {
      ASSERT_EQ(sampler.candidates()[c].token, expected[c].token) << i;
      ASSERT_EQ(sampler.candidates()[c].weight, sum += expected[c].weight) << i;
    }
  }
}

TEST(Sampler, SumsOfTheLargestVocabularyFit) {
  const std::vector<float> logits(static_cast<size_t>(kMaxVocab), -7.0f);
  Sampler sampler(kMaxVocab);
  ASSERT_EQ(sampler.prepare(logits, {.top_p = 0.75f}, {}), SampleOutcome::ok);
  EXPECT_EQ(sampler.candidates().size(), (3u * kMaxVocab + 3) / 4);
  const Sample drawn = sampler.sample(logits, {.seed = 5}, {});
  EXPECT_EQ(drawn.outcome, SampleOutcome::ok);
  EXPECT_EQ(sampler.candidates().back().weight, static_cast<uint64_t>(kMaxVocab) << kWeightBits);
}

// Rows of unlike kinds through one sampler, in two orders and each through a fresh one.
TEST(Sampler, ARowDoesNotDependOnItsNeighbours) {
  constexpr int32_t kVocab = 500;
  constexpr uint64_t kRows = 64;
  const auto logits_of = [](uint64_t r) {
    std::vector<float> logits(kVocab);
    for (size_t t = 0; t < kVocab; ++t) logits[t] = static_cast<float>(6.0 * noise(r, t));
    return logits;
  };
  const auto row_of = [](uint64_t r) {
    return SamplingRow{.temperature = r % 5 == 0 ? 0.0f : 0.5f + 0.1f * static_cast<float>(r % 7),
                       .top_p = r % 3 == 0 ? 0.9f : 1.0f,
                       .min_p = r % 4 == 0 ? 0.1f : 0.0f,
                       .top_k = r % 2 == 0 ? 20 : 0,
                       .seed = r,
                       .position = static_cast<uint32_t>(r * 3)};
  };
  Sampler forwards(kVocab), backwards(kVocab);
  std::vector<int32_t> first(kRows), second(kRows);
  for (uint64_t r = 0; r < kRows; ++r) first[r] = forwards.sample(logits_of(r), row_of(r), {}).token;
  for (uint64_t r = kRows; r-- > 0;) second[r] = backwards.sample(logits_of(r), row_of(r), {}).token;
  EXPECT_EQ(first, second);
  for (uint64_t r = 0; r < kRows; ++r) EXPECT_EQ(sample(logits_of(r), row_of(r)).token, first[r]);
}

TEST(Logprobs, AreTheNaturalLogOfTheRawDistribution) {
  constexpr size_t kVocab = 1000;
  std::vector<float> logits(kVocab);
  for (size_t t = 0; t < kVocab; ++t) logits[t] = static_cast<float>(std::floor(40.0 * noise(9, t)) / 2.0 - 5.0);
  logits[17] = -kInfinity;
  long double sum = 0.0L;
  for (float l : logits) sum += std::exp(static_cast<long double>(l));
  Sampler sampler(kVocab);
  const RawLogprobs result = sampler.logprobs(logits, 3, 20);
  ASSERT_EQ(result.outcome, SampleOutcome::ok);
  const auto expected = [&](int32_t t) {
    return std::log(std::exp(static_cast<long double>(logits[static_cast<size_t>(t)])) / sum);
  };
  EXPECT_NEAR(result.chosen.logprob, static_cast<double>(expected(3)), 1e-6);
  std::vector<std::pair<float, int32_t>> order;
  for (int32_t t = 0; t < static_cast<int32_t>(kVocab); ++t) order.emplace_back(-logits[static_cast<size_t>(t)], t);
  std::sort(order.begin(), order.end());
  ASSERT_EQ(result.top.size(), 20u);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(result.top[i].token, order[i].second);
    EXPECT_NEAR(result.top[i].logprob, static_cast<double>(expected(order[i].second)), 1e-6);
  }
  EXPECT_EQ(sampler.logprobs(logits, 17, 0).chosen.logprob, -kInfinity);
  logits[4] = kNan;
  EXPECT_EQ(sampler.logprobs(logits, 3, 0).outcome, SampleOutcome::bad_logits);
}

}  // namespace
}  // namespace arc
