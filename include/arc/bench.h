// Speed of a loaded model, and beside it, in the same process and in turn, what the machine can do. `arc bench` prints
// it.
#pragma once

#include <cstdint>
#include <vector>

#include "arc/engine.h"

namespace arc {

struct Spread {
  double median = 0, min = 0, max = 0;
};

struct BenchOptions {
  std::vector<int32_t> prompts = {512};  // tokens of a prompt whose prefill is timed; empty: none
  std::vector<int32_t> contexts = {64};  // tokens in the cache before decoding is timed
  std::vector<int32_t> batches = {1};    // sequences side by side
  int32_t decode_tokens = 128;           // of each sequence; 0: decoding is not timed
  int32_t repetitions = 5;
  int32_t warmup = 1;   // repetitions that do not count
  int32_t threads = 0;  // that read for the ceiling; 0: all cores
};

// One prefill or decode, measured several times. Work is what its ceiling limits: the flops of the weights' products in
// prefill, the bytes of weights and cache that must be read in decoding. Of routed experts a step counts those that one
// token chooses, so a batch of a sparse model reads more than is counted.
struct BenchRow {
  enum class Kind { prefill, decode };
  Kind kind = Kind::decode;
  int32_t batch = 1;
  int32_t context = 0;  // tokens in each sequence's cache at the start
  int32_t tokens = 0;   // of each sequence
  double work_per_token = 0;
  std::vector<double> seconds;       // of each repetition, until the engine had the last token
  std::vector<double> ceilings;      // work per second of the machine, measured before each repetition
  Spread tokens_per_second() const;  // of all sequences together
  Spread ceiling() const;
  double work_per_second() const { return work_per_token * tokens_per_second().median; }
  double share() const { return work_per_second() / ceiling().median; }
};

// Measures every combination. Prompts are distinct token ids, so load the engine without prefix cache. Throws
// Error(invalid_argument) for sizes that the engine cannot hold, Error(resource) when a request fails.
std::vector<BenchRow> run_bench(Engine& engine, const BenchOptions& options, const ProgressSink& progress = {});

// What the prefill ceiling is a rate of: "BF16 dot products", or f32 products where the machine has no BF16.
const char* matrix_peak_name();

}  // namespace arc
