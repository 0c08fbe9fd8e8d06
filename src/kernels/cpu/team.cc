#include "kernels/cpu/team.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/team_state.h"

namespace arc {
namespace {

// Longer than the operating system needs to wake a thread, far shorter than it lets one run: a partner that takes
// longer has lost its processor, and a sleeper leaves it a free one.
constexpr std::chrono::microseconds kSpinTime{50};
constexpr int kSpinsPerLook = 32;  // at the clock

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

long futex(std::atomic<uint32_t>& word, int operation, uint32_t value) noexcept {
  static_assert(sizeof(word) == sizeof(uint32_t));
  return ::syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, nullptr, nullptr, 0);
}

}  // namespace

void WaitWord::wake() noexcept {
  if (sleepers_.load() > 0) futex(value_, FUTEX_WAKE, INT_MAX);
}

void WaitWord::set(uint32_t value) noexcept {
  value_.store(value);
  wake();
}

bool WaitWord::exchange_if(uint32_t& expected, uint32_t desired) noexcept {
  return value_.compare_exchange_strong(expected, desired);
}

uint32_t WaitWord::add(uint32_t delta) noexcept {
  return value_.fetch_add(delta) + delta;
}

void WaitWord::wait_while(uint32_t old) noexcept {
  for (int i = 0; i < kSpinsPerLook; ++i) {
    if (load() != old) return;
    pause();
  }
  const auto end = std::chrono::steady_clock::now() + kSpinTime;
  while (std::chrono::steady_clock::now() < end) {
    for (int i = 0; i < kSpinsPerLook; ++i) {
      if (load() != old) return;
      pause();
    }
  }
  ++sleepers_;
  while (value_.load() == old) futex(value_, FUTEX_WAIT, old);
  --sleepers_;
}

namespace cpu {
namespace {

// A team of one without a TeamState: whether its phase's only run has been given out.
thread_local bool alone_claimed = false;

// All items are done: the next phase begins.
void close(TeamState& state, uint32_t phase) noexcept {
  state.finished.store(0, std::memory_order_relaxed);
  state.ticket.store(uint64_t{phase + 1} << 32, std::memory_order_release);
  state.phase.set(phase + 1);
}

}  // namespace

bool claim(const Team& team, int64_t n, int64_t grain, int64_t& begin, int64_t& end) noexcept {
  if (team.state == nullptr) {
    alone_claimed = !alone_claimed && n > 0;
    begin = 0;
    end = n;
    return alone_claimed;
  }
  TeamState::Thread& mine = team.state->threads[team.thread];
  mine.items = n;
  uint64_t ticket = team.state->ticket.load(std::memory_order_acquire);
  do {
    begin = static_cast<uint32_t>(ticket);
    if (ticket >> 32 != mine.phase || begin >= n) return false;
    end = std::min(begin + grain, n);
  } while (!team.state->ticket.compare_exchange_weak(ticket, ticket + static_cast<uint64_t>(end - begin),
                                                     std::memory_order_acq_rel, std::memory_order_acquire));
  mine.finished += end - begin;
  return true;
}

void sync(const Team& team) noexcept {
  alone_claimed = false;
  if (team.state == nullptr) return;
  TeamState& state = *team.state;
  TeamState::Thread& mine = state.threads[team.thread];
  const uint32_t phase = mine.phase;
  if (mine.items == 0) {
    // Nothing to do for anybody: the first to come goes on.
    uint64_t ticket = uint64_t{phase} << 32;
    if (state.ticket.compare_exchange_strong(ticket, uint64_t{phase + 1} << 32)) state.phase.set(phase + 1);
  } else if (mine.finished > 0 && state.finished.fetch_add(mine.finished) + mine.finished == mine.items) {
    close(state, phase);
  }
  state.phase.wait_while(phase);
  mine = {.phase = phase + 1};
}

}  // namespace cpu
}  // namespace arc
