// Attention on tensor cores, where shapes allow it; attention.cu does the rest.
#pragma once

#include "kernels/api/kernel.h"

namespace arc::cuda {

bool attends_on_tensor_cores(const AttendArgs& a, const Operands& o);
void attend_on_tensor_cores(const AttendArgs& a, const Operands& o);

}  // namespace arc::cuda
