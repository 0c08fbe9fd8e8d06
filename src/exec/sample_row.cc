#include "exec/sample_row.h"

#include <algorithm>

namespace arc {

void copy_hidden(const StepInputs& inputs, const TensorView& hidden, int32_t row) noexcept {
  if (inputs.row_hidden == nullptr || inputs.row_hidden[row] == nullptr) return;
  std::copy_n(hidden.row<float>(row), hidden.cols, inputs.row_hidden[row]);
}

void sample_row(Sampler& sampler, const StepInputs& inputs, const TensorView& logits, int32_t row,
                RowResult& result) noexcept {
  const SamplingRow& settings = inputs.sampling[row];
  if (logits.data == nullptr) {
    result.outcome = SampleOutcome::ok;
    return;
  }
  const std::span<const float> values(logits.row<float>(row), static_cast<size_t>(logits.cols));
  if (inputs.row_logits != nullptr && inputs.row_logits[row] != nullptr) {
    std::ranges::copy(values, inputs.row_logits[row]);
  }
  const int32_t given = inputs.row_token != nullptr ? inputs.row_token[row] : -1;
  if (given >= 0) {
    result.token = given;
    result.outcome = SampleOutcome::ok;
  } else {
    const Sample drawn = sampler.sample(values, settings, inputs.tables);
    result.token = drawn.token;
    result.outcome = drawn.outcome;
  }
  result.top.clear();
  if (settings.n_logprobs < 0 || result.outcome != SampleOutcome::ok) return;
  const RawLogprobs logprobs = sampler.logprobs(values, result.token, settings.n_logprobs);
  result.outcome = logprobs.outcome;
  result.logprob = logprobs.chosen.logprob;
  result.top.assign(logprobs.top.begin(), logprobs.top.end());
}

}  // namespace arc
