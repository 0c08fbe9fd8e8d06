// Draws against a separate double-precision reference: 20 shapes of logits and parameters, one seed each, chi-square
// per shape and Kolmogorov-Smirnov over the p-values. ARC_FULL=1 draws 1,000,000 per shape instead of 100,000.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "sample/test_shapes.h"
#include "sample/test_statistics.h"

namespace arc {
namespace {

using namespace test;

bool full_run() {
  return std::getenv("ARC_FULL") != nullptr;
}

TEST(Statistics, MatchPublishedQuantiles) {
  EXPECT_NEAR(chi_square_p(3.841459, 1), 0.05, 1e-7);
  EXPECT_NEAR(chi_square_p(18.307038, 10), 0.05, 1e-7);
  EXPECT_NEAR(chi_square_p(1074.6794, 1000), 0.05, 1e-6);
  EXPECT_NEAR(chi_square_p(5.0, 2), std::exp(-2.5), 1e-12);
  EXPECT_NEAR(chi_square_p(900.0, 1000), 1.0 - 0.0104, 1e-3);
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
