// Sampling without a sort. A row's vocabulary is cut into kParts ranges of neighbours. Three kernels:
//
//   values   each token's penalised logit; of each range the best, and the largest value of small groups of tokens
//   weigh    tokens that may be drawn, with their weights, as a list per range, by ascending token
//   draw     one block per row: top-k, top-p and min-p by bisection over keys, then the draw
//
// Only integers are summed on the way to a token, so the order of sums does not matter. The k-th largest of the groups'
// maxima is at most the k-th largest value: it keeps nearly all tokens out of a top-k list.
#include <cmath>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/sample.h"

namespace arc::cuda {
namespace {

constexpr int kParts = 64;
constexpr int kThreads = 256;      // of values and weigh
constexpr int kLanesPerGroup = 4;  // threads that share a group
constexpr int kGroups = kParts * kThreads / kLanesPerGroup;
constexpr int kDrawThreads = 1024, kDrawWarps = kDrawThreads / kWarp;
constexpr int kWeightKeyBits = 46;  // weights have 45 bits; bisection takes two at a time

struct Part {
  float best = 0.0f, raw_max = 0.0f;
  int32_t token = -1;  // of `best`; -1: none may be drawn
  int32_t bad = 0;     // bit 0: among the values, bit 1: among the logits
  uint64_t n_raw = 0;  // logits that are possible
};

// Scratch memory of one row.
struct RowScratch {
  float* values = nullptr;        // [V]; minus infinity: may not be drawn
  uint64_t* weights = nullptr;    // [V] lists of the parts, each from its first token's place on
  int32_t* tokens = nullptr;      // [V] likewise
  int32_t* raw_tokens = nullptr;  // [V] lists for the most likely tokens
  uint32_t* groups = nullptr;     // [kGroups] largest key of each
  uint32_t* raw_groups = nullptr;
  Part* parts = nullptr;       // [kParts]
  double* exp_sums = nullptr;  // [kParts]
  int32_t* counts = nullptr;   // [kParts] lengths of lists
  int32_t* raw_counts = nullptr;
};

constexpr int64_t kFixedBytes =
    2 * kGroups * 4 + kParts * static_cast<int64_t>(sizeof(Part) + sizeof(double) + 2 * sizeof(int32_t));

__host__ __device__ int64_t row_scratch_bytes(int32_t vocab) {
  const int64_t padded = (static_cast<int64_t>(vocab) + 3) / 4 * 4;
  return padded * 20 + kFixedBytes;
}

__device__ RowScratch scratch_of(const SampleCall& call, int row) {
  const int64_t padded = (static_cast<int64_t>(call.vocab) + 3) / 4 * 4;
  std::byte* at = call.scratch + row * row_scratch_bytes(call.vocab);
  const auto take = [&](int64_t bytes) {
    std::byte* const p = at;
    at += bytes;
    return p;
  };
  RowScratch s;
  s.weights = reinterpret_cast<uint64_t*>(take(padded * 8));
  s.parts = reinterpret_cast<Part*>(take(kParts * sizeof(Part)));
  s.exp_sums = reinterpret_cast<double*>(take(kParts * sizeof(double)));
  s.values = reinterpret_cast<float*>(take(padded * 4));
  s.tokens = reinterpret_cast<int32_t*>(take(padded * 4));
  s.raw_tokens = reinterpret_cast<int32_t*>(take(padded * 4));
  s.groups = reinterpret_cast<uint32_t*>(take(kGroups * 4));
  s.raw_groups = reinterpret_cast<uint32_t*>(take(kGroups * 4));
  s.counts = reinterpret_cast<int32_t*>(take(kParts * 4));
  s.raw_counts = reinterpret_cast<int32_t*>(take(kParts * 4));
  return s;
}

struct Range {
  int32_t begin = 0, end = 0;
};
__device__ Range range_of(int32_t vocab, int part) {
  const int32_t n = (vocab + kParts - 1) / kParts;
  return {min(part * n, vocab), min((part + 1) * n, vocab)};
}

// Larger floats have larger keys; both zeros have one.
__device__ uint32_t key_of(float value) {
  const uint32_t bits = __float_as_uint(value + 0.0f);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

__device__ bool asks_draw(const SampleCall& call, int row) {
  return call.row_token == nullptr || call.row_token[row] < 0;
}

// The bias of a token: a binary search.
__device__ float bias_of(const SamplingTables& tables, const SamplingRow& row, int32_t token, float value) {
  int32_t low = row.bias_begin, high = row.bias_begin + row.bias_count;
  while (low < high) {
    const int32_t middle = (low + high) / 2;
    const bool behind = tables.biases[middle].token < token;
    low = behind ? middle + 1 : low;
    high = behind ? high : middle;
  }
  const bool found = low < row.bias_begin + row.bias_count && tables.biases[low].token == token;
  return found ? value + tables.biases[low].value : value;
}

// ---- values: grid (kParts, R) --------------------------------------------------------------------------------------

struct Best {
  float value;
  int32_t token;
};
__device__ Best better(Best a, Best b) {
  if (a.token < 0) return b;
  if (b.token < 0) return a;
  return ranks_before({.value = a.value, .token = a.token}, {.value = b.value, .token = b.token}) ? a : b;
}

__global__ void __launch_bounds__(kThreads) values_kernel(SampleCall call) {
  const int part = blockIdx.x, r = blockIdx.y, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const SamplingRow row = call.rows[r];
  const RowScratch s = scratch_of(call, r);
  const float* logits = call.logits + static_cast<int64_t>(r) * call.vocab;
  const int64_t words = (call.vocab + 31) / 32;  // mask_words(), for the device
  const uint32_t* mask = row.mask_row < 0 ? nullptr : call.tables.allowed + row.mask_row * words;
  const uint32_t* counts = row.counts_row < 0 ? nullptr : call.tables.counts + int64_t{row.counts_row} * call.vocab;
  const bool raw = row.n_logprobs >= 0;

  Best best{.value = 0.0f, .token = -1};
  float raw_max = -INFINITY;
  int32_t bad = 0;
  uint64_t n_raw = 0;
  uint32_t largest = 0, raw_largest = 0;
  const Range range = range_of(call.vocab, part);
  for (int32_t token = range.begin + static_cast<int32_t>(threadIdx.x); token < range.end; token += kThreads) {
    const float logit = logits[token];
    if (raw) {
      if (is_bad_logit(logit)) {
        bad |= 2;
      } else if (!is_impossible(logit)) {
        raw_max = fmaxf(raw_max, logit);
        raw_largest = max(raw_largest, key_of(logit));
        ++n_raw;
      }
    }
    float value = row.bias_count > 0 ? bias_of(call.tables, row, token, logit) : logit;
    if (mask != nullptr && !is_allowed(mask, token)) {
      value = -INFINITY;
    } else {
      if (counts != nullptr) value = penalize(value, counts[token], row);
      if (is_bad_logit(value)) {
        bad |= 1;
      } else if (is_impossible(value)) {
        value = -INFINITY;
      } else {
        best = better(best, {.value = value, .token = token});
        largest = max(largest, key_of(value));
      }
    }
    s.values[token] = value;
  }
  for (int lanes = 1; lanes < kLanesPerGroup; lanes *= 2) {
    largest = max(largest, __shfl_xor_sync(kAllLanes, largest, lanes));
    raw_largest = max(raw_largest, __shfl_xor_sync(kAllLanes, raw_largest, lanes));
  }
  if (threadIdx.x % kLanesPerGroup == 0) {
    const int group = (part * kThreads + static_cast<int>(threadIdx.x)) / kLanesPerGroup;
    s.groups[group] = largest;
    s.raw_groups[group] = raw_largest;
  }
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    best = better(best, {.value = __shfl_xor_sync(kAllLanes, best.value, lanes),
                         .token = __shfl_xor_sync(kAllLanes, best.token, lanes)});
    n_raw += __shfl_xor_sync(kAllLanes, n_raw, lanes);
  }
  raw_max = warp_max(raw_max);
  __shared__ Part warps[kThreads / kWarp];
  bad = static_cast<int32_t>(__reduce_or_sync(kAllLanes, static_cast<unsigned>(bad)));
  if (lane == 0)
    warps[warp] = {.best = best.value, .raw_max = raw_max, .token = best.token, .bad = bad, .n_raw = n_raw};
  __syncthreads();
  if (threadIdx.x != 0) return;
  Part all = warps[0];
  for (int w = 1; w < kThreads / kWarp; ++w) {
    const Best winner = better({all.best, all.token}, {warps[w].best, warps[w].token});
    all = {.best = winner.value,
           .raw_max = fmaxf(all.raw_max, warps[w].raw_max),
           .token = winner.token,
           .bad = all.bad | warps[w].bad,
           .n_raw = all.n_raw + warps[w].n_raw};
  }
  s.parts[part] = all;
}

// All parts of a row as one; every lane of a full warp gets it.
__device__ Part whole_row(const RowScratch& s) {
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

// ---- weigh: grid (kParts, R) ---------------------------------------------------------------------------------------

// The largest key that at least `k` groups reach; 0 keeps all. For all threads of a block of kThreads.
__device__ uint32_t group_floor(const uint32_t* groups, int32_t k) {
  constexpr int kEach = kGroups / kThreads;
  __shared__ uint32_t sums[kThreads / kWarp];
  if (k <= 0 || k > kGroups) return 0;
  uint32_t keys[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) keys[i] = groups[threadIdx.x + i * kThreads];
  uint32_t floor = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const uint32_t candidate = floor | 1u << bit;
    uint32_t n = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) n += keys[i] >= candidate ? 1 : 0;
    n = __reduce_add_sync(kAllLanes, n);
    if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = n;
    __syncthreads();
    uint32_t total = 0;
    for (const uint32_t sum : sums) total += sum;
    if (total >= static_cast<uint32_t>(k)) floor = candidate;
    __syncthreads();
  }
  return floor;
}

// Where this thread's entry goes when every thread with `kept` appends one, in order; `n` grows by their number.
__device__ int32_t append(bool kept, int32_t& n) {
  __shared__ int32_t counts[kThreads / kWarp];
  const unsigned votes = __ballot_sync(kAllLanes, kept);
  __syncthreads();  // `counts` of an earlier call has been read
  if (threadIdx.x % kWarp == 0) counts[threadIdx.x / kWarp] = __popc(votes);
  __syncthreads();
  int32_t at = n;
  for (int w = 0; w < kThreads / kWarp; ++w) {
    if (w < static_cast<int>(threadIdx.x) / kWarp) at += counts[w];
    n += counts[w];
  }
  return at + __popc(votes & ((1u << threadIdx.x % kWarp) - 1));
}

__device__ double block_sum_double(double v) {
  __shared__ double sums[kThreads / kWarp];
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) v += __shfl_xor_sync(kAllLanes, v, lanes);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = v;
  __syncthreads();
  double sum = 0.0;
  for (const double part : sums) sum += part;
  return sum;
}

