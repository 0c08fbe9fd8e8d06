// An executor that computes nothing: what is left of a step is the host's work, and it is timed from both sides.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "exec/executor.h"

namespace arc::bench {

// Processor time of the calling thread.
double thread_us();

class IdleExecutor : public Executor {
 public:
  struct Options {
    double step_us = 0;      // a step lasts so long
    int32_t max_lease = 1;   // steps of a lease
    int32_t vocab_size = 1;  // tokens are drawn from all of it, in turns
  };
  explicit IdleExecutor(const Options& options) : options_(options) {}

  void allocate_cache(const CacheCapacity&) override {}
  void swap_out(std::span<const StepCopy>) noexcept override {}
  void swap_in(std::span<const StepCopy>) noexcept override {}
  RunOutcome run(const StepInputs& inputs, std::span<RowResult> results) noexcept override;
  int32_t max_lease() const noexcept override { return options_.max_lease; }
  bool can_lease(const StepInputs&) noexcept override { return options_.max_lease > 1; }
  RunOutcome run_lease(const StepInputs& inputs, const LeaseSink& sink) noexcept override;
  std::string describe() const override { return "nothing is computed"; }

  // Microseconds of the processor that the engine's thread spent between two steps of `n_rows` rows (which follow each
  // other at once), or inside the sink at a step of a lease.
  std::vector<double> take_host_us(int32_t n_rows);

 private:
  using Clock = std::chrono::steady_clock;
  struct Sample {
    int32_t n_rows = 0;
    double us = 0;
  };
  void work() const;
  int32_t draw() { return next_ = (next_ + 7919) % options_.vocab_size; }

  Options options_;
  int32_t next_ = 0, last_rows_ = 0;
  double last_us_ = 0;  // the thread's time when the last step was done
  std::vector<Sample> samples_;
  std::vector<LeaseToken> tokens_;
};

}  // namespace arc::bench
