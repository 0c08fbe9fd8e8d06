// The threads that walk a step together: the caller and helpers that sleep between steps.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/cpu/team_state.h"

namespace arc {

// Processors that this process may keep busy: its affinity mask, one per core where cores have several threads, at most
// the control group's quota (rounded up).
int32_t usable_cpus();

class ThreadPool {
 public:
  // Every thread calls `work` with its own Team in each run. `work` throws nothing and obeys the rules of
  // kernels/cpu/team.h, so that a run needs no helper and ends without those that have not come by then.
  ThreadPool(int32_t threads, std::function<void(const Team&)> work);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // The caller is thread 0; `alone`: the only one. Returns when the work is done and no helper is in it.
  void run(bool alone = false) noexcept;

  int32_t threads() const { return static_cast<int32_t>(helpers_.size()) + 1; }

 private:
  void help(int32_t thread) noexcept;
  bool join_run() noexcept;

  std::function<void(const Team&)> work_;
  TeamState team_;
  alignas(64) WaitWord run_;   // number of the run; changes when one begins
  alignas(64) WaitWord gate_;  // kOpen while helpers may come in, plus the number inside
  uint32_t first_phase_ = 0;   // of the run
  std::atomic<bool> closing_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace arc
