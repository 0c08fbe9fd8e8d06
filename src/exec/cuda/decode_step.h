// A step in which every sequence decodes one token, filled up to a fixed number of rows with idle ones.
#pragma once

#include <vector>

#include "exec/table_copy.h"
#include "kernels/api/step_inputs.h"
#include "plan/plan.h"

namespace arc {

// Whether a step is one token for each of its sequences, and each reaches the head.
bool is_decode(const StepInputs& inputs) noexcept;

class DecodeStep {
 public:
  explicit DecodeStep(const Plan& plan) : plan_(plan) {}

  // The same step with `n_rows` rows: those behind the first ones work on the dummy block. Good until the next call.
  const StepInputs& pad(const StepInputs& inputs, int32_t n_rows);

 private:
  struct Group {
    std::vector<int32_t> table, state_read, state_write;
    std::vector<int64_t> slots;
    TableCopy table_copy;
  };

  const Plan& plan_;
  StepInputs inputs_;
  std::vector<int32_t> tokens_, positions_, q_start_, seq_lens_, known_lens_, rows_, row_token_;
  std::vector<float*> row_logits_;
  std::vector<SamplingRow> sampling_;
  Group groups_[kMaxCacheGroups];
};

}  // namespace arc