__device__ void weigh_raw(const SampleCall& call, const RowScratch& s, const Part& all, const Range& range, int r,
                          int part) {
  const float* logits = call.logits + static_cast<int64_t>(r) * call.vocab;
  const int32_t k = call.rows[r].n_logprobs;
  const uint32_t floor = group_floor(s.raw_groups, k);
  double sum = 0.0;
  int32_t n = 0;
  for (int32_t first = range.begin; first < range.end; first += kThreads) {
    const int32_t token = first + static_cast<int32_t>(threadIdx.x);
    const bool possible = token < range.end && !is_impossible(logits[token]);
    if (possible) sum += exp(static_cast<double>(logits[token]) - static_cast<double>(all.raw_max));
    if (k == 0) continue;
    const bool kept = possible && key_of(logits[token]) >= floor;
    const int32_t at = append(kept, n);
    if (kept) s.raw_tokens[range.begin + at] = token;
  }
  sum = block_sum_double(sum);
  if (threadIdx.x != 0) return;
  s.exp_sums[part] = sum;
  s.raw_counts[part] = n;
}

__global__ void __launch_bounds__(kThreads) weigh_kernel(SampleCall call) {
  const int part = blockIdx.x, r = blockIdx.y;
  const SamplingRow row = call.rows[r];
  const RowScratch s = scratch_of(call, r);
  const Part all = whole_row(s);
  const Range range = range_of(call.vocab, part);
  if (row.n_logprobs >= 0) weigh_raw(call, s, all, range, r, part);
  if (all.bad % 2 != 0 || all.token < 0 || is_greedy(row) || !asks_draw(call, r)) return;
  const uint32_t floor = group_floor(s.groups, row.top_k);
  const double inverse_temperature = 1.0 / static_cast<double>(row.temperature);
  int32_t n = 0;
  for (int32_t first = range.begin; first < range.end; first += kThreads) {
    const int32_t token = first + static_cast<int32_t>(threadIdx.x);
    const float value = token < range.end ? s.values[token] : -INFINITY;
    const bool possible = value != -INFINITY && key_of(value) >= floor;
    const uint64_t weight = possible ? token_weight(value, all.best, inverse_temperature) : 0;
    // A token that weighs nothing still takes a place among the first k.
    const bool kept = possible && (weight > 0 || row.top_k > 0);
    const int32_t at = append(kept, n);
    if (!kept) continue;
    s.weights[range.begin + at] = weight;
    s.tokens[range.begin + at] = token;
  }
  if (threadIdx.x == 0) s.counts[part] = n;
}

