// The end of a step: what the head gave for one row becomes a token or a score.
#pragma once

#include "exec/executor.h"

namespace arc {

// `logits` [R, V]. Draws a token, or takes the one that the step names; log-probabilities and a
// copy of the logits when the row asks for them.
void sample_row(Sampler& sampler, const StepInputs& inputs, const TensorView& logits, int32_t row,
                RowResult& result) noexcept;

}  // namespace arc
