// The pool and the team's rules: every item once, phases in order, runs that end though helpers come late.
#include "exec/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "gtest/gtest.h"

#include "kernels/cpu/team.h"

namespace arc {
namespace {

TEST(ThreadPool, UsesAtLeastOneProcessorAndNoMoreThanThereAre) {
  EXPECT_GE(usable_cpus(), 1);
  EXPECT_LE(usable_cpus(), static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency())));
}

// Each phase adds what the phase before has left in all cells, so a phase that began too early or an item done twice
// changes the sum. Plain integers: TSan sees a missing order.
TEST(ThreadPool, PhasesSeeAllOfThePhaseBefore) {
  constexpr int kItems = 37, kPhases = 50, kRuns = 40;
  for (int threads : {1, 2, 3, 5}) {
    std::vector<int64_t> cells(kItems, 1), next(kItems, 0);
    ThreadPool pool(threads, [&](const Team& team) {
      for (int phase = 0; phase < kPhases; ++phase) {
        const int64_t n = phase % 5 == 3 ? 0 : kItems;  // some phases have nothing to do
        for (int64_t begin = 0, end = 0; cpu::claim(team, n, 1 + phase % 4, begin, end);) {
          for (int64_t i = begin; i < end; ++i) {
            int64_t sum = 0;
            for (int64_t c : cells) sum += c;
            next[i] = (sum + next[i]) % 1000003 + i;
          }
        }
        cpu::sync(team);
        for (int64_t begin = 0, end = 0; cpu::claim(team, 1, 1, begin, end);) cells.swap(next);
        cpu::sync(team);
      }
    });
    for (int run = 0; run < kRuns; ++run) pool.run(run % 7 == 3);

    std::vector<int64_t> expected(kItems, 1), other(kItems, 0);
    for (int phase = 0; phase < kRuns * kPhases; ++phase) {
      if (phase % kPhases % 5 != 3) {
        int64_t sum = 0;
        for (int64_t c : expected) sum += c;
        for (int64_t i = 0; i < kItems; ++i) other[i] = (sum + other[i]) % 1000003 + i;
      }
      expected.swap(other);
    }
    EXPECT_EQ(cells, expected) << threads << " threads";
  }
}

// Runs of various lengths with pauses, so that helpers sleep, wake late, and miss runs altogether.
TEST(ThreadPool, ShortRunsDoNotWaitForSleepers) {
  int64_t count = 0;
  ThreadPool pool(3, [&](const Team& team) {
    for (int64_t begin = 0, end = 0; cpu::claim(team, 4, 1, begin, end);)
      __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
    cpu::sync(team);
  });
  for (int run = 0; run < 300; ++run) {
    pool.run();
    EXPECT_EQ(count, 4 * (run + 1));
    if (run % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// A thread that is held back inside its item delays only what follows the phase.
TEST(ThreadPool, OthersTakeTheWorkOfAThreadThatIsHeldBack) {
  constexpr int kItems = 64;
  std::atomic<int> by_others = 0;
  std::atomic<int32_t> held = -1;
  ThreadPool pool(2, [&](const Team& team) {
    for (int64_t begin = 0, end = 0; cpu::claim(team, kItems, 1, begin, end);) {
      if (begin == 0) {
        held = team.thread;
        const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
        while (by_others < kItems - 1 && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
      } else {
        EXPECT_NE(team.thread, held);
        ++by_others;
      }
    }
    cpu::sync(team);
  });
  pool.run();
  EXPECT_EQ(by_others, kItems - 1);
}

TEST(Team, OneThreadWithoutAStateGetsEachPhaseWhole) {
  const Team alone;
  int64_t begin = 0, end = 0;
  for (int phase = 0; phase < 3; ++phase) {
    ASSERT_TRUE(cpu::claim(alone, 10, 3, begin, end));
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 10);
    EXPECT_FALSE(cpu::claim(alone, 10, 3, begin, end));
    cpu::sync(alone);
  }
  EXPECT_FALSE(cpu::claim(alone, 0, 3, begin, end));
}

}  // namespace
}  // namespace arc
