// A copy of block tables that moves and is filled again has what each step may read.
#include "exec/table_copy.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace arc {
namespace {

constexpr int32_t kTile = 4, kSeqs = 8, kStride = 20;

// Sequences that grow, end and are replaced: what a step and its lease may read is always there.
TEST(TableCopy, HasWhatTheStepMayRead) {
  std::mt19937 random(3);
  const auto below = [&](int n) { return static_cast<int32_t>(random() % static_cast<unsigned>(n)); };
  std::vector<int32_t> memory(static_cast<size_t>(2 * kSeqs * kStride), -1);
  TableCopy copy;
  int32_t rows = kSeqs, at = 0;
  for (int round = 0; round < 3000; ++round) {
    if (below(10) == 0) {
      const int32_t other = 1 + below(kSeqs), there = below(kSeqs * kStride);
      if (other != rows || there != at) std::ranges::fill(memory, -1);  // something else lay there
      rows = other, at = there;
    }
    LoopControl control{.lease = 1 + below(9)};
    std::vector<int32_t> table(static_cast<size_t>(rows * kStride)), seq_lens;
    const int32_t n_seqs = below(rows + 1);
    for (int32_t s = 0; s < n_seqs; ++s) {
      seq_lens.push_back(1 + below(kStride * kTile - control.lease));
      for (int32_t i = 0; i * kTile < seq_lens.back() + control.lease; ++i)
        table[static_cast<size_t>(s * kStride + i)] = 1 + below(99);
    }
    StepInputs step{.n_seqs = n_seqs, .seq_lens = seq_lens.data(), .control = below(2) == 0 ? &control : nullptr};
    step.groups[1] = {.block_table = table.data(), .table_stride = kStride};
    copy.write(step, 1, kTile, n_seqs, rows, memory.data() + at);
    for (int32_t r = 0; r < rows; ++r) {
      const int32_t lease = step.control != nullptr ? control.lease : 0;
      const int32_t end = r < n_seqs ? std::min((seq_lens[static_cast<size_t>(r)] + lease) / kTile + 1, kStride) : 1;
      for (int32_t i = 0; i < kStride; ++i) {
        const auto got = memory[static_cast<size_t>(at + r * kStride + i)];
        EXPECT_GE(got, 0);
        if (i >= end) continue;
        EXPECT_EQ(got, table[static_cast<size_t>(r * kStride + i)]) << round << " " << r << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace arc
