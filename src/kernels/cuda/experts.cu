// Choosing experts and adding up what they gave, on the device. Choices are made in double, as the reference makes
// them.
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/limits.h"

namespace arc::cuda {
namespace {

constexpr int kThreads = 256;

struct Best {
  double value = 0.0;
  int index = 0;
};

// Of two candidates the one to take: the larger, then the lower number.
__device__ __forceinline__ Best better(Best a, Best b) {
  return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}

// The best of a shared array, for every lane of the one warp.
__device__ Best warp_best(const double* values, int n) {
  Best best{-INFINITY, n};
  for (int i = threadIdx.x; i < n; i += kWarp) best = better(best, {values[i], i});
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    const Best other{__shfl_xor_sync(kAllLanes, best.value, lanes), __shfl_xor_sync(kAllLanes, best.index, lanes)};
    best = better(best, other);
  }
  return best;
}

// Leaves choices only in the top groups, by the sum of each group's one or two best.
__device__ void keep_top_groups(const RouteArgs& a, double* choices) {
  __shared__ double scores[kMaxGroups];
  const int size = a.experts / a.groups;
  for (int g = threadIdx.x; g < a.groups; g += kWarp) {
    double first = -INFINITY, second = -INFINITY;
    for (int e = g * size; e < (g + 1) * size; ++e) {
      second = fmax(second, fmin(first, choices[e]));
      first = fmax(first, choices[e]);
    }
    scores[g] = a.group_best > 1 && size > 1 ? first + second : first;
  }
  __syncwarp();
  for (int e = threadIdx.x; e < a.experts; e += kWarp) {
    int ahead = 0;
    for (int g = 0; g < a.groups; ++g) {
      ahead += scores[g] > scores[e / size] || (scores[g] == scores[e / size] && g < e / size);
    }
    if (ahead >= a.top_groups) choices[e] = -INFINITY;
  }
  __syncwarp();
}

// Sparsemixer's weight of `best`, for every lane: softmax over what is near it and may still be chosen.
__device__ double mixer_weight(const RouteArgs& a, const float* logits, const double* choices, int best) {
  const double top = logits[best];
  double mass = 0.0;
  for (int e = threadIdx.x; e < a.experts; e += kWarp) {
    const double logit = logits[e];
    const bool near = top - logit <= 2 * a.jitter * fmax(fabs(logit), top);
    if (near && choices[e] != -INFINITY) mass += exp(logit - top);
  }
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) mass += __shfl_xor_sync(kAllLanes, mass, lanes);
  return 1.0 / mass;
}

// One warp per token.
__global__ void route_kernel(RouteArgs a, Rows logits, Rows ids, Rows weights, const float* correction) {
  extern __shared__ double shared[];  // weights [E], choices [E]
  double *weight = shared, *choice = shared + a.experts;
  const int64_t t = blockIdx.x;
  const float* row = logits.row(t);
  float largest = -INFINITY;
  for (int e = threadIdx.x; e < a.experts; e += kWarp) largest = fmaxf(largest, row[e]);
  largest = warp_max(largest);
  double mass = 0.0;
  for (int e = threadIdx.x; e < a.experts; e += kWarp) mass += exp(static_cast<double>(row[e]) - largest);
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) mass += __shfl_xor_sync(kAllLanes, mass, lanes);
  for (int e = threadIdx.x; e < a.experts; e += kWarp) {
    const double logit = row[e];
    weight[e] = a.score == RouterScore::sigmoid   ? 1.0 / (1.0 + exp(-logit))
                : a.score == RouterScore::softmax ? exp(logit - largest) / mass
                                                  : exp(logit - largest);
    choice[e] = correction != nullptr ? weight[e] + correction[e] : weight[e];
  }
  __syncwarp();
  if (a.groups != a.top_groups) keep_top_groups(a, choice);
  double sum = 0.0;
  for (int j = 0; j < a.top_k; ++j) {
    Best best = warp_best(choice, a.experts);
    best.index = min(best.index, a.experts - 1);  // no best among NaN
    sum += weight[best.index];
    const double mixed = a.score == RouterScore::sparsemixer ? mixer_weight(a, row, choice, best.index) : 0.0;
    __syncwarp();
    if (threadIdx.x == 0) {
      if (a.score == RouterScore::sparsemixer) weight[best.index] = mixed;
      ids.row<int32_t>(t)[j] = best.index;
      choice[best.index] = -INFINITY;
    }
    __syncwarp();
  }
  const bool normalised = a.renormalize || a.score == RouterScore::softmax_selected;
  const double divisor = normalised ? (a.score == RouterScore::sigmoid ? sum + 1e-20 : sum) : 1.0;
  for (int j = threadIdx.x; j < a.top_k; j += kWarp) {
    weights.row(t)[j] = static_cast<float>(weight[ids.row<int32_t>(t)[j]] / divisor * a.scale);
  }
}

__global__ void expert_sum_kernel(int top_k, Rows x, Rows weights, Rows y) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, t = blockIdx.y;
  if (c >= y.cols) return;
  float sum = 0.0f;
  for (int j = 0; j < top_k; ++j) sum += weights.row(t)[j] * x.row(t)[j * y.cols + c];
  y.row(t)[c] = sum;
}

}  // namespace

void run(const RouteArgs& a, const Operands& o) noexcept {
  const Rows logits(o.reads[0]);
  if (logits.rows == 0) return;
  const float* correction = a.correction ? static_cast<const float*>(o.weights[0].data) : nullptr;
  route_kernel<<<static_cast<unsigned>(logits.rows), kWarp, 2 * a.experts * sizeof(double), stream_of(o)>>>(
      a, logits, Rows(o.writes[0]), Rows(o.writes[1]), correction);
}

void run(const ExpertSumArgs& a, const Operands& o) noexcept {
  const Rows x(o.reads[0]), y(o.writes[0]);
  if (x.rows == 0) return;
  const dim3 grid(static_cast<unsigned>(blocks_for(y.cols, kThreads)), static_cast<unsigned>(x.rows));
  expert_sum_kernel<<<grid, kThreads, 0, stream_of(o)>>>(a.top_k, x, Rows(o.reads[1]), y);
}

}  // namespace arc::cuda