// ---- draw: grid (R) ------------------------------------------------------------------------------------------------

// A list of tokens in kParts pieces; warp w of the block works on pieces w and w + kDrawWarps.
struct List {
  uint64_t* weights = nullptr;  // null: the list of the most likely tokens
  int32_t* tokens = nullptr;
  int32_t* counts = nullptr;  // shared memory
  int32_t piece = 0;          // places per piece

  template <typename F>
  __device__ void each(F f) const {  // f(place)
    for (int p = threadIdx.x / kWarp; p < kParts; p += kDrawWarps) {
      for (int32_t i = threadIdx.x % kWarp; i < counts[p]; i += kWarp) f(static_cast<int64_t>(p) * piece + i);
    }
  }
};

struct Sums {
  uint64_t of[3];
};
// For all threads of a block of kDrawThreads.
__device__ Sums block_sums(Sums v) {
  __shared__ uint64_t parts[kDrawWarps][3];
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (uint64_t& sum : v.of) {
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(kAllLanes, sum, lanes);
  }
  __syncthreads();
  if (lane < 3) parts[threadIdx.x / kWarp][lane] = v.of[lane];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    v.of[i] = parts[lane][i];
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) v.of[i] += __shfl_xor_sync(kAllLanes, v.of[i], lanes);
  }
  return v;
}

