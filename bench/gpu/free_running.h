// Whether what the host does changes how fast the device decodes.
#pragma once

#include "exec/cuda/cuda_executor.h"

namespace arc::bench {

// Leases of one sequence over `context` tokens of cache, by the device's clock: the host reads along, sleeps 500 ms, or
// has all its cores busy. Prints the medians and their ratios. A lease has up to 2048 tokens, for which the cache must
// have blocks. Throws Error(resource).
void bench_free_running(const char* name, CudaExecutor& executor, int context);

}  // namespace arc::bench
