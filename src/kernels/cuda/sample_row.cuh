// What the kernels of sampling share: the scratch memory of a row, and what its parts found.
#pragma once

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/sample.h"

namespace arc::cuda::sampling {

constexpr int kParts = 64;
constexpr int kThreads = 256;      // of a part
constexpr int kLanesPerGroup = 4;  // threads that share a group
constexpr int kGroups = kParts * kThreads / kLanesPerGroup;

// Bins of weights: those of one bin lie within 1 part in kBinsPerOctave of each other. Up to kMaxWeight.
constexpr int kBinBits = 6, kBinsPerOctave = 1 << kBinBits;
constexpr int kBins = (kWeightBits - kBinBits + 1) * kBinsPerOctave + 1;

__device__ __forceinline__ int bin_of(uint64_t weight) {
  const int top = 63 - __clzll(static_cast<long long>(weight | 1));
  if (top < kBinBits) return static_cast<int>(weight);
  return (top - kBinBits) * kBinsPerOctave + static_cast<int>(weight >> (top - kBinBits));
}

struct Part {
  float best = 0.0f, raw_max = 0.0f;
  int32_t token = -1;  // of `best`; -1: none may be drawn
  int32_t bad = 0;     // bit 0: among the values, bit 1: among the logits
  uint64_t n_raw = 0;  // logits that are possible
};

// Where top-p cuts a row, as far as bins tell.
struct Crossing {
  uint64_t needed = 0;  // mass that the bin must give
  int32_t bin = 0;
};

// Scratch memory of one row.
struct RowScratch {
  // [V]; minus infinity: may not be drawn. Places in the lists of entries of the crossing bin, once they are known.
  union {
    float* values;
    int32_t* places;
  };
  uint64_t* weights = nullptr;    // [V] lists of the parts, each from its first token's place on
  int32_t* tokens = nullptr;      // [V] likewise
  int32_t* raw_tokens = nullptr;  // [V] lists for the most likely tokens
  uint32_t* groups = nullptr;     // [kGroups] largest key of each
  uint32_t* raw_groups = nullptr;
  uint64_t* bins = nullptr;    // [kBins] their masses
  uint64_t* masses = nullptr;  // [kParts] of what is kept for certain
  Crossing* crossing = nullptr;
  Part* parts = nullptr;       // [kParts]
  double* exp_sums = nullptr;  // [kParts]
  int32_t* counts = nullptr;   // [kParts] lengths of lists
  int32_t* raw_counts = nullptr;
  int32_t* place_counts = nullptr;
};

constexpr int64_t kFixedBytes = 2 * kGroups * 4 + (kBins + 1) / 2 * 16 + sizeof(Crossing) +
                                kParts * static_cast<int64_t>(sizeof(Part) + sizeof(double) + 8 + 3 * sizeof(int32_t));

__host__ __device__ inline int64_t row_scratch_bytes(int32_t vocab) {
  const int64_t padded = (static_cast<int64_t>(vocab) + 3) / 4 * 4;
  return padded * 20 + kFixedBytes;
}

__device__ inline RowScratch scratch_of(const SampleCall& call, int row) {
  const int64_t padded = (static_cast<int64_t>(call.vocab) + 3) / 4 * 4;
  std::byte* at = call.scratch + row * row_scratch_bytes(call.vocab);
  const auto take = [&](int64_t bytes) {
    std::byte* const p = at;
    at += bytes;
    return p;
  };
  RowScratch s;
  s.weights = reinterpret_cast<uint64_t*>(take(padded * 8));
  s.bins = reinterpret_cast<uint64_t*>(take((kBins + 1) / 2 * 16));
  s.masses = reinterpret_cast<uint64_t*>(take(kParts * 8));
  s.crossing = reinterpret_cast<Crossing*>(take(sizeof(Crossing)));
  s.parts = reinterpret_cast<Part*>(take(kParts * sizeof(Part)));
  s.exp_sums = reinterpret_cast<double*>(take(kParts * sizeof(double)));
  s.values = reinterpret_cast<float*>(take(padded * 4));
  s.tokens = reinterpret_cast<int32_t*>(take(padded * 4));
  s.raw_tokens = reinterpret_cast<int32_t*>(take(padded * 4));
  s.groups = reinterpret_cast<uint32_t*>(take(kGroups * 4));
  s.raw_groups = reinterpret_cast<uint32_t*>(take(kGroups * 4));
  s.counts = reinterpret_cast<int32_t*>(take(kParts * 4));
  s.raw_counts = reinterpret_cast<int32_t*>(take(kParts * 4));
  s.place_counts = reinterpret_cast<int32_t*>(take(kParts * 4));
  return s;
}

struct Range {
  int32_t begin = 0, end = 0;
};
__device__ inline Range range_of(int32_t vocab, int part) {
  const int32_t n = (vocab + kParts - 1) / kParts;
  return {min(part * n, vocab), min((part + 1) * n, vocab)};
}

// Larger floats have larger keys; both zeros have one.
__device__ inline uint32_t key_of(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

__device__ inline bool asks_draw(const SampleCall& call, int row) {
  return call.row_token == nullptr || call.row_token[row] < 0;
}

// Whether a row takes steps 5 and 6 of the definition.
__device__ inline bool asks_top_k(const SampleCall& call, const SamplingRow& row) {
  return row.top_k > 0 && row.top_k < call.vocab;
}
__device__ inline bool asks_top_p(const SamplingRow& row) {
  return row.top_p < 1.0f;
}
__device__ inline uint64_t least_weight(const SamplingRow& row) {
  return row.min_p > 0.0f ? min_p_weight(row.min_p) : 0;
}

struct Best {
  float value;
  int32_t token;
};
__device__ inline Best better(Best a, Best b) {
  if (a.token < 0) return b;
  if (b.token < 0) return a;
  return ranks_before({.value = a.value, .token = a.token}, {.value = b.value, .token = b.token}) ? a : b;
}

// All parts of a row as one; every lane of a full warp gets it.
__device__ inline Part whole_row(const RowScratch& s) {
  static_assert(kParts == 2 * kWarp);
  const Part a = s.parts[threadIdx.x % kWarp], b = s.parts[threadIdx.x % kWarp + kWarp];
  Best best = better({a.best, a.token}, {b.best, b.token});
  uint64_t n_raw = a.n_raw + b.n_raw;
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    best = better(best, {.value = __shfl_xor_sync(kAllLanes, best.value, lanes),
                         .token = __shfl_xor_sync(kAllLanes, best.token, lanes)});
    n_raw += __shfl_xor_sync(kAllLanes, n_raw, lanes);
  }
  return {.best = best.value,
          .raw_max = warp_max(fmaxf(a.raw_max, b.raw_max)),
          .token = best.token,
          .bad = static_cast<int32_t>(__reduce_or_sync(kAllLanes, static_cast<unsigned>(a.bad | b.bad))),
          .n_raw = n_raw};
}

// The kernels, for all rows of a call.
void start_values(const SampleCall& call, cudaStream_t stream);
void start_weigh(const SampleCall& call, cudaStream_t stream);  // with the bins' crossing
void start_draw(const SampleCall& call, cudaStream_t stream);

}  // namespace arc::cuda::sampling
