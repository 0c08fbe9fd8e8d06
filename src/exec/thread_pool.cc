#include "exec/thread_pool.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sched.h>
#include <set>
#include <string>
#include <utility>

#include "fmt/format.h"

#include "base/check.h"

namespace arc {
namespace {

constexpr uint32_t kOpen = uint32_t{1} << 31;

// The first line of a small file, or empty.
std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Processors' worth of time that the control group grants; infinite when it sets no limit.
double cgroup_quota() {
  const auto ratio = [](const std::string& quota, const std::string& period) {
    char* end = nullptr;
    const double q = std::strtod(quota.c_str(), &end), p = std::strtod(period.c_str(), nullptr);
    return end != quota.c_str() && q > 0 && p > 0 ? q / p : HUGE_VAL;
  };
  const std::string both = first_line("/sys/fs/cgroup/cpu.max");  // "quota period" or "max period"
  const size_t space = both.find(' ');
  if (space != std::string::npos) return ratio(both.substr(0, space), both.substr(space + 1));
  return ratio(first_line("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), first_line("/sys/fs/cgroup/cpu/cpu.cfs_period_us"));
}

}  // namespace

int32_t usable_cpus() {
  cpu_set_t mask;
  if (::sched_getaffinity(0, sizeof(mask), &mask) != 0) return 1;
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &mask)) continue;
    const std::string siblings =
        first_line(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
    cores.insert(siblings.empty() ? std::to_string(cpu) : siblings);
  }
  const double limit = std::min(std::ceil(cgroup_quota()), static_cast<double>(kMaxTeamThreads));
  return std::max(1, static_cast<int32_t>(std::min(static_cast<double>(cores.size()), limit)));
}

ThreadPool::ThreadPool(int32_t threads, std::function<void(const Team&)> work) : work_(std::move(work)) {
  ARC_CHECK(threads >= 1 && threads <= kMaxTeamThreads) << threads;
  for (int32_t i = 1; i < threads; ++i) helpers_.emplace_back([this, i] { help(i); });
}

ThreadPool::~ThreadPool() {
  closing_ = true;
  run_.set(run_.load() + 1);
  for (std::thread& helper : helpers_) helper.join();
}

void ThreadPool::run(bool alone) noexcept {
  alone = alone || helpers_.empty();
  first_phase_ = team_.phase.load();
  team_.threads[0] = {.phase = first_phase_};
  if (!alone) {
    gate_.set(kOpen);
    run_.set(run_.load() + 1);
  }
  work_({.thread = 0, .threads = threads(), .state = &team_});
  if (alone) return;
  for (uint32_t inside = gate_.add(-kOpen); inside > 0; inside = gate_.load()) gate_.wait_while(inside);
}

// False when the run that began has ended already.
bool ThreadPool::join_run() noexcept {
  uint32_t gate = gate_.load();
  while ((gate & kOpen) != 0) {
    if (gate_.exchange_if(gate, gate + 1)) return true;
  }
  return false;
}

void ThreadPool::help(int32_t thread) noexcept {
  for (uint32_t seen = 0;;) {
    run_.wait_while(seen);
    seen = run_.load();
    if (closing_) return;
    if (!join_run()) continue;
    team_.threads[thread] = {.phase = first_phase_};
    work_({.thread = thread, .threads = threads(), .state = &team_});
    if (gate_.add(-1u) == 0) gate_.wake();
  }
}

}  // namespace arc
