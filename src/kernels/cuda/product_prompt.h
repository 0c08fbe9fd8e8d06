// Products with tokens of prompts, which round tokens and weights to bf16; linear.cu does the rest.
#pragma once

#include <cuda_runtime.h>

#include "kernels/api/kernel.h"

namespace arc::cuda {

struct PromptProduct {
  MatrixView w;
  TensorView x, y;
  bool rounded_in = false, rounded_out = false;  // as Operands has them
};

// Whether a prompt's products with these weights are made here on the current device, however few its tokens are.
// `scratch` has kPromptBytes.
bool fits_prompt(const LinearArgs&, const MatrixView& w);
void product_prompt(const PromptProduct& p, std::byte* scratch, cudaStream_t stream);
// Likewise, with the activation behind it, where gates_prompt(): w are gates, then as many rows that they are for. Only
// here may y be rounded.
bool gates_prompt(const LinearArgs&, const MatrixView& w, const ActArgs& act);
void product_prompt_gated(const PromptProduct& p, const ActArgs& act, std::byte* scratch, cudaStream_t stream);

}  // namespace arc::cuda
