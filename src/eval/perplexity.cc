// Perplexity of texts, window by window.
#include <cmath>
#include <numbers>
#include <utility>

#include "arc/eval.h"
#include "eval/in_flight.h"
#include "eval/journal.h"
#include "eval/windows.h"

namespace arc {

Perplexity evaluate_perplexity(Engine& engine, const std::vector<std::string>& documents, const TextOptions& options,
                               const EvalRun& run) {
  const Windows windows = cut_windows(engine, documents, options);
  Journal journal(run, windows.key, windows.list.size(), "perplexity");
  const std::vector<size_t> parts = journal.missing();
  const auto make = [&](size_t i) {
    Request request{.prompt = TokenPrompt{windows.list[parts[i]].tokens}};
    request.sampling = {.temperature = 0, .max_tokens = 0, .prompt_logprobs = true};
    return request;
  };
  const auto take = [&](size_t i, const Answer& answer) {
    double nll = 0;
    for (auto p = static_cast<size_t>(windows.list[parts[i]].first); p < answer.prompt_logprobs.size(); ++p) {
      nll -= answer.prompt_logprobs[p].chosen.logprob;
    }
    journal.add(parts[i], nll);
  };
  run_requests(engine, parts.size(), make, take);

  Perplexity result{.bytes = windows.bytes, .windows = static_cast<int64_t>(windows.list.size())};
  std::vector<WindowSum> sums;
  for (size_t i = 0; i < windows.list.size(); ++i) {
    sums.push_back({.sum = journal.result(i).get<double>(), .n = static_cast<double>(windows.list[i].counted())});
    result.tokens += windows.list[i].counted();
  }
  const MeanError nll = mean_of(sums);
  result.nll = nll.mean;
  result.nll_error = nll.error;
  result.perplexity = std::exp(nll.mean);
  result.perplexity_error = result.perplexity * nll.error;
  result.bits_per_byte =
      nll.mean * static_cast<double>(result.tokens) / static_cast<double>(result.bytes) / std::numbers::ln2;
  return result;
}

}  // namespace arc
