// The device stores an entry and publishes the head, the host reads the entry and answers with the tail, and so on.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cuda_runtime.h>
#include <immintrin.h>
#include <new>
#include <vector>

#include "kernels/cuda/ring.cuh"
#include "ring_latency.h"

namespace arc::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kRing = 1 << 12, kWarmUps = 1000;

// One thread. Gives up when the host's word stays away for `patience` loads.
__global__ void ping_kernel(cuda::RingControl* control, cuda::RingEntry* ring, int64_t rounds, int64_t patience) {
  for (int64_t i = 0; i < rounds; ++i) {
    cuda::store(ring + i % kRing, {.row = 0, .token = static_cast<int32_t>(i)});
    __threadfence_system();
    cuda::publish(&control->head, static_cast<uint64_t>(i) + 1);
    int64_t loads = 0;
    while (cuda::load_shared_with_host(&control->tail) != static_cast<uint64_t>(i) + 1) {
      if (++loads == patience) return;
    }
  }
}

struct Mapped {
  std::byte* memory = nullptr;
  ~Mapped() { cudaFreeHost(memory); }
};

// Seconds from each token that the host sees to the next; fewer than asked for where the device gave up.
std::vector<double> round_trips(cuda::RingControl* control, const cuda::RingEntry* ring, int64_t rounds) {
  const std::atomic_ref head(control->head), tail(control->tail);
  std::vector<double> seconds;
  seconds.reserve(static_cast<size_t>(rounds));
  auto last = Clock::now();
  for (uint64_t i = 0; i < static_cast<uint64_t>(rounds); ++i) {
    while (head.load(std::memory_order_acquire) != i + 1) {
      if (Clock::now() - last > std::chrono::seconds(2)) return seconds;
      _mm_pause();
    }
    const auto now = Clock::now();
    if (ring[i % kRing].token != static_cast<int32_t>(i)) return seconds;
    tail.store(i + 1, std::memory_order_release);
    seconds.push_back(std::chrono::duration<double>(now - last).count());
    last = now;
  }
  return seconds;
}

}  // namespace

bool bench_ring_latency(int64_t rounds) {
  rounds += kWarmUps;
  Mapped mapped;
  if (cudaHostAlloc(&mapped.memory, sizeof(cuda::RingControl) + kRing * sizeof(cuda::RingEntry), cudaHostAllocMapped) !=
      cudaSuccess)
    return false;
  auto* const control = new (mapped.memory) cuda::RingControl;
  auto* const ring = reinterpret_cast<cuda::RingEntry*>(mapped.memory + sizeof(cuda::RingControl));
  ping_kernel<<<1, 1>>>(control, ring, rounds, int64_t{1} << 24);
  if (cudaGetLastError() != cudaSuccess) return false;
  std::vector<double> halves = round_trips(control, ring, rounds);
  if (cudaDeviceSynchronize() != cudaSuccess || static_cast<int64_t>(halves.size()) < rounds) {
    std::printf("ring: token %zu of %ld did not come\n", halves.size(), static_cast<long>(rounds));
    return false;
  }
  halves.erase(halves.begin(), halves.begin() + kWarmUps);
  for (double& s : halves) s *= 0.5e6;
  std::sort(halves.begin(), halves.end());
  const auto at = [&](double share) {
    return halves[static_cast<size_t>(share * static_cast<double>(halves.size() - 1))];
  };
  std::printf(
      "ring: a token is seen after %.2f us (median), %.2f (p99, at most 5), %.2f (p99.9), %.2f (longest): half of "
      "each of %zu round trips\n",
      at(0.5), at(0.99), at(0.999), at(1.0), halves.size());
  return true;
}

}  // namespace arc::bench