// Entries with a larger key are kept, and of those with this one the first `n_equal`.
struct Cut {
  uint64_t key = 0, n_equal = 0;
};

// The largest key at which the entries at or above it have a mass of `needed`, at least 1 and at most that of all.
// `entry(place, key, mass)`; equal keys have equal masses. `bits` is even.
template <typename Entry>
__device__ Cut find_cut(const List& list, int bits, uint64_t needed, Entry entry) {
  uint64_t key = 0;
  for (int shift = bits - 2; shift >= 0; shift -= 2) {
    Sums sums{};
    list.each([&](int64_t i) {
      uint64_t k, mass;
      entry(i, k, mass);
#pragma unroll
      for (int j = 0; j < 3; ++j) sums.of[j] += k >= key + (static_cast<uint64_t>(j + 1) << shift) ? mass : 0;
    });
    sums = block_sums(sums);
    int steps = 0;
    while (steps < 3 && sums.of[steps] >= needed) ++steps;
    key += static_cast<uint64_t>(steps) << shift;
  }
  Sums sums{};
  list.each([&](int64_t i) {
    uint64_t k, mass;
    entry(i, k, mass);
    sums.of[0] += k > key ? mass : 0;
    sums.of[1] += k == key ? mass : 0;
    sums.of[2] += k == key ? 1 : 0;
  });
  sums = block_sums(sums);
  const uint64_t each = sums.of[1] / sums.of[2];
  return {.key = key, .n_equal = (needed - sums.of[0] + each - 1) / each};
}

