// The table of speeds: shapes, presets of the cache, batches, contexts and prompts, each with its share of the ceiling.
#pragma once

#include <string>

#include "tensor/device_memory.h"

namespace arc::bench {

struct TableOptions {
  std::string shape;     // a part of a name; empty: all
  double seconds = 200;  // cells that would begin later are not measured
  std::string out;       // a file for the same, a line of JSON for each cell as soon as it is measured; empty: none
  bool resume = false;   // cells that `out` has are not measured again
};

// `read_ceiling` in GB/s. False when a check of the decoded tokens failed.
bool bench_table(const TableOptions& options, const CudaDevice& device, double read_ceiling);

}  // namespace arc::bench
