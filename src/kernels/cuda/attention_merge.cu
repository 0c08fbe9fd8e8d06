// Merges the parts of each row that the kernels for one token of a sequence left, in the order of its items.
#include "kernels/cuda/attention_units.cuh"
#include "kernels/cuda/hopper.cuh"

namespace arc::cuda::attention {
namespace {

// How 32 parts join those before them, each lane one; the first `n` are there. `top`: the largest score before them,
// and afterwards with them.
__device__ __forceinline__ Blend blend_parts(float mine, int n, float& top) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  mine = lane < n ? mine : -INFINITY;
  float most = mine;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const float below = __shfl_up_sync(kAllLanes, most, step);
    if (lane >= step) most = fmaxf(most, below);
  }
  const float below = __shfl_up_sync(kAllLanes, most, 1);
  const Blend b = blend(lane == 0 ? top : fmaxf(top, below), mine);
  top = fmaxf(top, __shfl_sync(kAllLanes, most, kWarp - 1));
  return b;
}

// grid: (H, S). A thread has a column.
template <int kDim>
__global__ void __launch_bounds__(kDim) merge_kernel(const __grid_constant__ Call c) {
  next_may_start();
  __shared__ float row[kDim];
  const int s = blockIdx.y, group = s / kDealtSeqs, me = static_cast<int>(threadIdx.x), lane = me % kWarp;
  const int* starts = c.starts + group * (kDealtSeqs + 1) + s % kDealtSeqs;
  const int items = (starts[1] - starts[0]) / (c.a.kv_heads * c.chunks_per_group), t = c.q_start[s];
  if (items == 0) return;  // it has several tokens
  const int heads = c.a.heads / c.a.kv_heads, head = blockIdx.x, in_group = head % heads;
  const int chunk = head / heads * c.chunks_per_group + in_group / c.chunk_heads;
  const auto part = [&, first_item = starts[0] + chunk * items](int item) {
    return part_at<kDim>(c, group, first_item + item, in_group % c.chunk_heads);
  };
  // The first part, then every one from the item `next` on.
  const int next = __float_as_int(part(0)[kDim + kPartNext]), n_parts = 1 + items - next;
  const auto item_of = [&](int i) { return i == 0 ? 0 : next + i - 1; };
  float top = -INFINITY, sum = 0.0f, mass = 0.0f;
  for (int first = 0; first < n_parts; first += kWarp) {
    const int n = min(kWarp, n_parts - first);
    const float* mine = part(item_of(first + min(lane, n - 1)));
    float values[kWarp];
#pragma unroll
    for (int i = 0; i < kWarp; ++i) values[i] = i < n ? part(item_of(first + i))[me] : 0.0f;
    const float part_mass = mine[kDim + kPartMass];
    const Blend b = blend_parts(mine[kDim + kPartTop], n, top);
#pragma unroll
    for (int i = 0; i < kWarp; ++i) {
      if (i >= n) break;
      const float keep = __shfl_sync(kAllLanes, b.keep, i), take = __shfl_sync(kAllLanes, b.take, i);
      sum = __fmaf_rn(values[i], take, __fmul_rn(sum, keep));
      mass = __fmaf_rn(__shfl_sync(kAllLanes, part_mass, i), take, __fmul_rn(mass, keep));
    }
  }
  float* out = c.out.row(t) + static_cast<int64_t>(head) * kDim;
  sum = __fmul_rn(sum, share_of(c, head, top, mass));
  if (c.turn_back.dim == 0) {
    out[me] = sum;
    return;
  }
  row[me] = sum;
  __syncthreads();
  if (me >= kWarp) return;
  float x[kDim / kWarp];
#pragma unroll
  for (int i = 0; i < kDim / kWarp; ++i) x[i] = row[lane + i * kWarp];
  rotate_lanes<kDim>(x, c.turn_back);
#pragma unroll
  for (int i = 0; i < kDim / kWarp; ++i) out[lane + i * kWarp] = x[i];
}

}  // namespace

template <int kDim>
void merge_parts(const Call& c, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(c.a.heads), static_cast<unsigned>(c.n_seqs));
  merge_kernel<kDim><<<grid, kDim, 0, stream>>>(c);
}

template void merge_parts<64>(const Call& c, cudaStream_t stream);
template void merge_parts<128>(const Call& c, cudaStream_t stream);

}  // namespace arc::cuda::attention
