// Attention on tensor cores, where shapes allow it; attention.cu does the rest.
#pragma once

#include "kernels/api/kernel.h"

namespace arc::cuda {

bool attends_on_tensor_cores(const AttendArgs& a, const Operands& o);
// Whether attention_prompt.cuh takes the prompts of such a call.
bool attends_prompts(const AttendArgs& a, const Operands& o);
void attend_on_tensor_cores(const AttendArgs& a, const Operands& o);

}  // namespace arc::cuda
