// What the threads of a team share. Made by whoever owns the threads (exec/thread_pool.h).
#pragma once

#include <atomic>
#include <cstdint>

#include "kernels/api/team.h"

namespace arc {

// A number that threads wait to see changed: they spin for a while, then sleep.
class WaitWord {
 public:
  uint32_t load() const noexcept { return value_.load(std::memory_order_acquire); }
  // Changes the value and wakes all who sleep.
  void set(uint32_t value) noexcept;
  bool exchange_if(uint32_t& expected, uint32_t desired) noexcept;  // no waking
  uint32_t add(uint32_t delta) noexcept;                            // gives the new value; no waking
  void wake() noexcept;
  // Returns as soon as the value differs from `old`.
  void wait_while(uint32_t old) noexcept;

 private:
  std::atomic<uint32_t> value_{0};
  std::atomic<uint32_t> sleepers_{0};
};

constexpr int32_t kMaxTeamThreads = 256;

struct TeamState {
  // Each thread's own place in the row of phases.
  struct alignas(64) Thread {
    uint32_t phase = 0;
    int64_t items = 0;     // of the phase, as it was told to claim()
    int64_t finished = 0;  // of them by this thread
  };
  alignas(64) std::atomic<uint64_t> ticket{0};   // number of the phase << 32 | first item not claimed
  alignas(64) std::atomic<int64_t> finished{0};  // items of the phase that are done
  alignas(64) WaitWord phase;                    // follows the ticket's; what waiting threads look at
  Thread threads[kMaxTeamThreads];
};

}  // namespace arc
