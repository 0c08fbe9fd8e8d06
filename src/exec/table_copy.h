// A second copy of a step's block tables, of which only what the step may read is written.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/api/step_inputs.h"

namespace arc {

// Rows are as long as the longest sequence may ever be; steps read the beginning.
class TableCopy {
 public:
  // Writes [rows, stride] to `to`: the first n_rows from the step's group, the others dummies. Entries that no
  // position of the step and its lease has (and the one behind) keep what they are; all are valid blocks, though:
  // between two calls with the same address, rows and stride nobody else writes there.
  void write(const StepInputs& step, int group, int32_t tile_tokens, int32_t n_rows, int32_t rows, int32_t* to) {
    const GroupInputs& from = step.groups[group];
    const int64_t stride = from.table_stride;
    const bool known = to == to_ && rows == rows_ && stride == stride_;
    const int64_t n = known ? std::min<int64_t>(columns(step, n_rows, tile_tokens), stride) : stride;
    for (int64_t r = 0; r < rows; ++r) {
      if (r < n_rows) {
        std::copy_n(from.block_table + r * stride, n, to + r * stride);
      } else {
        std::fill_n(to + r * stride, n, 0);
      }
    }
    to_ = to, rows_ = rows, stride_ = stride;
  }

 private:
  static int32_t columns(const StepInputs& step, int32_t n_rows, int32_t tile_tokens) {
    const int32_t longest = n_rows > 0 ? *std::max_element(step.seq_lens, step.seq_lens + n_rows) : 1;
    return (longest + (step.control != nullptr ? step.control->lease : 0)) / tile_tokens + 1;
  }

  const int32_t* to_ = nullptr;
  int64_t stride_ = 0;
  int32_t rows_ = 0;
};

}  // namespace arc
