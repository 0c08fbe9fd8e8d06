// Merges the parts of each row that the kernels for one token of a sequence left, in the order of its items.
#include "kernels/cuda/attention_units.cuh"

namespace arc::cuda::attention {
namespace {

constexpr int kMergeThreads = 256;
constexpr int kBatch = 64;  // parts in shared memory at once

// Parts of one row and head, in order: the first, then every one from `second` on.
struct Parts {
  int64_t first_item = 0;
  int n_items = 0, second = 0;

  __device__ int count() const { return n_items - second + 1; }
  __device__ int64_t item(int i) const { return first_item + (i == 0 ? 0 : second + i - 1); }
};

template <int kDim>
struct Merge {
  float values[kBatch][kDim + 4];
  float keep[kBatch], take[kBatch];
  float row[kDim];
};

// How each of `n` parts joins those before it, whose largest score is `top`; afterwards `top` is that of all. One warp.
template <int kDim>
__device__ __forceinline__ void weigh_parts(Merge<kDim>& shared, int n, float& top) {
  const int lane = threadIdx.x;
#pragma unroll
  for (int first = 0; first < kBatch; first += kWarp) {
    const int i = first + lane;
    float mine = i < n ? shared.values[i][kDim + kPartTop] : -INFINITY, most = mine;
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const float below = __shfl_up_sync(kAllLanes, most, step);
      if (lane >= step) most = fmaxf(most, below);
    }
    float before = __shfl_up_sync(kAllLanes, most, 1);
    before = lane == 0 ? top : fmaxf(top, before);
    if (i < n) {
      const Blend b = blend(before, mine);
      shared.keep[i] = b.keep;
      shared.take[i] = b.take;
    }
    top = fmaxf(top, __shfl_sync(kAllLanes, most, kWarp - 1));
  }
}

// grid: (H, S).
template <int kDim>
__global__ void __launch_bounds__(kMergeThreads) merge_kernel(const __grid_constant__ Call c) {
  __shared__ Merge<kDim> shared;
  const int s = blockIdx.y, t = c.q_start[s], me = static_cast<int>(threadIdx.x);
  if (c.q_start[s + 1] != t + 1) return;
  const int group = s / kDealtSeqs, *starts = c.starts + group * (kDealtSeqs + 2);
  const int heads = c.a.heads / c.a.kv_heads, head = blockIdx.x, in_group = head % heads;
  const int chunk = head / heads * c.chunks_per_group + in_group / c.chunk_heads, place = in_group % c.chunk_heads;
  Parts parts{.n_items = Row(c, s).items(starts[kDealtSeqs + 1] != 0)};
  parts.first_item = starts[s % kDealtSeqs] + chunk * parts.n_items;
  parts.second = __float_as_int(part_at<kDim>(c, group, parts.first_item, place)[kDim + kPartNext]);
  const int count = parts.count();
  float top = -INFINITY, sum = 0.0f;  // of column `me`; behind the columns comes the mass
  for (int first = 0; first < count; first += kBatch) {
    const int n = min(kBatch, count - first);
    __syncthreads();  // the last values are used up
    constexpr int kFours = kDim / 4 + 1;
    for (int i = me; i < n * kFours; i += kMergeThreads) {
      const float* part = part_at<kDim>(c, group, parts.item(first + i / kFours), place);
      *reinterpret_cast<float4*>(&shared.values[i / kFours][i % kFours * 4]) =
          reinterpret_cast<const float4*>(part)[i % kFours];
    }
    __syncthreads();
    if (me < kWarp) weigh_parts(shared, n, top);
    __syncthreads();
    if (me > kDim) continue;
    for (int i = 0; i < n; ++i) sum = __fmaf_rn(shared.values[i][me], shared.take[i], __fmul_rn(sum, shared.keep[i]));
  }
  __shared__ float mass;
  if (me == kDim + kPartMass) mass = sum;
  if (me < kDim) shared.row[me] = sum;
  __syncthreads();
  if (me >= kWarp) return;
  const float share = share_of(c, head, top, mass);
  float x[kDim / kWarp];
#pragma unroll
  for (int i = 0; i < kDim / kWarp; ++i) x[i] = __fmul_rn(shared.row[me + i * kWarp], share);
  if (c.turn_back.dim > 0) rotate_lanes<kDim>(x, c.turn_back);
  float* out = c.out.row(t) + static_cast<int64_t>(head) * kDim + me;
#pragma unroll
  for (int i = 0; i < kDim / kWarp; ++i) out[i * kWarp] = x[i];
}

}  // namespace

template <int kDim>
void merge_parts(const Call& c, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(c.a.heads), static_cast<unsigned>(c.n_seqs));
  merge_kernel<kDim><<<grid, kMergeThreads, 0, stream>>>(c);
}

template void merge_parts<64>(const Call& c, cudaStream_t stream);
template void merge_parts<128>(const Call& c, cudaStream_t stream);

}  // namespace arc::cuda::attention
