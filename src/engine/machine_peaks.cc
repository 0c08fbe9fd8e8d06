#include "engine/machine_peaks.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <sched.h>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "arc/bench.h"
#include "base/error.h"

namespace arc {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kBufferBytes = size_t{2} << 30;
constexpr size_t kPartBytes = 4096;  // a thread's share is a multiple
constexpr int kLanes = 16;           // independent sums: more than latency times units of any core
constexpr double kPeakSeconds = 0.05;

// What the measured loops compute goes here, so that no compiler leaves it out.
volatile uint64_t read_sink = 0;
volatile float product_sink = 0;

template <typename T, size_t N>
T total(const T (&values)[N]) {
  T sum = 0;
  for (T value : values) sum += value;
  return sum;
}

// ---- reading: the sum of all words.
// -----------------------------------------------------------------------------------

uint64_t read_plain(const uint64_t* data, size_t n_words) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i < n_words; i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j] += data[i + j];
  }
  return total(sums);
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) uint64_t read_avx512(const uint64_t* data, size_t n_words) {
  __m512i sums[8] = {};
  for (size_t i = 0; i < n_words; i += 64) {
    for (size_t j = 0; j < 8; ++j) sums[j] = _mm512_add_epi64(sums[j], _mm512_loadu_si512(data + i + 8 * j));
  }
  for (size_t j = 1; j < 8; ++j) sums[0] = _mm512_add_epi64(sums[0], sums[j]);
  uint64_t words[8];
  _mm512_storeu_si512(words, sums[0]);
  return total(words);
}

__attribute__((target("avx2"))) uint64_t read_avx2(const uint64_t* data, size_t n_words) {
  __m256i sums[8] = {};
  for (size_t i = 0; i < n_words; i += 32) {
    for (size_t j = 0; j < 8; ++j) {
      sums[j] = _mm256_add_epi64(sums[j], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + i + 4 * j)));
    }
  }
  for (size_t j = 1; j < 8; ++j) sums[0] = _mm256_add_epi64(sums[0], sums[j]);
  uint64_t words[4];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), sums[0]);
  return total(words);
}
#endif

// ---- multiplying: `rounds` times into each of some sums in registers. They differ, or a compiler would merge them.

float multiply_plain(int64_t rounds) {
  float sums[4 * kLanes];
  std::iota(std::begin(sums), std::end(sums), 0.0f);
  for (int64_t r = 0; r < rounds; ++r) {
    for (float& sum : sums) sum = sum * 0.5f + 1.0f;
  }
  return total(sums);
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bf16"))) float multiply_bf16(int64_t rounds) {
  const auto ones = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  __m512 sums[kLanes];
  for (int i = 0; i < kLanes; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], ones, ones);
  }
  for (int i = 1; i < kLanes; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  float lanes[16];
  _mm512_storeu_ps(lanes, sums[0]);
  return total(lanes);
}

__attribute__((target("avx512f"))) float multiply_avx512(int64_t rounds) {
  const __m512 half = _mm512_set1_ps(0.5f);
  __m512 sums[kLanes];
  for (int i = 0; i < kLanes; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) sums[i] = _mm512_fmadd_ps(sums[i], half, half);
  }
  for (int i = 1; i < kLanes; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  float lanes[16];
  _mm512_storeu_ps(lanes, sums[0]);
  return total(lanes);
}

__attribute__((target("avx2,fma"))) float multiply_avx2(int64_t rounds) {
  constexpr int kSums = 12;  // of 16 registers
  const __m256 half = _mm256_set1_ps(0.5f);
  __m256 sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = _mm256_fmadd_ps(sums[i], half, half);
  }
  for (int i = 1; i < kSums; ++i) sums[0] = _mm256_add_ps(sums[0], sums[i]);
  return _mm256_cvtss_f32(sums[0]);
}
#endif

struct MatrixLoop {
  const char* name = "";
  float (*run)(int64_t rounds) = nullptr;
  double flops_per_round = 0;
};

MatrixLoop matrix_loop() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16")) return {"BF16 dot products", multiply_bf16, kLanes * 64};
  if (__builtin_cpu_supports("avx512f")) return {"f32 products (AVX-512)", multiply_avx512, kLanes * 32};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {"f32 products (AVX2)", multiply_avx2, 12 * 16};
  }
#endif
  return {"f32 products", multiply_plain, 4 * kLanes * 2};
}

auto read_loop() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return read_avx512;
  if (__builtin_cpu_supports("avx2")) return read_avx2;
#endif
  return read_plain;
}

// ---- threads
// ---------------------------------------------------------------------------------------------------------

std::vector<int> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int i = 0; i < CPU_SETSIZE; ++i) {
      if (CPU_ISSET(i, &set)) cores.push_back(i);
    }
  }
  return cores;
}

void pin_to(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

// Seconds from when all threads are ready until the last is done with `work(thread)`.
template <typename Work>
double time_threads(int threads, const Work& work) {
  const std::vector<int> cores = allowed_cores();
  std::barrier ready(threads);
  std::vector<std::pair<Clock::time_point, Clock::time_point>> times(static_cast<size_t>(threads));
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t) {
    all.emplace_back([&, t] {
      if (!cores.empty()) pin_to(cores[static_cast<size_t>(t) % cores.size()]);
      ready.arrive_and_wait();
      times[t].first = Clock::now();
      work(t);
      times[t].second = Clock::now();
    });
  }
  for (std::thread& thread : all) thread.join();
  const auto begin = std::ranges::min(times, {}, &decltype(times)::value_type::first).first;
  const auto end = std::ranges::max(times, {}, &decltype(times)::value_type::second).second;
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

int n_threads(int asked) {
  return asked > 0 ? asked : std::max(1, static_cast<int>(allowed_cores().size()));
}

ReadCeiling::ReadCeiling(int threads) : threads_(threads) {
  const auto n = static_cast<size_t>(threads);
  const auto free_bytes =
      static_cast<size_t>(::sysconf(_SC_AVPHYS_PAGES)) * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t part = std::min(kBufferBytes, free_bytes / 4) / n / kPartBytes * kPartBytes;
  bytes_ = std::max(part, kPartBytes) * n;
  data_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data_ == MAP_FAILED) throw Error(ErrorCode::resource, "no memory to measure the read ceiling with");
  ::madvise(data_, bytes_, MADV_HUGEPAGE);
  std::fill_n(static_cast<uint64_t*>(data_), bytes_ / sizeof(uint64_t), uint64_t{1});
}

ReadCeiling::~ReadCeiling() {
  ::munmap(data_, bytes_);
}

double ReadCeiling::bytes_per_second() const {
  const size_t part = bytes_ / sizeof(uint64_t) / static_cast<size_t>(threads_);
  const auto* words = static_cast<const uint64_t*>(data_);
  const auto read = read_loop();
  const double seconds =
      time_threads(threads_, [&](int t) { read_sink = read(words + static_cast<size_t>(t) * part, part); });
  return static_cast<double>(bytes_) / seconds;
}

double measure_matrix_peak(int threads) {
  const MatrixLoop loop = matrix_loop();
  int64_t rounds = 1000;
  const auto time = [&] { return time_threads(threads, [&](int) { product_sink = loop.run(rounds); }); };
  double seconds = time();
  while (seconds < kPeakSeconds / 4) {
    rounds *= 4;
    seconds = time();
  }
  rounds = static_cast<int64_t>(static_cast<double>(rounds) * kPeakSeconds / seconds);
  return loop.flops_per_round * static_cast<double>(rounds) * threads / time();
}

const char* matrix_peak_name() {
  return matrix_loop().name;
}

}  // namespace arc