// Keeps the entries for which `keep(place, rank)` is true, in order; `rank` counts those before it with `equal(place)`.
template <typename Equal, typename Keep>
__device__ void filter(const List& list, Equal equal, Keep keep) {
  __shared__ uint32_t n_equal[kParts];
  const int lane = threadIdx.x % kWarp;
  const unsigned below = (1u << lane) - 1;
  for (int p = threadIdx.x / kWarp; p < kParts; p += kDrawWarps) {
    uint32_t n = 0;
    for (int32_t i = lane; i < list.counts[p]; i += kWarp) n += equal(static_cast<int64_t>(p) * list.piece + i) ? 1 : 0;
    n = __reduce_add_sync(kAllLanes, n);
    if (lane == 0) n_equal[p] = n;
  }
  __syncthreads();
  for (int p = threadIdx.x / kWarp; p < kParts; p += kDrawWarps) {
    uint32_t rank = 0;
    for (int before = 0; before < p; ++before) rank += n_equal[before];
    const int64_t begin = static_cast<int64_t>(p) * list.piece;
    const int32_t count = list.counts[p];
    int32_t n = 0;
    for (int32_t first = 0; first < count; first += kWarp) {
      const int64_t i = begin + first + lane;
      const bool valid = first + lane < count;
      const unsigned equals = __ballot_sync(kAllLanes, valid && equal(i));
      const bool kept = valid && keep(i, rank + static_cast<uint32_t>(__popc(equals & below)));
      const int32_t token = valid ? list.tokens[i] : 0;
      const uint64_t weight = valid && list.weights != nullptr ? list.weights[i] : 0;
      const unsigned votes = __ballot_sync(kAllLanes, kept);  // all have read before one writes
      if (kept) {
        const int64_t to = begin + n + __popc(votes & below);
        list.tokens[to] = token;
        if (list.weights != nullptr) list.weights[to] = weight;
      }
      __syncwarp();
      rank += static_cast<uint32_t>(__popc(equals));
      n += __popc(votes);
    }
    __syncwarp();
    if (lane == 0) list.counts[p] = n;
  }
  __syncthreads();
}

template <typename Key>
__device__ void keep_above(const List& list, const Cut& cut, Key key) {
  filter(
      list, [&](int64_t i) { return key(i) == cut.key; },
      [&](int64_t i, uint32_t rank) { return key(i) > cut.key || (key(i) == cut.key && rank < cut.n_equal); });
}

__device__ uint64_t length(const List& list) {
  uint64_t n = 0;
  for (int p = 0; p < kParts; ++p) n += static_cast<uint64_t>(list.counts[p]);
  return n;
}

__device__ void keep_top_k(const List& list, const float* values, int32_t k) {
  if (k <= 0 || length(list) <= static_cast<uint64_t>(k)) return;
  const auto key = [&](int64_t i) { return static_cast<uint64_t>(key_of(values[list.tokens[i]])); };
  const Cut cut = find_cut(list, 32, static_cast<uint64_t>(k), [&](int64_t i, uint64_t& of, uint64_t& mass) {
    of = key(i);
    mass = 1;
  });
  keep_above(list, cut, key);
}

