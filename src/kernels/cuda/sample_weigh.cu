// The lists of tokens that a row may draw, with their weights, and the bin of weights that top-p alone cuts in.
#include <cmath>

#include "kernels/cuda/sample_row.cuh"

namespace arc::cuda::sampling {
namespace {

// The largest key that at least `k` groups reach; 0 keeps all. For all threads of a block of kThreads.
__device__ uint32_t group_floor(const uint32_t* groups, int32_t k) {
  constexpr int kEach = kGroups / kThreads, kField = 10;  // bits of a warp's count
  static_assert(kEach * kWarp < 1 << kField);
  __shared__ uint32_t sums[2][kThreads / kWarp];
  if (k <= 0 || k > kGroups) return 0;
  uint32_t keys[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) keys[i] = groups[threadIdx.x + i * kThreads];
  uint32_t floor = 0;
  __syncthreads();  // `sums` of an earlier call has been read
  for (int shift = 30; shift >= 0; shift -= 2) {
    uint32_t n = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
#pragma unroll
      for (uint32_t j = 0; j < 3; ++j) n += keys[i] >= floor + ((j + 1) << shift) ? 1u << (kField * j) : 0;
    }
    n = __reduce_add_sync(kAllLanes, n);
    uint32_t* const now = sums[shift / 2 % 2];
    if (threadIdx.x % kWarp == 0) now[threadIdx.x / kWarp] = n;
    __syncthreads();
    uint32_t totals[3] = {};
    for (int w = 0; w < kThreads / kWarp; ++w) {
#pragma unroll
      for (int j = 0; j < 3; ++j) totals[j] += now[w] >> (kField * j) & ((1u << kField) - 1);
    }
    uint32_t steps = 0;
    while (steps < 3 && totals[steps] >= static_cast<uint32_t>(k)) ++steps;
    floor += steps << shift;
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

__device__ uint64_t block_sum_u64(uint64_t v) {
  __shared__ uint64_t sums[kThreads / kWarp];
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) v += __shfl_xor_sync(kAllLanes, v, lanes);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = v;
  __syncthreads();
  uint64_t sum = 0;
  for (const uint64_t part : sums) sum += part;
  return sum;
}

// Whether the row's token is drawn from its list.
__device__ bool is_drawn(const SampleCall& call, int r, const Part& all) {
  return all.bad % 2 == 0 && all.token >= 0 && !is_greedy(call.rows[r]) && asks_draw(call, r);
}

// grid: (kParts, R).
__global__ void __launch_bounds__(kThreads) weigh_kernel(SampleCall call) {
  __shared__ unsigned long long bins[kBins];
  const int part = blockIdx.x, r = blockIdx.y;
  const SamplingRow row = call.rows[r];
  const RowScratch s = scratch_of(call, r);
  const Part all = whole_row(s);
  const Range range = range_of(call.vocab, part);
  if (row.n_logprobs >= 0) weigh_raw(call, s, all, range, r, part);
  if (!is_drawn(call, r, all)) return;
  const bool top_k = asks_top_k(call, row), by_bins = !top_k && asks_top_p(row);
  if (by_bins) {
    for (int bin = threadIdx.x; bin < kBins; bin += kThreads) bins[bin] = 0;
    __syncthreads();
  }
  const uint32_t floor = group_floor(s.groups, top_k ? row.top_k : 0);
  const double inverse_temperature = 1.0 / static_cast<double>(row.temperature);
  const uint64_t least = least_weight(row);
  int32_t n = 0;
  uint64_t mass = 0;
  for (int32_t first = range.begin; first < range.end; first += kThreads) {
    const int32_t token = first + static_cast<int32_t>(threadIdx.x);
    const float value = token < range.end ? s.values[token] : -INFINITY;
    const bool possible = value != -INFINITY && key_of(value) >= floor;
    const uint64_t weight = possible ? token_weight(value, all.best, inverse_temperature) : 0;
    // A token that weighs nothing still takes a place among the first k.
    const bool kept = possible && (weight > 0 || top_k);
    const int32_t at = append(kept, n);
    if (!kept) continue;
    s.weights[range.begin + at] = weight;
    s.tokens[range.begin + at] = token;
    mass += weight < least ? 0 : weight;
    if (by_bins) atomicAdd(&bins[bin_of(weight)], static_cast<unsigned long long>(weight));
  }
  mass = block_sum_u64(mass);
  if (threadIdx.x == 0) s.counts[part] = n, s.masses[part] = mass;
  if (!by_bins) return;
  for (int bin = threadIdx.x; bin < kBins; bin += kThreads) {
    if (bins[bin] > 0) atomicAdd(reinterpret_cast<unsigned long long*>(&s.bins[bin]), bins[bin]);
  }
}

// Where the bins from the heaviest down have the mass that top-p needs. For all threads of a block of kThreads.
__device__ Crossing find_crossing(const RowScratch& s, float top_p) {
  constexpr int kEach = (kBins + kThreads - 1) / kThreads;
  __shared__ uint64_t sums[kThreads / kWarp];
  __shared__ Crossing crossing;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  uint64_t masses[kEach], mine = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int bin = kBins - 1 - (static_cast<int>(threadIdx.x) * kEach + i);
    masses[i] = bin >= 0 ? s.bins[bin] : 0;
    mine += masses[i];
  }
  uint64_t before = mine;  // through this thread's bins, within the warp
  for (int lanes = 1; lanes < kWarp; lanes *= 2) {
    const uint64_t left = __shfl_up_sync(kAllLanes, before, lanes);
    if (lane >= lanes) before += left;
  }
  if (lane == kWarp - 1) sums[warp] = before;
  __syncthreads();
  uint64_t total = 0;
  before -= mine;
  for (int w = 0; w < kThreads / kWarp; ++w) {
    if (w < warp) before += sums[w];
    total += sums[w];
  }
  const uint64_t needed = top_p_mass(total, top_p);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    if (before < needed && before + masses[i] >= needed) {
      crossing = {.needed = needed - before, .bin = kBins - 1 - (static_cast<int>(threadIdx.x) * kEach + i)};
    }
    before += masses[i];
  }
  __syncthreads();
  return crossing;
}

