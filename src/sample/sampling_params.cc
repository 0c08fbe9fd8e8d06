#include "sample/sampling_params.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "fmt/format.h"

#include "base/error.h"
#include "sample/sampler.h"

namespace arc {
namespace {

constexpr int32_t kMaxAnswers = 128;
constexpr size_t kMaxStops = 64;
constexpr size_t kMaxStopBytes = 1024;

// NaN is in no range.
template <typename T>
void check_range(std::string_view field, T value, T low, T high) {
  if (value >= low && value <= high) return;
  throw Error(ErrorCode::invalid_argument, fmt::format("{} must be from {} to {}, not {}", field, low, high, value));
}

void check_token(std::string_view field, int32_t token, int32_t vocab_size) {
  if (token >= 0 && token < vocab_size) return;
  throw Error(ErrorCode::invalid_argument,
              fmt::format("{} names token {}; the vocabulary has tokens 0 to {}", field, token, vocab_size - 1));
}

void check_count(std::string_view field, size_t count, size_t limit) {
  if (count <= limit) return;
  throw Error(ErrorCode::invalid_argument, fmt::format("{} has {} entries; the limit is {}", field, count, limit));
}

void check_biases(const SamplingParams& params, int32_t vocab_size) {
  for (const auto& [token, value] : params.logit_bias) {
    check_token("logit_bias", token, vocab_size);
    check_range("each logit_bias", value, -100.0f, 100.0f);
  }
  const std::vector<BiasEntry> sorted = sorted_biases(params);
  const auto same = [](const BiasEntry& a, const BiasEntry& b) { return a.token == b.token; };
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end(), same);
  if (twice == sorted.end()) return;
  throw Error(ErrorCode::invalid_argument, fmt::format("logit_bias names token {} twice", twice->token));
}

void check_stops(const SamplingParams& params, int32_t vocab_size) {
  check_count("stop", params.stop.size(), kMaxStops);
  check_count("stop_token_ids", params.stop_token_ids.size(), kMaxStops);
  for (const std::string& stop : params.stop) {
    check_range<size_t>("the length in bytes of each stop string", stop.size(), 1, kMaxStopBytes);
  }
  for (int32_t token : params.stop_token_ids) check_token("stop_token_ids", token, vocab_size);
}

}  // namespace

void validate(const SamplingParams& params, int32_t vocab_size) {
  constexpr int32_t kAny = std::numeric_limits<int32_t>::max();
  check_range("temperature", params.temperature, 0.0f, 100.0f);
  check_range("top_k", params.top_k, 0, kAny);
  check_range("top_p", params.top_p, 0.0f, 1.0f);
  check_range("min_p", params.min_p, 0.0f, 1.0f);
  check_range("repetition_penalty", params.repetition_penalty, 0.01f, 100.0f);
  check_range("frequency_penalty", params.frequency_penalty, -2.0f, 2.0f);
  check_range("presence_penalty", params.presence_penalty, -2.0f, 2.0f);
  check_biases(params, vocab_size);
  check_range("n", params.n, 1, kMaxAnswers);
  check_range("max_tokens", params.max_tokens, -1, kAny);
  check_range("min_tokens", params.min_tokens, 0, params.max_tokens < 0 ? kAny : params.max_tokens);
  check_stops(params, vocab_size);
  check_range("top_logprobs", params.top_logprobs, 0, kMaxTopLogprobs);
}

SamplingRow make_sampling_row(const SamplingParams& params, uint64_t seed, uint32_t sequence) {
  return {.temperature = params.temperature,
          .top_p = params.top_p,
          .min_p = params.min_p,
          .repetition_penalty = params.repetition_penalty,
          .frequency_penalty = params.frequency_penalty,
          .presence_penalty = params.presence_penalty,
          .top_k = params.top_k,
          .n_logprobs = params.logprobs ? params.top_logprobs : -1,
          .seed = seed,
          .sequence = sequence};
}

std::vector<BiasEntry> sorted_biases(const SamplingParams& params) {
  std::vector<BiasEntry> entries;
  for (const auto& [token, value] : params.logit_bias) entries.push_back({.token = token, .value = value});
  std::ranges::sort(entries, {}, &BiasEntry::token);
  return entries;
}

}  // namespace arc