// Steps 5 to 8 for one row; every thread gets the token.
__device__ int32_t draw_token(const List& list, const float* values, const SamplingRow& row) {
  __shared__ uint64_t masses[kParts];
  __shared__ int32_t token;
  const int lane = threadIdx.x % kWarp;
  const auto weight = [&](int64_t i) { return list.weights[i]; };
  keep_top_k(list, values, row.top_k);
  if (row.top_p < 1.0f) {
    Sums sums{};
    list.each([&](int64_t i) {
      sums.of[0] += list.weights[i];
      sums.of[1] += list.weights[i] > 0 ? 1 : 0;
    });
    sums = block_sums(sums);
    const uint64_t total = sums.of[0], needed = top_p_mass(total, row.top_p);
    // Lighter ones could all be dropped and the rest would still reach `needed`: the crossing one is not among them.
    const uint64_t negligible = (total - needed) / sums.of[1];
    filter(list, [](int64_t) { return false; }, [&](int64_t i, uint32_t) { return list.weights[i] > negligible; });
    const Cut cut = find_cut(list, kWeightKeyBits, needed, [&](int64_t i, uint64_t& of, uint64_t& mass) {
      of = list.weights[i];
      mass = list.weights[i];
    });
    keep_above(list, cut, weight);
  }
  const uint64_t least = row.min_p > 0.0f ? min_p_weight(row.min_p) : 0;
  const auto mass = [&](int64_t i) { return list.weights[i] < least ? 0 : list.weights[i]; };
  for (int p = threadIdx.x / kWarp; p < kParts; p += kDrawWarps) {
    uint64_t sum = 0;
    for (int32_t i = lane; i < list.counts[p]; i += kWarp) sum += mass(static_cast<int64_t>(p) * list.piece + i);
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(kAllLanes, sum, lanes);
    if (lane == 0) masses[p] = sum;
  }
  __syncthreads();
  if (threadIdx.x < kWarp) {
    uint64_t total = 0, before = 0;
    for (const uint64_t m : masses) total += m;
    const uint64_t target = draw_below(total, row.seed, row.sequence, row.position);
    int p = 0;
    while (before + masses[p] <= target) before += masses[p++];
    const int64_t begin = static_cast<int64_t>(p) * list.piece;
    for (int32_t first = 0; first < list.counts[p]; first += kWarp) {
      uint64_t sum = first + lane < list.counts[p] ? mass(begin + first + lane) : 0;
      for (int lanes = 1; lanes < kWarp; lanes *= 2) {
        const uint64_t left = __shfl_up_sync(kAllLanes, sum, lanes);
        if (lane >= lanes) sum += left;
      }
      const unsigned beyond = __ballot_sync(kAllLanes, before + sum > target);
      if (beyond != 0) {
        if (lane == 0) token = list.tokens[begin + first + __ffs(static_cast<int>(beyond)) - 1];
        break;
      }
      before += __shfl_sync(kAllLanes, sum, kWarp - 1);
    }
  }
  __syncthreads();
  return token;
}

// The most likely tokens of the raw distribution, in order. For the whole block.
__device__ int32_t write_top(const List& list, const float* logits, int32_t k, double log_sum, RawLogprob* top) {
  __shared__ int32_t tokens[kMaxTopLogprobs], n_tokens;
  keep_top_k(list, logits, k);
  if (threadIdx.x == 0) n_tokens = 0;
  __syncthreads();
  list.each([&](int64_t i) { tokens[atomicAdd(&n_tokens, 1)] = list.tokens[i]; });
  __syncthreads();
  const int32_t n = n_tokens, me = static_cast<int32_t>(threadIdx.x);
  if (me < n) {
    const Candidate mine{.value = logits[tokens[me]], .token = tokens[me]};
    int32_t rank = 0;
    for (int32_t i = 0; i < n; ++i)
      rank += ranks_before({.value = logits[tokens[i]], .token = tokens[i]}, mine) ? 1 : 0;
    top[rank] = {.token = mine.token, .logprob = static_cast<float>(static_cast<double>(mine.value) - log_sum)};
  }
  return n;
}

