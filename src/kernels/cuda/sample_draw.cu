// The draw of a row's token from its lists, by one block: top-k and top-p as cuts, then the running sum.
#include <cmath>

#include "kernels/cuda/sample_row.cuh"

namespace arc::cuda::sampling {
namespace {

constexpr int kDrawThreads = 1024, kDrawWarps = kDrawThreads / kWarp;
constexpr int kWeightKeyBits = 46;  // weights have 45 bits; bisection takes two at a time

// Tokens in kParts pieces of a row's scratch memory; warp w of the block works on pieces w and w + kDrawWarps.
struct List {
  const uint64_t* weights = nullptr;  // null: the list of the most likely tokens
  const int32_t* tokens = nullptr;
  const int32_t* counts = nullptr;  // shared memory
  const int32_t* places = nullptr;  // entries, where not all of a piece are
  int32_t piece = 0;                // places per piece

  __device__ int64_t place(int p, int32_t i) const {
    const int64_t at = static_cast<int64_t>(p) * piece + i;
    return places != nullptr ? places[at] : at;
  }
  template <typename F>
  __device__ void each(F f) const {  // f(place)
    for (int p = threadIdx.x / kWarp; p < kParts; p += kDrawWarps) {
      for (int32_t i = threadIdx.x % kWarp; i < counts[p]; i += kWarp) f(place(p, i));
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

// What is kept: larger keys, and of those with this one the tokens up to this one.
struct Cut {
  uint64_t key = 0;
  int32_t token = kMaxVocab;

  __device__ bool keeps(uint64_t of, int32_t its_token) const { return of > key || (of == key && its_token <= token); }
};

// Few entries, in shared memory.
struct Few {
  static constexpr uint32_t kMost = kDrawThreads;
  uint64_t keys[kMost], masses[kMost];
  int32_t tokens[kMost];
  uint32_t n = 0;
  Cut cut;
};

// The entry at which those before it, by key and then token, do not have a mass of `needed`, and with it do. Each is
// compared with all by as many threads as there are.
__device__ Cut cut_by_rank(Few& few, uint64_t needed) {
  uint32_t each = kWarp;
  while (each > 1 && each * few.n > kDrawThreads) each /= 2;
  const uint32_t me = threadIdx.x / each;
  uint64_t before = 0;
  if (me < few.n) {
    const uint64_t key = few.keys[me];
    const int32_t token = few.tokens[me];
    for (uint32_t i = threadIdx.x % each; i < few.n; i += each) {
      const bool outranks = few.keys[i] > key || (few.keys[i] == key && few.tokens[i] < token);
      before += outranks ? few.masses[i] : 0;
    }
  }
  for (uint32_t lanes = each / 2; lanes > 0; lanes /= 2) before += __shfl_xor_sync(kAllLanes, before, lanes);
  if (me < few.n && before < needed && before + few.masses[me] >= needed) {
    few.cut = {.key = few.keys[me], .token = few.tokens[me]};
  }
  __syncthreads();
  return few.cut;
}

// The token of the n-th entry, from 1, that `chosen(place)`.
template <typename Chosen>
__device__ int32_t nth_token(const List& list, uint64_t n, Chosen chosen) {
  __shared__ uint32_t counts[kParts];
  __shared__ int32_t token;
  const int lane = threadIdx.x % kWarp;
  for (int p = threadIdx.x / kWarp; p < kParts; p += kDrawWarps) {
    uint32_t count = 0;
    for (int32_t i = lane; i < list.counts[p]; i += kWarp) count += chosen(list.place(p, i)) ? 1 : 0;
    count = __reduce_add_sync(kAllLanes, count);
    if (lane == 0) counts[p] = count;
  }
  __syncthreads();
  int p = 0;
  for (; n > counts[p]; ++p) n -= counts[p];
  if (static_cast<int>(threadIdx.x) < kWarp) {
    for (int32_t first = 0; first < list.counts[p]; first += kWarp) {
      const bool mine = first + lane < list.counts[p] && chosen(list.place(p, first + lane));
      const unsigned votes = __ballot_sync(kAllLanes, mine);
      const auto rank = static_cast<uint64_t>(__popc(votes & ((2u << lane) - 1)));
      if (mine && rank == n) token = list.tokens[list.place(p, first + lane)];
      if (static_cast<uint64_t>(__popc(votes)) >= n) break;
      n -= static_cast<uint64_t>(__popc(votes));
    }
  }
  __syncthreads();
  return token;
}

template <typename Entry>
__device__ Cut cut_by_bisection(const List& list, int bits, uint64_t needed, Entry entry) {
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
  const auto equal = [&](int64_t i) {
    uint64_t k, mass;
    entry(i, k, mass);
    return k == key && mass > 0;
  };
  Sums sums{};
  list.each([&](int64_t i) {
    uint64_t k, mass;
    entry(i, k, mass);
    sums.of[0] += k > key ? mass : 0;
    sums.of[1] += k == key ? mass : 0;
    sums.of[2] += k == key && mass > 0 ? 1 : 0;
  });
  sums = block_sums(sums);
  const uint64_t each = sums.of[1] / sums.of[2];
  return {.key = key, .token = nth_token(list, (needed - sums.of[0] + each - 1) / each, equal)};
}

// The largest keys, then lowest tokens, that have a mass of `needed`, at least 1 and at most that of all.
// `entry(place, key, mass)`: of `bits` bits, an even number; equal keys have equal masses, or none.
template <typename Entry>
__device__ Cut find_cut(Few& few, const List& list, int bits, uint64_t needed, Entry entry) {
  __syncthreads();  // `few` of an earlier call has been read
  if (threadIdx.x == 0) few.n = 0;
  __syncthreads();
  list.each([&](int64_t i) {
    uint64_t key, mass;
    entry(i, key, mass);
    if (mass == 0) return;
    const uint32_t at = atomicAdd(&few.n, 1u);
    if (at >= Few::kMost) return;
    few.keys[at] = key;
    few.masses[at] = mass;
    few.tokens[at] = list.tokens[i];
  });
  __syncthreads();
  return few.n <= Few::kMost ? cut_by_rank(few, needed) : cut_by_bisection(list, bits, needed, entry);
}

// The k largest of `values`; a list that is no longer keeps all.
__device__ Cut cut_top_k(Few& few, const List& list, const float* values, int32_t k) {
  uint64_t length = 0;
  for (int p = 0; p < kParts; ++p) length += static_cast<uint64_t>(list.counts[p]);
  if (length <= static_cast<uint64_t>(k)) return {};
  return find_cut(few, list, 32, static_cast<uint64_t>(k), [&](int64_t i, uint64_t& key, uint64_t& mass) {
    key = key_of(values[list.tokens[i]]);
    mass = 1;
  });
}

// The first entry, by token, at which the running sum of mass(place) exceeds `target`, which is less than the sum of
// `masses` [kParts]. For the whole block.
template <typename Mass>
__device__ int32_t token_at(const List& list, const uint64_t* masses, uint64_t target, Mass mass) {
  __shared__ uint64_t sums[kDrawWarps];
  __shared__ int32_t token;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  if (threadIdx.x == 0) token = -1;
  int p = 0;
  for (; target >= masses[p]; ++p) target -= masses[p];
  for (int32_t first = 0; first < list.counts[p]; first += kDrawThreads) {
    const int32_t i = first + static_cast<int32_t>(threadIdx.x);
    const uint64_t mine = i < list.counts[p] ? mass(list.place(p, i)) : 0;
    uint64_t through = mine;
    for (int lanes = 1; lanes < kWarp; lanes *= 2) {
      const uint64_t left = __shfl_up_sync(kAllLanes, through, lanes);
      if (lane >= lanes) through += left;
    }
    __syncthreads();  // `sums` of the last round has been read
    if (lane == kWarp - 1) sums[warp] = through;
    __syncthreads();
    uint64_t total = 0;
    for (int w = 0; w < kDrawWarps; ++w) {
      if (w < warp) through += sums[w];
      total += sums[w];
    }
    if (through > target && through - mine <= target) token = list.tokens[list.place(p, i)];
    if (total > target) break;
    target -= total;
  }
  __syncthreads();
  return token;
}

// Steps 5 to 8 for one row; every thread gets the token. `list.counts` in shared memory.
__device__ int32_t draw_token(Few& few, const SampleCall& call, const List& list, const RowScratch& s,
                              const SamplingRow& row) {
  __shared__ uint64_t masses[kParts];
  __shared__ int32_t place_counts[kParts];
  const bool top_k = asks_top_k(call, row);
  const uint64_t least = least_weight(row);
  Cut by_value, by_weight;
  if (top_k) by_value = cut_top_k(few, list, s.values, row.top_k);
  const auto weight = [&](int64_t i) -> uint64_t {
    const int32_t token = list.tokens[i];
    return !top_k || by_value.keeps(key_of(s.values[token]), token) ? list.weights[i] : 0;
  };
  const auto by_weights = [&](int64_t i, uint64_t& key, uint64_t& mass) { key = mass = weight(i); };
  const auto kept = [&](int64_t i) -> uint64_t {
    const uint64_t w = weight(i);
    return w >= least && by_weight.keeps(w, list.tokens[i]) ? w : 0;
  };
  if (threadIdx.x < kParts) {
    const bool some = list.counts[threadIdx.x] > 0;
    masses[threadIdx.x] = some && !top_k ? s.masses[threadIdx.x] : 0;
    place_counts[threadIdx.x] = some && !top_k && asks_top_p(row) ? s.place_counts[threadIdx.x] : 0;
  }
  __syncthreads();
  List rest = list;  // what is not yet in `masses`
  if (!top_k) rest.counts = place_counts, rest.places = s.places;
  if (asks_top_p(row)) {
    uint64_t needed = 0;
    if (top_k) {
      Sums sums{};
      list.each([&](int64_t i) { sums.of[0] += weight(i); });
      needed = top_p_mass(block_sums(sums).of[0], row.top_p);
    } else {
      needed = s.crossing->needed;
    }
    by_weight = find_cut(few, rest, kWeightKeyBits, needed, by_weights);
  }
  rest.each([&](int64_t i) {
    atomicAdd(reinterpret_cast<unsigned long long*>(&masses[i / list.piece]), static_cast<unsigned long long>(kept(i)));
  });
  __syncthreads();
  uint64_t total = 0;
  for (const uint64_t m : masses) total += m;
  return token_at(list, masses, draw_below(total, row.seed, row.sequence, row.position), kept);
}

// The most likely tokens of the raw distribution, in order. For the whole block.
__device__ int32_t write_top(Few& few, const List& list, const float* logits, int32_t k, double log_sum,
                             RawLogprob* top) {
  __shared__ int32_t tokens[kMaxTopLogprobs], n_tokens;
  const Cut cut = cut_top_k(few, list, logits, k);
  if (threadIdx.x == 0) n_tokens = 0;
  __syncthreads();
  list.each([&](int64_t i) {
    const int32_t token = list.tokens[i];
    if (cut.keeps(key_of(logits[token]), token)) tokens[atomicAdd(&n_tokens, 1)] = token;
  });
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

// grid: (R).
__global__ void __launch_bounds__(kDrawThreads) draw_kernel(SampleCall call) {
  __shared__ Few few;
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
    drawn.token = is_greedy(row) ? all.token : draw_token(few, call, list, s, row);
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
      if (k > 0) drawn.n_top = write_top(few, list, logits, k, log_sum, call.top + int64_t{r} * kMaxTopLogprobs);
    }
  }
  drawn.outcome = static_cast<int32_t>(outcome);
  if (threadIdx.x == 0) call.drawn[r] = drawn;
}

}  // namespace

void start_draw(const SampleCall& call, cudaStream_t stream) {
  draw_kernel<<<call.n_rows, kDrawThreads, 0, stream>>>(call);
}

}  // namespace arc::cuda::sampling
