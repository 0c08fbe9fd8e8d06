// How far one setting's distributions are from another's: both engines read the same windows, and every row of logits
// is compared in full.
#include "eval/divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "fmt/format.h"

#include "arc/eval.h"
#include "arc/score.h"
#include "base/error.h"
#include "eval/journal.h"
#include "eval/windows.h"

namespace arc {
namespace {

constexpr int64_t kMaxLogitBytes = int64_t{1} << 30;  // of both engines' windows that are compared at a time
constexpr size_t kMaxGroup = 16;

double log_sum_exp(std::span<const float> row, float largest) {
  double sum = 0;
  for (const float x : row) sum += std::exp(static_cast<double>(x - largest));
  return largest + std::log(sum);
}

// Windows [begin, end) of `parts`, read by one engine.
struct Reading {
  std::vector<std::vector<float>> logits;  // per window [tokens, vocab]
  std::vector<Score> scores;
};
Reading read(Engine& engine, const Windows& windows, std::span<const size_t> parts, int64_t vocab) {
  Reading reading;
  std::vector<ScoreRequest> requests;
  for (const size_t part : parts) {
    const std::vector<int32_t>& tokens = windows.list[part].tokens;
    reading.logits.emplace_back(tokens.size() * static_cast<size_t>(vocab));
    requests.push_back({.tokens = tokens, .logits = reading.logits.back().data()});
  }
  reading.scores = score(engine, requests);
  return reading;
}

double nll(const Score& score, const Window& window) {
  double sum = 0;
  for (auto p = static_cast<size_t>(window.first) - 1; p < score.logprobs.size(); ++p) sum -= score.logprobs[p];
  return sum;
}

// One part of the journal.
Json compared(const Window& window, const Reading& reference, const Reading& other, size_t index, size_t vocab) {
  std::vector<double> kl;
  int64_t same = 0, catastrophic = 0;
  for (auto row = static_cast<size_t>(window.first) - 1; row + 1 < window.tokens.size(); ++row) {
    const RowDivergence d = compare_rows({reference.logits[index].data() + row * vocab, vocab},
                                         {other.logits[index].data() + row * vocab, vocab});
    kl.push_back(d.kl);
    same += d.same_top ? 1 : 0;
    catastrophic += d.catastrophic ? 1 : 0;
  }
  return {{"kl", kl},
          {"same_top", same},
          {"catastrophic", catastrophic},
          {"nll", nll(other.scores[index], window)},
          {"reference_nll", nll(reference.scores[index], window)}};
}

Divergence summary(const Journal& journal, const Windows& windows) {
  Divergence result{.windows = static_cast<int64_t>(windows.list.size())};
  std::vector<double> all;
  std::vector<WindowSum> sums;
  double nll = 0, reference_nll = 0;
  for (size_t i = 0; i < windows.list.size(); ++i) {
    const Json& part = journal.result(i);
    double sum = 0;
    for (const Json& value : part.at("kl")) {
      all.push_back(value.is_null() ? std::numeric_limits<double>::infinity() : value.get<double>());  // as JSON has it
      sum += all.back();
    }
    sums.push_back({.sum = sum, .n = static_cast<double>(part.at("kl").size())});
    result.same_top += part.at("same_top").get<double>();
    result.catastrophic += part.at("catastrophic").get<double>();
    nll += part.at("nll").get<double>();
    reference_nll += part.at("reference_nll").get<double>();
  }
  const auto n = static_cast<double>(all.size());
  const MeanError mean = mean_of(sums);
  std::ranges::sort(all);
  const auto quantile = [&](double q) { return all[static_cast<size_t>(std::lround(q * (n - 1)))]; };
  result.positions = static_cast<int64_t>(all.size());
  result.mean = mean.mean;
  result.mean_error = mean.error;
  result.median = quantile(0.5);
  result.p99 = quantile(0.99);
  result.max = all.back();
  result.same_top /= n;
  result.catastrophic /= n;
  result.perplexity = std::exp(nll / n);
  result.reference_perplexity = std::exp(reference_nll / n);
  return result;
}

}  // namespace

RowDivergence compare_rows(std::span<const float> reference, std::span<const float> other) {
  const auto top = std::ranges::max_element(reference) - reference.begin();
  const auto other_top = std::ranges::max_element(other) - other.begin();
  const double norm = log_sum_exp(reference, reference[static_cast<size_t>(top)]);
  const double other_norm = log_sum_exp(other, other[static_cast<size_t>(other_top)]);
  double kl = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double p = reference[i] - norm;
    if (const double share = std::exp(p); share > 0) kl += share * (p - (other[i] - other_norm));
  }
  const double lost = (reference[static_cast<size_t>(top)] - norm) - (other[static_cast<size_t>(top)] - other_norm);
  return {.kl = std::max(kl, 0.0), .same_top = top == other_top, .catastrophic = lost > std::log(10.0)};
}

Divergence evaluate_divergence(Engine& engine, Engine& reference, const std::vector<std::string>& documents,
                               const TextOptions& options, const EvalRun& run) {
  const int64_t vocab = engine.info().vocab_size;
  if (vocab != reference.info().vocab_size) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the vocabularies differ: {} tokens, and {} of the reference",
                                                         vocab, reference.info().vocab_size));
  }
  const Windows windows = cut_windows(engine, documents, options);
  Journal journal(run, windows.key, windows.list.size(), "kl");
  const int64_t window_bytes = 2 * windows.key.at("window").get<int64_t>() * vocab * int64_t{sizeof(float)};
  const auto group = static_cast<size_t>(std::clamp<int64_t>(kMaxLogitBytes / window_bytes, 1, kMaxGroup));
  const std::vector<size_t> parts = journal.missing();
  for (size_t begin = 0; begin < parts.size(); begin += group) {
    const std::span<const size_t> now(parts.data() + begin, std::min(group, parts.size() - begin));
    const Reading theirs = read(reference, windows, now, vocab), ours = read(engine, windows, now, vocab);
    for (size_t i = 0; i < now.size(); ++i) {
      journal.add(now[i], compared(windows.list[now[i]], theirs, ours, i, static_cast<size_t>(vocab)));
    }
  }
  return summary(journal, windows);
}

}  // namespace arc
