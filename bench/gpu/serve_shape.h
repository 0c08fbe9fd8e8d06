// A trace on a model of a published shape: the engine itself, with random weights on a device.
#pragma once

#include "gpu/bench_model.h"
#include "serve/trace_replay.h"

namespace arc::bench {

struct ServeOptions {
  std::string cache = "turboquant";
  BlockCode weights = BlockCode::none;
  std::string trace;  // none: only what a hit costs
  std::vector<double> rates = {1, 2, 4};
  double begin = 600;   // of the slice of 300 s, in seconds of the trace
  double seconds = 15;  // of a run
  int32_t max_seqs = 64, max_batched_tokens = 2048;
  double step_ms = 50;
};

// Prints what replay() and measure_hit() say, as JSON, and writes it to `out` if that is named. Throws Error.
void serve_shape(const Shape& shape, const ServeOptions& options, const CudaDevice& device, const std::string& out);

}  // namespace arc::bench
