#include "serve/idle_executor.h"

#include <algorithm>
#include <ctime>
#include <thread>
#include <utility>

namespace arc::bench {

double thread_us() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e6 * static_cast<double>(time.tv_sec) + 1e-3 * static_cast<double>(time.tv_nsec);
}

// Sleeps through the most of a step: on few cores, the threads behind the engine's need them.
void IdleExecutor::work() const {
  constexpr auto kSpin = std::chrono::microseconds(100);
  const auto end = Clock::now() + std::chrono::nanoseconds(static_cast<int64_t>(options_.step_us * 1e3));
  if (end - Clock::now() > kSpin) std::this_thread::sleep_until(end - kSpin);
  while (Clock::now() < end) {
  }
}

RunOutcome IdleExecutor::run(const StepInputs& inputs, std::span<RowResult> results) noexcept {
  if (inputs.n_rows == last_rows_ && inputs.n_tokens == inputs.n_rows) {
    samples_.push_back({inputs.n_rows, thread_us() - last_us_});
  }
  for (int32_t r = 0; r < inputs.n_rows; ++r) results[r].outcome = SampleOutcome::ok, results[r].token = draw();
  work();
  last_rows_ = inputs.n_rows;
  last_us_ = thread_us();
  return RunOutcome::ok;
}

RunOutcome IdleExecutor::run_lease(const StepInputs& inputs, const LeaseSink& sink) noexcept {
  const LoopControl& control = *inputs.control;
  bool goes_on = true;
  for (int32_t step = 1; goes_on && step <= control.lease; ++step) {
    tokens_.clear();
    work();
    for (int32_t r = 0; r < inputs.n_rows; ++r) {
      const bool last = step >= control.tokens_left[r];
      tokens_.push_back({.row = r, .token = draw(), .last = last});
      goes_on = goes_on && !last;
    }
    const double begin_us = thread_us();
    sink(tokens_);
    samples_.push_back({inputs.n_rows, thread_us() - begin_us});
    goes_on = goes_on && *control.attention == 0;
  }
  last_rows_ = 0;
  return RunOutcome::ok;
}

std::vector<double> IdleExecutor::take_host_us(int32_t n_rows) {
  std::vector<double> us;
  for (const Sample& sample : std::exchange(samples_, {})) {
    if (sample.n_rows == n_rows) us.push_back(sample.us);
  }
  return us;
}

}  // namespace arc::bench
