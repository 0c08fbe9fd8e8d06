// Choices that a measurement decides; to be removed when it has.
#pragma once

namespace arc::cuda {

struct Tuning {
  bool early_start = true;       // kernels start before the one before them is done
  int ahead = 2;                 // runs of weights that a warp has in flight: 1, 2, 4
  int row_groups = 1;            // of 16 rows, per block: 1, 2
  bool contiguous = false;       // a warp's columns lie side by side
  bool many = true;              // tiles of many tokens
  bool tensor_attention = true;  // attention on tensor cores where it can
  int stages = 3;                // of its ring: 2, 3, 4
};
inline Tuning tuning;

}  // namespace arc::cuda