__global__ void __launch_bounds__(kDrawThreads) draw_kernel(SampleCall call) {
  __shared__ int32_t counts[kParts], raw_counts[kParts];
  const int r = blockIdx.x;
  const SamplingRow row = call.rows[r];
  const RowScratch s = scratch_of(call, r);
  const float* logits = call.logits + static_cast<int64_t>(r) * call.vocab;
  const Part all = whole_row(s);
  const int32_t piece = (call.vocab + kParts - 1) / kParts;
  if (threadIdx.x < kParts) {
    // A part behind the vocabulary's end has no list.
    const bool empty = static_cast<int64_t>(threadIdx.x) * piece >= call.vocab;
    counts[threadIdx.x] = empty ? 0 : s.counts[threadIdx.x];
    raw_counts[threadIdx.x] = empty ? 0 : s.raw_counts[threadIdx.x];
  }
  __syncthreads();

  DrawnRow drawn;
  auto outcome = SampleOutcome::ok;
  if (!asks_draw(call, r)) {
    drawn.token = call.row_token[r];
  } else if (all.bad % 2 != 0) {
    outcome = SampleOutcome::bad_logits;
  } else if (all.token < 0) {
    outcome = SampleOutcome::no_candidate;
  } else {
    const List list{.weights = s.weights, .tokens = s.tokens, .counts = counts, .piece = piece};
    drawn.token = is_greedy(row) ? all.token : draw_token(list, s.values, row);
  }
  if (outcome == SampleOutcome::ok && row.n_logprobs >= 0) {
    if (all.bad >= 2) {
      outcome = SampleOutcome::bad_logits;
    } else if (all.n_raw == 0) {
      outcome = SampleOutcome::no_candidate;
    } else {
      double sum = 0.0;
      for (int p = 0; p < kParts; ++p) sum += s.exp_sums[p];
      const double log_sum = static_cast<double>(all.raw_max) + log(sum);
      drawn.logprob = static_cast<float>(static_cast<double>(logits[drawn.token]) - log_sum);
      const List list{.tokens = s.raw_tokens, .counts = raw_counts, .piece = piece};
      const int32_t k = min(row.n_logprobs, kMaxTopLogprobs);
      if (k > 0) drawn.n_top = write_top(list, logits, k, log_sum, call.top + int64_t{r} * kMaxTopLogprobs);
    }
  }
  drawn.outcome = static_cast<int32_t>(outcome);
  if (threadIdx.x == 0) call.drawn[r] = drawn;
}

}  // namespace

int64_t sample_scratch_bytes(int32_t vocab) {
  return kSampleRows * row_scratch_bytes(vocab);
}

void sample(const SampleCall& call, void* stream) noexcept {
  auto* const s = static_cast<cudaStream_t>(stream);
  for (int32_t first = 0; first < call.n_rows; first += kSampleRows) {
    SampleCall some = call;
    some.n_rows = call.n_rows - first < kSampleRows ? call.n_rows - first : kSampleRows;
    some.logits += int64_t{first} * call.vocab;
    some.rows += first;
    if (some.row_token != nullptr) some.row_token += first;
    some.drawn += first;
    some.top += int64_t{first} * kMaxTopLogprobs;
    const dim3 grid(kParts, static_cast<unsigned>(some.n_rows));
    values_kernel<<<grid, kThreads, 0, s>>>(some);
    weigh_kernel<<<grid, kThreads, 0, s>>>(some);
    draw_kernel<<<some.n_rows, kDrawThreads, 0, s>>>(some);
  }
}

}  // namespace arc::cuda
