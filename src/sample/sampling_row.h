// One sequence's sampling parameters as a step sees them: plain structs, the same on host and device.
#pragma once

#include <cstdint>
#include <type_traits>

namespace arc {

// A value added to one token's logit.
struct BiasEntry {
  int32_t token = 0;
  float value = 0.0f;
};

// 64 bytes; the defaults draw from the unchanged distribution. `SamplingTables` holds what has no fixed size.
struct SamplingRow {
  float temperature = 1.0f;  // below kGreedyTemperature: the most likely token
  float top_p = 1.0f;        // 1 or more keeps all
  float min_p = 0.0f;        // 0 keeps all
  float repetition_penalty = 1.0f;
  float frequency_penalty = 0.0f;
  float presence_penalty = 0.0f;
  int32_t top_k = 0;        // 0 keeps all
  int32_t bias_begin = 0;   // first entry in SamplingTables::biases
  int32_t bias_count = 0;   // entries, by ascending token, no token twice
  int32_t counts_row = -1;  // row of SamplingTables::counts; -1: no penalties
  int32_t mask_row = -1;    // row of SamplingTables::allowed; -1: every token is allowed
  int32_t n_logprobs = -1;  // -1: none; k: of the drawn token and of the k most likely ones
  uint64_t seed = 0;
  uint32_t sequence = 0;  // which answer of its request (0 to n-1), so that a batch draws as the request alone does
  uint32_t position = 0;  // of the drawn token in its sequence, prompt included
};
static_assert(sizeof(SamplingRow) == 64 && std::is_trivially_copyable_v<SamplingRow>);

// What rows point into: host memory for the host sampler, device memory for a kernel. Unused tables are null.
struct SamplingTables {
  const BiasEntry* biases = nullptr;
  const uint32_t* counts = nullptr;   // [rows, V]: kInPrompt, or'ed with the number of occurrences in the output
  const uint32_t* allowed = nullptr;  // [rows, mask_words(V)]: bit t % 32 of word t / 32 allows token t
};

constexpr uint32_t kInPrompt = uint32_t{1} << 31;

// Words of one row of token bits.
constexpr int32_t mask_words(int32_t vocab_size) {
  return (vocab_size + 31) / 32;
}

enum class SampleOutcome : uint8_t {
  ok,
  no_candidate,  // every token is masked or minus infinity
  bad_logits,    // NaN or plus infinity among the allowed logits: the model's numbers broke
};

}  // namespace arc
