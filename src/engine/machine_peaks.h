// What this machine can do at most: read memory, and multiply. Measured beside a model's speed, never assumed.
#pragma once

#include <cstddef>

namespace arc {

// Cores that this process may run on; `asked` when that is greater than zero.
int n_threads(int asked);

// Reads a buffer of 2 GB (a quarter of the free memory where that is less) in huge pages, a part by each thread, each
// thread pinned to its core.
class ReadCeiling {
 public:
  explicit ReadCeiling(int threads);
  ~ReadCeiling();
  ReadCeiling(const ReadCeiling&) = delete;
  ReadCeiling& operator=(const ReadCeiling&) = delete;

  double bytes_per_second() const;  // of one pass

 private:
  int threads_;
  size_t bytes_;
  void* data_;
};

// Multiplications and additions that `threads` pinned threads do in registers, in the fastest type named by
// matrix_peak_name() (arc/bench.h). Takes about 50 ms.
double measure_matrix_peak(int threads);

}  // namespace arc
