// Requests whose draws are compared with a separate double-precision reference.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/counter_rng.h"
#include "sample/sampler.h"

namespace arc::test {

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
inline std::vector<double> reference(const Shape& shape) {
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
inline std::vector<float> gaussian(size_t n, double deviation, uint64_t stream) {
  std::vector<float> logits(n);
  for (size_t i = 0; i < n; ++i) {
    const Philox r = philox(0xBEEF, stream, i);
    const double radius = std::sqrt(-2.0 * std::log(open_uniform(r.word[0], r.word[1])));
    logits[i] = static_cast<float>(deviation * radius * std::cos(2.0 * M_PI * open_uniform(r.word[2], r.word[3])));
  }
  return logits;
}

inline std::vector<float> change(std::vector<float> logits, const std::function<float(size_t, float)>& f) {
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = f(i, logits[i]);
  return logits;
}

inline std::set<int> two_of_three(int n) {
  std::set<int> ids;
  for (int i = 0; i < n; ++i) {
    if (i % 3 != 1) ids.insert(i);
  }
  return ids;
}

inline std::vector<Shape> shapes() {
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

inline Inputs inputs_of(const Shape& shape, uint64_t seed) {
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

}  // namespace arc::test
