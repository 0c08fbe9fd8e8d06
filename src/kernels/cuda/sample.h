// Sampling on the device: the definition in sample/sampler_math.h, so the same token as the host's Sampler for the same
// logits. Host code may include this header.
#pragma once

#include <cstddef>
#include <cstdint>

#include "sample/sampler.h"

namespace arc::cuda {

inline constexpr int kSampleRows = 32;  // rows that share the scratch memory at a time

// What became of one row.
struct DrawnRow {
  int32_t token = -1;
  float logprob = 0.0f;  // of `token`, when the row asks for logprobs
  int32_t n_top = 0;     // entries of SampleCall::top
  int32_t outcome = 0;   // SampleOutcome
};

// All pointers are device memory.
struct SampleCall {
  const float* logits = nullptr;  // [R, V]
  int32_t n_rows = 0, vocab = 0;
  const SamplingRow* rows = nullptr;   // [R]
  const int32_t* row_token = nullptr;  // [R] as StepInputs::row_token
  SamplingTables tables;
  DrawnRow* drawn = nullptr;  // [R]
  RawLogprob* top = nullptr;  // [R, kMaxTopLogprobs]
  std::byte* scratch = nullptr;
};

int64_t sample_scratch_bytes(int32_t vocab);

// On `stream`; never waits. The same kernels and addresses whatever the rows ask for, so it can be captured.
void sample(const SampleCall& call, void* stream) noexcept;

}  // namespace arc::cuda