// grid: (kParts, R).
__global__ void __launch_bounds__(kThreads) cross_kernel(SampleCall call) {
  const int part = blockIdx.x, r = blockIdx.y;
  const SamplingRow row = call.rows[r];
  const RowScratch s = scratch_of(call, r);
  if (!asks_top_p(row) || asks_top_k(call, row) || !is_drawn(call, r, whole_row(s))) return;
  const Crossing crossing = find_crossing(s, row.top_p);
  const uint64_t least = least_weight(row);
  const Range range = range_of(call.vocab, part);
  const int32_t count = range.begin < range.end ? s.counts[part] : 0;
  int32_t n = 0;
  uint64_t mass = 0;
  for (int32_t first = 0; first < count; first += kThreads) {
    const int32_t i = first + static_cast<int32_t>(threadIdx.x);
    const uint64_t weight = i < count ? s.weights[range.begin + i] : 0;
    const int bin = bin_of(weight);
    const bool inside = weight > 0 && bin == crossing.bin;
    if (bin > crossing.bin && weight >= least) mass += weight;
    const int32_t at = append(inside, n);
    if (inside) s.places[range.begin + at] = range.begin + i;
  }
  mass = block_sum_u64(mass);
  if (threadIdx.x != 0) return;
  s.masses[part] = mass;
  s.place_counts[part] = n;
  if (part == 0) *s.crossing = crossing;
}

}  // namespace

void start_weigh(const SampleCall& call, cudaStream_t stream) {
  const dim3 grid(kParts, static_cast<unsigned>(call.n_rows));
  weigh_kernel<<<grid, kThreads, 0, stream>>>(call);
  cross_kernel<<<grid, kThreads, 0, stream>>>(call);
}

}  // namespace arc::cuda::sampling
