#include "gpu/free_running.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cuda_runtime.h>
#include <numeric>
#include <thread>
#include <vector>

#include "base/error.h"
#include "quant/kv_policy.h"

namespace arc::bench {
namespace {

constexpr int kMostTokens = 2048, kRounds = 5;
constexpr double kLeaseMs = 1200;  // as long as a lease should be, so that 500 ms of sleep lie within

enum Host { reads, sleeps, busy };
constexpr int kHosts = 3;
constexpr std::array<const char*, kHosts> kHostNames = {"while the host reads along", "while it sleeps 500 ms",
                                                        "while all its cores are busy"};

// One thread per core that only counts.
class BusyCores {
 public:
  BusyCores() {
    for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) {
      threads_.emplace_back([](const std::stop_token& stop) {
        for (volatile uint64_t n = 0; !stop.stop_requested();) n = n + 1;
      });
    }
  }

 private:
  std::vector<std::jthread> threads_;
};

// One sequence that decodes from `context` on, again and again.
class FreeRunning {
 public:
  FreeRunning(CudaExecutor& executor, int context)
      : executor_(executor), table_((context + kMostTokens + kTileTokens - 1) / kTileTokens) {
    std::iota(table_.begin(), table_.end(), 1);
    position_ = context;
    seq_len_ = context + 1;
    slot_ = int64_t{table_[context / kTileTokens]} * kTileTokens + context % kTileTokens;
    inputs_ = {.n_seqs = 1,
               .n_tokens = 1,
               .n_rows = 1,
               .tokens = &token_,
               .positions = &position_,
               .q_start = q_start_.data(),
               .seq_lens = &seq_len_};
    for (GroupInputs& group : inputs_.groups) {
      group = {.block_table = table_.data(), .table_stride = static_cast<int32_t>(table_.size()), .slots = &slot_};
    }
    inputs_.rows = &row_;
    inputs_.sampling = &sampling_;
    inputs_.control = &control_;
    cudaEventCreate(&begin_);
    cudaEventCreate(&end_);
  }
  ~FreeRunning() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  FreeRunning(const FreeRunning&) = delete;
  FreeRunning& operator=(const FreeRunning&) = delete;

  // Milliseconds of the device for a lease. Events of the default stream stand before and behind all that the lease
  // queues, and the second is there before the host falls asleep.
  double lease_ms(int n_tokens, Host host) {
    control_.lease = n_tokens;
    if (!executor_.can_lease(inputs_)) throw Error(ErrorCode::resource, "no lease: " + executor_.describe());
    int n = 0;
    cudaEventRecord(begin_, cudaStreamLegacy);
    const RunOutcome outcome = executor_.run_lease(inputs_, [&](std::span<const LeaseToken> tokens) {
      if (n == 0) {
        cudaEventRecord(end_, cudaStreamLegacy);
        if (host == sleeps) std::this_thread::sleep_for(std::chrono::milliseconds(500));
      }
      n += static_cast<int>(tokens.size());
    });
    float ms = 0;
    if (outcome != RunOutcome::ok || n != n_tokens || cudaEventSynchronize(end_) != cudaSuccess ||
        cudaEventElapsedTime(&ms, begin_, end_) != cudaSuccess)
      throw Error(ErrorCode::resource, "the device failed in a lease");
    return static_cast<double>(ms);
  }

 private:
  CudaExecutor& executor_;
  std::vector<int32_t> table_;
  int32_t token_ = 1000, position_ = 0, seq_len_ = 0, row_ = 0;
  std::array<int32_t, 2> q_start_ = {0, 1};
  int64_t slot_ = 0;
  SamplingRow sampling_{.temperature = 0.0f};
  LoopControl control_;
  StepInputs inputs_;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

}  // namespace

void bench_free_running(const char* name, CudaExecutor& executor, int context) {
  FreeRunning sequence(executor, context);
  const int few = 64;
  sequence.lease_ms(few, reads);  // what is made at first use
  const double token_ms = sequence.lease_ms(few, reads) / few;
  const int n = std::clamp(static_cast<int>(kLeaseMs / token_ms), few, kMostTokens);
  std::array<std::vector<double>, kHosts> ms;
  for (int round = 0; round < kRounds; ++round) {
    ms[reads].push_back(sequence.lease_ms(n, reads));
    ms[sleeps].push_back(sequence.lease_ms(n, sleeps));
    const BusyCores cores;
    ms[busy].push_back(sequence.lease_ms(n, busy));
  }
  for (auto& times : ms) std::ranges::sort(times);
  const double alone = ms[reads][kRounds / 2];
  std::printf("%-10s leases of %d tokens behind %d, by the device's clock, medians of %d:\n", name, n, context,
              kRounds);
  for (int host = 0; host < kHosts; ++host) {
    const auto& times = ms[static_cast<size_t>(host)];
    const double median = times[kRounds / 2];
    std::printf("    %-30s %8.4f ms a token (%.4f to %.4f), %8.1f tokens/s, %+.3f%%%s\n",
                kHostNames[static_cast<size_t>(host)], median / n, times.front() / n, times.back() / n,
                1e3 * n / median, 100 * (alone / median - 1), host == reads ? "" : " (at most 0.5%)");
  }
}

}  // namespace arc::bench
