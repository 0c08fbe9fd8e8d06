// Attention on tensor cores for sequences with one token in a step: its query heads are the rows. The warps of a block
// share the positions of a tile, then the columns of the values.
#include "kernels/cuda/attention_tile.cuh"

namespace arc::cuda::attention {
namespace {

// Pairs of high and low weights between the warps; rows padded so that eight lie in different banks.
struct SharedWeights {
  static constexpr int kStride = kTile + 8;
  __nv_bfloat16 high[kRows][kStride], low[kRows][kStride];
};

template <int kDim, bool kPacked>
struct Shared {
  Stage<kDim> stages[kStages];
  SharedWeights weights[kPacked ? 2 : 1];  // plain, and with the values' factors
  float largest[kWarps][kRows];
  Factors factors[kPacked ? kStages : 1];
  uint4 bytes[kPacked ? kStages : 1][kPacked ? kPackedChunks<kDim> : 1];
  Numbers numbers;
};

__device__ __forceinline__ void share(const Weights& mine, SharedWeights& with, int first_row, int first_col) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = first_row + 8 * (i % 2), col = first_col + 8 * (i / 2);
    *reinterpret_cast<uint32_t*>(&with.high[row][col]) = mine.high[i];
    *reinterpret_cast<uint32_t*>(&with.low[row][col]) = mine.low[i];
  }
}

// Adds a tile, which is in stage `stage`, to this warp's columns. For all threads of the block.
template <int kDim, bool kPacked>
__device__ __forceinline__ void add_tile(Sums<kDim / kWarps>& part, const Call& c, const Queries<kDim>& q,
                                         const Sight& sight, const Visit<kPacked>& visit, int stage,
                                         Shared<kDim, kPacked>& shared) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, quad = lane % 4;
  const uint4 *keys = shared.stages[stage].keys, *values = shared.stages[stage].values;
  const Factors& factors = shared.factors[kPacked ? stage : 0];
  const Sight sights[2] = {sight, sight};
  float scores[2][4], largest[2] = {-INFINITY, -INFINITY}, base[2];
  scores8<kDim, kPacked>(scores[0], largest, c, q, keys, factors.keys, sights, visit, warp * 16, lane);
  scores8<kDim, kPacked>(scores[1], largest, c, q, keys, factors.keys, sights, visit, warp * 16 + 8, lane);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    largest[r] = quad_max(largest[r]);
    if (quad == 0) shared.largest[warp][g + 8 * r] = largest[r];
  }
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
#pragma unroll
    for (int r = 0; r < 2; ++r) largest[r] = fmaxf(largest[r], shared.largest[w][g + 8 * r]);
  }
  part.raise(largest, base);
  const int col = warp * 16 + 2 * quad;
  share(Weights(scores[0], scores[1], base, nullptr), shared.weights[0], g, col);
  if constexpr (kPacked) share(Weights(scores[0], scores[1], base, factors.values + col), shared.weights[1], g, col);
  __syncthreads();
#pragma unroll
  for (int step = 0; step < kTile / 16; ++step) {
    const int row = lane % 16, col = step * 16 + lane / 16 * 8;
    const Weights plain(&shared.weights[0].high[row][col], &shared.weights[0].low[row][col]);
    if constexpr (kPacked) {
      const Weights w(&shared.weights[1].high[row][col], &shared.weights[1].low[row][col]);
      part.template add<kDim>(plain, w, values, step, warp * (kDim / kWarps), lane);
    } else {
      part.template add<kDim>(plain, plain, values, step, warp * (kDim / kWarps), lane);
    }
  }
}

template <int kDim, int kCols>
__device__ __forceinline__ void store_part(const Call& c, const Sums<kCols>& sums, int s, int head, int segment, int r,
                                           int first_col, int lane) {
  float* part = c.parts + ((static_cast<int64_t>(s) * c.a.heads + head) * c.segments + segment) * (kDim + 4);
#pragma unroll
  for (int n = 0; n < kCols / 8; ++n) {
    *reinterpret_cast<float2*>(part + first_col + n * 8 + lane % 4 * 2) =
        make_float2(sums.values[n][2 * r], sums.values[n][2 * r + 1]);
  }
  if (first_col == 0 && lane % 4 == 0) part[kDim] = sums.top[r], part[kDim + 1] = sums.mass[2 * r];
}

