// Draws against a separate double-precision reference: 20 shapes of logits and parameters, one seed each, chi-square
// per shape and Kolmogorov-Smirnov over the p-values. ARC_FULL=1 draws 1,000,000 per shape instead of 100,000.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "base/counter_rng.h"
#include "sample/sampler.h"
#include "sample/test_statistics.h"

namespace arc {
namespace {

using test::goodness_of_fit_p;
using test::uniformity_p;

bool full_run() {
  return std::getenv("ARC_FULL") != nullptr;
}

// A request as a person would state it; nothing here is shared with the sampler.
struct Shape {
  std::string name;
  std::vector<float> logits;
  double temperature = 1.0;
  int top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  double repetition = 1.0, frequency = 0.0, presence = 0.0;
  std::vector<int> prompt, output;
  std::map<int, double> bias;
  std::set<int> banned;
};

// ---- the reference -------------------------------------------------------------------------------------------------

// The distribution by definition: probabilities in double, one full sort, steps in the documented order.
std::vector<double> reference(const Shape& shape) {
  std::vector<std::pair<double, int>> tokens;  // negative logit, id: ascending order is the order of top-k
  for (int id = 0; id < static_cast<int>(shape.logits.size()); ++id) {
    double logit = shape.logits[static_cast<size_t>(id)];
    if (shape.banned.contains(id) || std::isinf(logit)) continue;
    if (shape.bias.contains(id)) logit += shape.bias.at(id);
    const auto n_output = std::count(shape.output.begin(), shape.output.end(), id);
    const auto n_prompt = std::count(shape.prompt.begin(), shape.prompt.end(), id);
    if (n_output + n_prompt > 0) logit = logit > 0 ? logit / shape.repetition : logit * shape.repetition;
    if (n_output > 0) logit -= shape.frequency * static_cast<double>(n_output) + shape.presence;
    tokens.emplace_back(-logit / shape.temperature, id);
  }
  std::sort(tokens.begin(), tokens.end());
  if (shape.top_k > 0 && static_cast<size_t>(shape.top_k) < tokens.size())
    tokens.resize(static_cast<size_t>(shape.top_k));

  const double best = tokens.front().first;
  double total = 0.0;
  for (const auto& [negative, id] : tokens) total += std::exp(best - negative);
  std::vector<double> probability(shape.logits.size(), 0.0);
  double mass = 0.0, kept = 0.0;
  for (const auto& [negative, id] : tokens) {
    const double p = std::exp(best - negative) / total;
    if (mass < shape.top_p && p >= shape.min_p / total) kept += probability[static_cast<size_t>(id)] = p;
    mass += p;
  }
  for (double& p : probability) p /= kept;
  return probability;
}

// ---- the shapes ----------------------------------------------------------------------------------------------------

// Normal deviates by the Box-Muller transform.
std::vector<float> gaussian(size_t n, double deviation, uint64_t stream) {
  std::vector<float> logits(n);
  for (size_t i = 0; i < n; ++i) {
    const Philox r = philox(0xBEEF, stream, i);
    const double radius = std::sqrt(-2.0 * std::log(open_uniform(r.word[0], r.word[1])));
    logits[i] = static_cast<float>(deviation * radius * std::cos(2.0 * M_PI * open_uniform(r.word[2], r.word[3])));
  }
  return logits;
}

std::vector<float> change(std::vector<float> logits, const std::function<float(size_t, float)>& f) {
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = f(i, logits[i]);
  return logits;
}

std::set<int> two_of_three(int n) {
  std::set<int> ids;
  for (int i = 0; i < n; ++i) {
    if (i % 3 != 1) ids.insert(i);
  }
  return ids;
}

std::vector<Shape> shapes() {
  constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
  const std::vector<float> peak = change(gaussian(1000, 1.0, 3), [](size_t i, float l) { return i == 7 ? 12.0f : l; });
  const std::vector<float> steps =
      change(gaussian(60, 1.0, 4), [](size_t i, float) { return static_cast<float>(i % 3); });
  const std::vector<float> holes =
      change(gaussian(400, 2.0, 5), [](size_t i, float l) { return i % 2 ? kMinusInfinity : l; });
  const std::vector<float> far =
      change(gaussian(200, 1.0, 6), [](size_t i, float l) { return i < 20 ? 9000.0f + l : -9000.0f; });
  const std::vector<int> prompt = {0, 1, 2, 3, 5, 8, 13, 21, 34, 55}, output = {1, 1, 1, 4, 4, 8, 90, 91, 92, 92};
  return {
      {.name = "flat", .logits = std::vector<float>(100, 2.5f)},
      {.name = "flat, 32k tokens", .logits = std::vector<float>(32'000, 0.0f)},
      {.name = "gaussian", .logits = gaussian(1000, 2.0, 1)},
      {.name = "gaussian, 32k tokens", .logits = gaussian(32'000, 3.0, 2)},
      {.name = "one peak", .logits = peak},
      {.name = "two tokens", .logits = {0.3f, -1.0f}},
      {.name = "ties cut by top-k", .logits = steps, .top_k = 30},
      {.name = "ties cut by top-p", .logits = std::vector<float>(7, 1.0f), .top_p = 0.5},
      {.name = "minus infinity", .logits = holes},
      {.name = "18000 apart", .logits = far},
      {.name = "temperature 1e-4", .logits = gaussian(1000, 2e-4, 7), .temperature = 1e-4f},
      {.name = "temperature 50", .logits = gaussian(1000, 8.0, 8), .temperature = 50.0},
      {.name = "top-k", .logits = gaussian(32'000, 2.0, 9), .top_k = 40},
      {.name = "top-p", .logits = gaussian(1000, 2.0, 10), .top_p = 0.9f},
      {.name = "min-p", .logits = gaussian(1000, 2.0, 11), .min_p = 0.05f},
      {.name = "repetition", .logits = gaussian(100, 2.0, 12), .repetition = 1.3f, .prompt = prompt, .output = output},
      {.name = "frequency and presence",
       .logits = gaussian(100, 1.0, 13),
       .frequency = 0.7f,
       .presence = 0.4f,
       .prompt = prompt,
       .output = output},
      {.name = "bias", .logits = gaussian(50, 1.0, 14), .bias = {{0, 2.5}, {7, -100.0}, {49, 3.0}}},
      {.name = "mask", .logits = gaussian(300, 1.5, 15), .banned = two_of_three(300)},
      {.name = "everything, 152k tokens",
       .logits = gaussian(151'936, 1.5, 16),
       .temperature = 0.7f,
       .top_k = 500,
       .top_p = 0.95f,
       .min_p = 0.01f,
       .repetition = 1.1f,
       .frequency = 0.2f,
       .presence = 0.1f,
       .prompt = prompt,
       .output = output,
       .bias = {{1, 4.0}, {100'000, 5.0}},
       .banned = two_of_three(1000)},
  };
}

// The same request as the sampler takes it.
struct Inputs {
  SamplingRow row;
  std::vector<BiasEntry> biases;
  std::vector<uint32_t> counts, allowed;
  SamplingTables tables() const { return {biases.data(), counts.data(), allowed.data()}; }
};

Inputs inputs_of(const Shape& shape, uint64_t seed) {
  const size_t vocab = shape.logits.size();
  Inputs in{.row = {.temperature = static_cast<float>(shape.temperature),
                    .top_p = static_cast<float>(shape.top_p),
                    .min_p = static_cast<float>(shape.min_p),
                    .repetition_penalty = static_cast<float>(shape.repetition),
                    .frequency_penalty = static_cast<float>(shape.frequency),
                    .presence_penalty = static_cast<float>(shape.presence),
                    .top_k = shape.top_k,
                    .bias_count = static_cast<int32_t>(shape.bias.size()),
                    .counts_row = 0,
                    .mask_row = shape.banned.empty() ? -1 : 0,
                    .seed = seed}};
  for (const auto& [token, value] : shape.bias) in.biases.push_back({token, static_cast<float>(value)});
  in.counts.resize(vocab);
  for (int token : shape.prompt) in.counts[static_cast<size_t>(token)] |= kInPrompt;
  for (int token : shape.output) ++in.counts[static_cast<size_t>(token)];
  in.allowed.assign(static_cast<size_t>(mask_words(static_cast<int32_t>(vocab))), ~0u);
  for (int token : shape.banned) in.allowed[static_cast<size_t>(token / 32)] &= ~(1u << (token % 32));
  return in;
}

// ---- the tests -----------------------------------------------------------------------------------------------------

TEST(Statistics, MatchPublishedQuantiles) {
  EXPECT_NEAR(test::chi_square_p(3.841459, 1), 0.05, 1e-7);
  EXPECT_NEAR(test::chi_square_p(18.307038, 10), 0.05, 1e-7);
  EXPECT_NEAR(test::chi_square_p(1074.6794, 1000), 0.05, 1e-6);
  EXPECT_NEAR(test::chi_square_p(5.0, 2), std::exp(-2.5), 1e-12);
  EXPECT_NEAR(test::chi_square_p(900.0, 1000), 1.0 - 0.0104, 1e-3);
  // n = 20: the 5% point of the two-sided statistic is 0.29408.
  std::vector<double> values;
  for (int i = 0; i < 20; ++i) values.push_back(std::min(1.0, (i + 1) / 20.0 + 0.29408 - 0.05));
  EXPECT_NEAR(uniformity_p(values), 0.05, 0.002);
}

TEST(Distribution, PreparedWeightsEqualTheReference) {
  for (const Shape& shape : shapes()) {
    const Inputs in = inputs_of(shape, 1);
    Sampler sampler(static_cast<int32_t>(shape.logits.size()));
    ASSERT_EQ(sampler.prepare(shape.logits, in.row, in.tables()), SampleOutcome::ok);
    std::vector<double> got(shape.logits.size(), 0.0);
    const double total = static_cast<double>(sampler.candidates().back().weight);
    uint64_t below = 0;
    for (const Candidate& c : sampler.candidates()) {
      got[static_cast<size_t>(c.token)] = static_cast<double>(c.weight - below) / total;
      below = c.weight;
    }
    const std::vector<double> expected = reference(shape);
    for (size_t t = 0; t < got.size(); ++t) ASSERT_NEAR(got[t], expected[t], 2e-6 * expected[t] + 1e-13) << shape.name;
  }
}

TEST(Distribution, DrawsFitTheReference) {
  const int64_t n_draws = full_run() ? 1'000'000 : 100'000;
  std::vector<double> p_values;
  uint64_t seed = 0;
  for (const Shape& shape : shapes()) {
    const Inputs in = inputs_of(shape, ++seed);
    const std::vector<double> expected = reference(shape);
    Sampler sampler(static_cast<int32_t>(shape.logits.size()));
    ASSERT_EQ(sampler.prepare(shape.logits, in.row, in.tables()), SampleOutcome::ok);
    std::vector<int64_t> observed(shape.logits.size(), 0);
    for (int64_t i = 0; i < n_draws; ++i) {
      const int32_t token = sampler.draw(seed, 0, static_cast<uint32_t>(i));
      ASSERT_GT(expected[static_cast<size_t>(token)], 0.0) << shape.name << ": token " << token << " is not allowed";
      ++observed[static_cast<size_t>(token)];
    }
    p_values.push_back(goodness_of_fit_p(observed, expected));
    EXPECT_GT(p_values.back(), 0.0005) << shape.name;
    if (full_run()) fmt::print("seed {:2}: {} draws, p = {:.4f}  {}\n", seed, n_draws, p_values.back(), shape.name);
  }
  const double uniform = uniformity_p(p_values);
  EXPECT_GT(uniform, 0.01);
  if (full_run()) fmt::print("the {} p-values are uniform with p = {:.4f}\n", p_values.size(), uniform);
}

// The production path prepares for every draw.
TEST(Distribution, PreparingOnceChangesNothing) {
  for (const Shape& shape : shapes()) {
    Inputs in = inputs_of(shape, 77);
    const int32_t vocab = static_cast<int32_t>(shape.logits.size());
    Sampler once(vocab), each(vocab);
    ASSERT_EQ(once.prepare(shape.logits, in.row, in.tables()), SampleOutcome::ok);
    for (uint32_t i = 0; i < (vocab > 10'000 ? 20u : 500u); ++i) {
      in.row.position = i;
      in.row.sequence = i % 3;
      ASSERT_EQ(each.sample(shape.logits, in.row, in.tables()).token, once.draw(77, i % 3, i)) << shape.name;
    }
  }
}

// The net is fine enough to catch the mistakes that samplers have made.
TEST(Distribution, AWrongSamplerIsNoticed) {
  const Shape right{.logits = gaussian(1000, 2.0, 10), .top_p = 0.9f};
  Sampler sampler(1000);
  const auto p_of = [&](const Shape& wrong) {
    const Inputs in = inputs_of(wrong, 1);
    EXPECT_EQ(sampler.prepare(wrong.logits, in.row, in.tables()), SampleOutcome::ok);
    std::vector<int64_t> observed(1000, 0);
    for (uint32_t i = 0; i < 100'000; ++i) ++observed[static_cast<size_t>(sampler.draw(1, 0, i))];
    return goodness_of_fit_p(observed, reference(right));
  };
  EXPECT_GT(p_of(right), 0.0005);
  Shape warmer = right, wider = right, biased = right;
  warmer.temperature = 1.03;
  wider.top_p = 0.91f;
  biased.bias = {{static_cast<int>(std::ranges::max_element(right.logits) - right.logits.begin()), 0.1}};
  EXPECT_LT(p_of(warmer), 1e-6);
  EXPECT_LT(p_of(wider), 1e-6);
  EXPECT_LT(p_of(biased), 1e-6);
}

// Neighbouring counters of each kind: the pair of draws must be uniform over all pairs.
TEST(Distribution, CountersAreIndependent) {
  constexpr size_t kTokens = 16;
  Sampler sampler(kTokens);
  ASSERT_EQ(sampler.prepare(std::vector<float>(kTokens, 0.0f), {}, {}), SampleOutcome::ok);
  using Counter = std::function<int32_t(uint32_t)>;
  const Counter base = [&](uint32_t i) { return sampler.draw(1, 0, i); };
  const std::map<std::string, Counter> others = {
      {"next position", [&](uint32_t i) { return sampler.draw(1, 0, i + 1); }},
      {"next sequence", [&](uint32_t i) { return sampler.draw(1, 1, i); }},
      {"next seed", [&](uint32_t i) { return sampler.draw(2, 0, i); }},
      {"sequence for position", [&](uint32_t i) { return sampler.draw(1, i, 0); }},
      {"seed for position", [&](uint32_t i) { return sampler.draw(i + 2, 0, 0); }},
  };
  const std::vector<double> uniform(kTokens * kTokens, 1.0 / (kTokens * kTokens));
  for (const auto& [name, other] : others) {
    std::vector<int64_t> pairs(kTokens * kTokens, 0);
    for (uint32_t i = 0; i < 200'000; i += 2)
      ++pairs[static_cast<size_t>(base(i)) * kTokens + static_cast<size_t>(other(i))];
    EXPECT_GT(goodness_of_fit_p(pairs, uniform), 0.0005) << name;
  }
}

}  // namespace
}  // namespace arc
