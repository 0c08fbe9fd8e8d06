// Products of prompts' tokens with the experts that they chose, which round tokens; linear.cu does the rest.
#pragma once

#include <cuda_runtime.h>

#include "kernels/api/kernel.h"

namespace arc::cuda {

struct ExpertProduct {
  MatrixView w;
  ExpertLinearArgs args;
  TensorView x, ids, y;
  bool rounded_in = false, rounded_out = false;  // as Operands has them
};

// As fits_prompt(), gates_prompt() and what they are for.
bool fits_prompt(const ExpertLinearArgs& a, const MatrixView& w);
void product_prompt(const ExpertProduct& p, std::byte* scratch, cudaStream_t stream);
bool gates_prompt(const ExpertLinearArgs& a, const MatrixView& w, const ActArgs& act);
void product_prompt_gated(const ExpertProduct& p, const ActArgs& act, std::byte* scratch, cudaStream_t stream);

}  // namespace arc::cuda
