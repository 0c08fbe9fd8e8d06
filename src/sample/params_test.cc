// Tests of request values: validation, rows, stop rules.
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "base/error.h"
#include "sample/sampler_math.h"
#include "sample/sampling_params.h"
#include "sample/stop_rules.h"

namespace arc {
namespace {

// The message of the Error that `change` causes; empty when the parameters are accepted.
std::string refusal(const std::function<void(SamplingParams&)>& change) {
  SamplingParams params;
  change(params);
  try {
    validate(params, 100);
    return "";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    return e.what();
  }
}

TEST(Validate, AcceptsTheDefaultsAndTheLimits) {
  EXPECT_EQ(refusal([](SamplingParams&) {}), "");
  EXPECT_EQ(refusal([](SamplingParams& p) {
              p = {.temperature = 0.0f, .top_k = 1'000'000, .top_p = 0.0f, .min_p = 1.0f, .frequency_penalty = -2.0f};
              p.logit_bias = {{99, -100.0f}, {0, 100.0f}};
              p.max_tokens = p.min_tokens = 0;
              p.stop = {std::string(1024, 'x')};
            }),
            "");
}

TEST(Validate, NamesTheFieldTheRangeAndTheValue) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(refusal([](auto& p) { p.temperature = -0.5f; }), "temperature must be from 0 to 100, not -0.5");
  const std::vector<std::pair<std::string, std::function<void(SamplingParams&)>>> cases = {
      {"temperature", [=](auto& p) { p.temperature = nan; }},
      {"temperature", [=](auto& p) { p.temperature = infinity; }},
      {"top_k", [](auto& p) { p.top_k = -1; }},
      {"top_p", [](auto& p) { p.top_p = 1.01f; }},
      {"top_p", [=](auto& p) { p.top_p = nan; }},
      {"min_p", [](auto& p) { p.min_p = -0.1f; }},
      {"repetition_penalty", [](auto& p) { p.repetition_penalty = 0.0f; }},
      {"frequency_penalty", [=](auto& p) { p.frequency_penalty = -infinity; }},
      {"presence_penalty", [](auto& p) { p.presence_penalty = 2.1f; }},
      {"logit_bias names token 100", [](auto& p) { p.logit_bias = {{100, 1.0f}}; }},
      {"logit_bias names token -1", [](auto& p) { p.logit_bias = {{-1, 1.0f}}; }},
      {"logit_bias names token 4 twice", [](auto& p) { p.logit_bias = {{4, 1.0f}, {5, 1.0f}, {4, 2.0f}}; }},
      {"each logit_bias", [=](auto& p) { p.logit_bias = {{4, nan}}; }},
      {"n must be", [](auto& p) { p.n = 0; }},
      {"n must be", [](auto& p) { p.n = 129; }},
      {"max_tokens", [](auto& p) { p.max_tokens = -2; }},
      {"min_tokens", [](auto& p) { p.max_tokens = 3, p.min_tokens = 4; }},
      {"stop string", [](auto& p) { p.stop = {"a", ""}; }},
      {"stop string", [](auto& p) { p.stop = {std::string(1025, 'x')}; }},
      {"stop has 65", [](auto& p) { p.stop.assign(65, "x"); }},
      {"stop_token_ids", [](auto& p) { p.stop_token_ids = {100}; }},
      {"top_logprobs", [](auto& p) { p.top_logprobs = 129; }},
  };
  for (const auto& [expected, change] : cases) {
    EXPECT_NE(refusal(change).find(expected), std::string::npos) << expected << " / " << refusal(change);
  }
}

TEST(SamplingRow, CarriesTheRequest) {
  const SamplingParams params{.temperature = 0.5f, .top_k = 3, .logit_bias = {{9, 1.0f}, {2, -1.0f}}, .logprobs = true};
  const SamplingRow row = make_sampling_row(params, 11, 4);
  EXPECT_EQ(row.temperature, 0.5f);
  EXPECT_EQ(row.top_k, 3);
  EXPECT_EQ(row.n_logprobs, 0);
  EXPECT_EQ(row.seed, 11u);
  EXPECT_EQ(row.sequence, 4u);
  EXPECT_FALSE(has_penalties(row));
  EXPECT_TRUE(has_penalties(make_sampling_row({.presence_penalty = 0.1f}, 0, 0)));
  EXPECT_EQ(sorted_biases(params)[0].token, 2);
}

TEST(StopRules, IdsCountAfterMinTokensAndLengthAlways) {
  const SamplingParams params{.max_tokens = 6, .min_tokens = 2, .stop_token_ids = {7}};
  const StopRules rules = make_stop_rules(params, {1, 2}, 100);
  EXPECT_EQ(rules.check(1, 2), StopCause::none);  // only one token precedes it
  EXPECT_EQ(rules.check(1, 3), StopCause::eos);
  EXPECT_EQ(rules.check(7, 3), StopCause::stop_id);
  EXPECT_EQ(rules.check(9, 5), StopCause::none);
  EXPECT_EQ(rules.check(9, 6), StopCause::length);
  EXPECT_EQ(rules.check(2, 6), StopCause::eos);
  EXPECT_EQ(make_stop_rules(params, {}, 4).max_tokens, 4);
  EXPECT_EQ(make_stop_rules({}, {}, 4).max_tokens, 4);
}

TEST(StopRules, IgnoreEosKeepsTheRequestsOwnIds) {
  const StopRules rules = make_stop_rules({.ignore_eos = true, .stop_token_ids = {7}}, {1}, 100);
  EXPECT_EQ(rules.check(1, 1), StopCause::none);
  EXPECT_EQ(rules.check(7, 1), StopCause::stop_id);
}

}  // namespace
}  // namespace arc
