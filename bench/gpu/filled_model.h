// A model with random weights whose cache is full of random keys and values, to decode behind contexts that were never
// read.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "gpu/bench_model.h"
#include "gpu/step_inputs.h"

namespace arc::bench {

// What decoding came to.
struct Decoded {
  double seconds = 0;        // of a token of each sequence
  int n = 0, n_checked = 0;  // tokens of each sequence; those that single steps drew once more
  bool same = false;         // single steps drew the same tokens, and logits were numbers
};

// Bytes of a tile of every group of open tiles, or of every other group.
int64_t block_bytes(const Plan& plan, bool open);

class FilledModel {
 public:
  FilledModel(Plan plan, const LoadedWeights& weights, const StepCapacity& capacity, const CudaDevice& device);

  // Allocates and fills the cache: a sequence's keys and values go through the plan's own append stages (encoding and
  // packing included), copies of its tiles are the other sequences. Throws Error(resource).
  void fill(const CacheCapacity& capacity);

  // Up to `most` greedy tokens of each sequence in a lease, fewer where they would take over `budget_seconds`; some of
  // them once more by single steps. Throws Error(resource) when the device fails.
  Decoded decode(const StepShape& shape, int most, double budget_seconds);

  // Bytes that a token of each sequence reads on the average of `n` tokens: weights and cache, cache.
  double bytes_read(const StepShape& shape, int n) const;
  double cache_bytes_read(const StepShape& shape, int n) const;

  int64_t n_tiles() const { return n_tiles_; }  // filled, of all sequences
  const Plan& plan() const { return plan_; }
  CudaExecutor& executor() { return executor_; }

 private:
  struct Lease {
    double seconds = 0;
    std::vector<int32_t> tokens;  // step by step; -1: no number
  };

  void append(const StepShape& shape, OpenTiles open);
  void repeat(const KvView& kv, int64_t n, int64_t all) const;
  Lease lease(const StepShape& shape, int n);
  bool stepwise_same(const StepShape& shape, std::span<const int32_t> expected, int n);

  Plan plan_;
  Device device_;
  int step_tokens_;
  CudaExecutor executor_;
  int64_t n_tiles_ = 0, n_open_tiles_ = INT32_MAX;  // no groups of open tiles: as many as one likes
};

}  // namespace arc::bench
