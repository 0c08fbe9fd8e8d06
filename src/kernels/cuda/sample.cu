// Sampling without a sort. A row's vocabulary is cut into kParts ranges of neighbours. Four kernels:
//
//   values   each token's penalised logit; of each range the best, and the largest value of small groups of tokens
//   weigh    tokens that may be drawn, with their weights, as a list per range, by ascending token
//   cross    top-p alone: the bin of weights that the cut lies in, and which tokens are in it
//   draw     one block per row: top-k, top-p and min-p, then the draw
//
// Only integers are summed on the way to a token, so the order of sums does not matter. The k-th largest of the groups'
// maxima is at most the k-th largest value: it keeps nearly all tokens out of a top-k list. Here is the first kernel.
#include "kernels/cuda/sample_row.cuh"

namespace arc::cuda {
namespace sampling {
namespace {

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

// grid: (kParts, R).
__global__ void __launch_bounds__(kThreads) values_kernel(SampleCall call) {
  const int part = blockIdx.x, r = blockIdx.y, lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const SamplingRow row = call.rows[r];
  const RowScratch s = scratch_of(call, r);
  const float* logits = call.logits + static_cast<int64_t>(r) * call.vocab;
  const int64_t words = (call.vocab + 31) / 32;  // mask_words(), for the device
  const uint32_t* mask = row.mask_row < 0 ? nullptr : call.tables.allowed + row.mask_row * words;
  const uint32_t* counts = row.counts_row < 0 ? nullptr : call.tables.counts + int64_t{row.counts_row} * call.vocab;
  const bool raw = row.n_logprobs >= 0;

  for (int bin = part * kThreads + static_cast<int>(threadIdx.x); bin < kBins; bin += kParts * kThreads)
    s.bins[bin] = 0;
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

}  // namespace

void start_values(const SampleCall& call, cudaStream_t stream) {
  values_kernel<<<dim3(kParts, static_cast<unsigned>(call.n_rows)), kThreads, 0, stream>>>(call);
}

}  // namespace sampling

int64_t sample_scratch_bytes(int32_t vocab) {
  return kSampleRows * sampling::row_scratch_bytes(vocab);
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
    sampling::start_values(some, s);
    sampling::start_weigh(some, s);
    sampling::start_draw(some, s);
  }
}

}  // namespace arc::cuda
