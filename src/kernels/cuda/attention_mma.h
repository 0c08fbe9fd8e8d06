// Attention on tensor cores, where shapes allow it; attention.cu does the rest.
#pragma once

#include "kernels/api/kernel.h"

namespace arc::cuda {

bool attends_on_tensor_cores(const AttendArgs& a, const Operands& o);
void attend_on_tensor_cores(const AttendArgs& a, const Operands& o);

// Prompts (StepInputs::n_prompts) over caches of bf16, and over compressed ones of models that are not in f32, with
// queries, weights and what codes stand for rounded to bf16: attention_prompt.cuh.
bool has_prompt_attention();  // on the current device
// Whether it takes the prompts of a call, however few their tokens are.
bool attends_prompts(const AttendArgs& a, const Operands& o);
void attend_prompts(const AttendArgs& a, const Operands& o);

}  // namespace arc::cuda
