// Inputs of steps over sequences side by side, for executors that are driven without an engine.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "exec/executor.h"

namespace arc::bench {

constexpr int kMaxBatch = 64, kMaxTokens = 2048, kMaxContext = 32768;
constexpr int kMaxTiles = kMaxContext / kTileTokens + 1;  // of a sequence

// `batch` sequences that each add `tokens` behind `start`.
struct StepShape {
  int batch = 1, start = 0, tokens = 1;
  int tiles() const { return (start + tokens + kTileTokens - 1) / kTileTokens; }
};

// Which open tiles a step writes: each sequence a few in turn, or, where a step fills more, those of all tiles. Both
// begin with block 1.
enum class OpenTiles { ring, fill };
constexpr int kOpenRing = 4;  // more than any preset reads
constexpr int kOpenBlocks = kMaxBatch * kOpenRing;
static_assert(kOpenBlocks >= kOpenRing + kMaxTokens / kTileTokens);

// Greedy. Sequence s has the blocks 1 + s * tiles and so on.
class BenchStep {
 public:
  BenchStep(const Plan& plan, const StepShape& shape, OpenTiles open_tiles);
  BenchStep(const BenchStep&) = delete;
  BenchStep& operator=(const BenchStep&) = delete;

  StepInputs& inputs() { return inputs_; }
  // Of sequences that decode: the step behind this one, which drew `tokens`.
  void advance(std::span<const int32_t> tokens);

 private:
  struct Group {
    std::vector<int32_t> table;
    std::vector<int64_t> slots;
  };
  void set_slots();

  size_t n_groups_;
  std::vector<int32_t> tokens_, positions_, q_start_ = {0}, rows_, seq_lens_;
  std::vector<SamplingRow> sampling_;
  std::array<Group, kMaxCacheGroups> groups_;
  StepInputs inputs_;
};

}  // namespace arc::bench
