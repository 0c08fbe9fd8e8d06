// Attention of prompts over a raw bf16 cache, with rounded queries and weights.
#pragma once

#include "kernels/cuda/attention_call.cuh"

namespace arc::cuda {

// The `n_prompts` sequences behind those of `a`, which has all rows; theirs are the last `n_rows`.
struct PromptAttendCall {
  AttendCall a;
  int32_t n_prompts = 0;
  int64_t n_rows = 0;
  bool rounded = false;  // their rows of a.out hold bf16
};

// Whether the current device has it: then it takes every prompt, however few its tokens are.
bool has_prompt_attention();
void attend_prompts(const PromptAttendCall& c, std::byte* scratch, cudaStream_t stream);

}  // namespace arc::cuda
