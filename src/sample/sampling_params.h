// From a request's SamplingParams to what the engine runs on: checked values, rows, biases.
#pragma once

#include <cstdint>
#include <vector>

#include "arc/sampling.h"
#include "sample/sampling_row.h"

namespace arc {

// Throws Error(invalid_argument) that names the field, its range and the value given.
void validate(const SamplingParams& params, int32_t vocab_size);

// The row of answer `sequence` (0 to n-1) of a valid request. Places in SamplingTables and the position stay unset.
SamplingRow make_sampling_row(const SamplingParams& params, uint64_t seed, uint32_t sequence);

// The request's logit biases in the order that SamplingRow promises.
std::vector<BiasEntry> sorted_biases(const SamplingParams& params);

}  // namespace arc