// grid: (chunks of heads, S, segments or 1). Only sequences with one token in this step.
template <int kDim, bool kPacked>
__global__ void __launch_bounds__(kThreads) few_kernel(const __grid_constant__ Call c) {
  constexpr int kCols = kDim / kWarps;
  extern __shared__ __align__(128) std::byte memory[];
  auto& shared = *reinterpret_cast<Shared<kDim, kPacked>*>(memory);
  const int s = blockIdx.y, t = c.q_start[s];
  if (c.q_start[s + 1] != t + 1) return;
  const Sight sight(c, s, t);
  int begin = sight.first / kTile, end = sight.last / kTile + 1;  // tiles
  if (c.parts != nullptr) {
    begin = max(begin, segment_begin(blockIdx.z) / kTile);
    end = min(end, segment_begin(blockIdx.z + 1) / kTile);
  }
  if (begin >= end) return;
  const Heads heads(c);
  const Fetch<kDim, kPacked> fetch(c, s, heads.kv_head, sight.last);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, quad = lane % 4;
  Visit<kPacked> visit(c, begin, c.positions[t], c.positions[t]);
  fetch.begin(visit, end, shared);
  Queries<kDim> q;
  const float* rows = c.q.row(t) + static_cast<int64_t>(heads.first) * kDim;
  q.load(g < heads.count ? rows + g * kDim : nullptr, g + 8 < heads.count ? rows + (g + 8) * kDim : nullptr, quad);

  Sums<kCols> part, total;
  part.clear();
  total.clear();
  int segment = segment_of(begin * kTile);
  for (int stage = 0; visit.tile < end; stage = (stage + 1) % kStages) {
    copies_arrived<0>();
    __syncthreads();  // this tile is there for all, and the last one is used up
    Visit<kPacked> next = visit;
    next.next();
    fetch.fill(next, end, shared, (stage + 1) % kStages);
    add_tile<kDim, kPacked>(part, c, q, sight, visit, stage, shared);
    visit = next;
    if (c.parts != nullptr || (next.tile < end && segment_of(next.tile * kTile) == segment)) continue;
    segment = segment_of(next.tile * kTile);
    total.join(part);
    part.clear();
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int head = heads.first + g + 8 * r;
    if (g + 8 * r >= heads.count) continue;
    if (c.parts != nullptr) {
      store_part<kDim>(c, part, s, head, blockIdx.z, r, warp * kCols, lane);
      continue;
    }
    const float share = share_of(c, head, total.top[r], total.mass[2 * r]);
    float* out = c.out.row(t) + static_cast<int64_t>(head) * kDim + warp * kCols + 2 * quad;
#pragma unroll
    for (int n = 0; n < kCols / 8; ++n) {
      *reinterpret_cast<float2*>(out + n * 8) =
          make_float2(__fmul_rn(total.values[n][2 * r], share), __fmul_rn(total.values[n][2 * r + 1], share));
    }
  }
}

// ---- merging the segments of one token and head ----

constexpr int kMergeCols = 32;      // of a block
constexpr int kMergeSegments = 64;  // whose parts are in shared memory at once

// grid: (H, S, kDim / kMergeCols). The factors of all segments are known from their largest scores; lane i then adds
// its column's values in order.
template <int kDim>
__global__ void __launch_bounds__(kThreads) merge_kernel(const __grid_constant__ Call c) {
  __shared__ float values[kMergeSegments][kMergeCols], mass[kMergeSegments], tops[kMergeSegments];
  const int head = blockIdx.x, s = blockIdx.y, col = blockIdx.z * kMergeCols, t = c.q_start[s];
  if (c.q_start[s + 1] != t + 1) return;
  const Sight sight(c, s, t);
  const int begin = segment_of(sight.first), end = segment_of(sight.last) + 1;
  const float* parts = c.parts + (static_cast<int64_t>(s) * c.a.heads + head) * c.segments * (kDim + 4);
  float top = -INFINITY, sum_mass = 0.0f, sum = 0.0f;
  for (int first = begin; first < end; first += kMergeSegments) {
    const int n = min(kMergeSegments, end - first);
    __syncthreads();  // the last values are used up
#pragma unroll
    for (int i = 0; i < kMergeSegments * kMergeCols / 4 / kThreads; ++i) {
      const int at = threadIdx.x + i * kThreads, segment = at / (kMergeCols / 4), four = at % (kMergeCols / 4) * 4;
      if (segment >= n) break;
      *reinterpret_cast<float4*>(&values[segment][four]) =
          *reinterpret_cast<const float4*>(parts + static_cast<int64_t>(first + segment) * (kDim + 4) + col + four);
    }
    if (threadIdx.x < n) {
      const float* part = parts + static_cast<int64_t>(first + threadIdx.x) * (kDim + 4) + kDim;
      tops[threadIdx.x] = part[0];
      mass[threadIdx.x] = part[1];
    }
    __syncthreads();
    if (threadIdx.x >= kMergeCols) continue;
    for (int i = 0; i < n; ++i) {
      const Blend b = blend(top, tops[i]);
      top = b.top;
      sum_mass = blended(b, sum_mass, mass[i]);
      sum = blended(b, sum, values[i][threadIdx.x]);
    }
  }
  if (threadIdx.x >= kMergeCols) return;
  c.out.row(t)[head * kDim + col + threadIdx.x] = __fmul_rn(sum, share_of(c, head, top, sum_mass));
}

}  // namespace

template <int kDim, bool kPacked>
void attend_few(const Call& c, cudaStream_t stream) {
  constexpr size_t kBytes = sizeof(Shared<kDim, kPacked>);
  static const cudaError_t kAllowed =
      cudaFuncSetAttribute(few_kernel<kDim, kPacked>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  (void)kAllowed;
  const auto seqs = static_cast<unsigned>(c.n_seqs);
  const dim3 grid(static_cast<unsigned>(c.a.kv_heads * c.chunks_per_group), seqs,
                  c.parts != nullptr ? static_cast<unsigned>(c.segments) : 1u);
  few_kernel<kDim, kPacked><<<grid, kThreads, kBytes, stream>>>(c);
  if (c.parts == nullptr) return;
  const dim3 merges(static_cast<unsigned>(c.a.heads), seqs, kDim / kMergeCols);
  merge_kernel<kDim><<<merges, kThreads, 0, stream>>>(c);
}

template void attend_few<64, false>(const Call& c, cudaStream_t stream);
template void attend_few<64, true>(const Call& c, cudaStream_t stream);
template void attend_few<128, false>(const Call& c, cudaStream_t stream);
template void attend_few<128, true>(const Call& c, cudaStream_t stream);

}  // namespace arc::cuda::attention
