// The end of a step: what one row came to becomes a token or a score, or is handed out as it is.
#pragma once

#include "exec/executor.h"

namespace arc {

// `hidden` [R, C]. Copies the row where the step wants it.
void copy_hidden(const StepInputs& inputs, const TensorView& hidden, int32_t row) noexcept;

// `logits` [R, V], or empty where the model makes no tokens. Draws a token, or takes the one that the step names;
// log-probabilities and a copy of the logits when the row asks for them.
void sample_row(Sampler& sampler, const StepInputs& inputs, const TensorView& logits, int32_t row,
                RowResult& result) noexcept;

}  // namespace arc
