// Attention on tensor cores for sequences with one token in a step, over bf16 and f8e4m3: query heads are the rows. The
// warps of a block share the positions of a tile, then the columns of the values.
#include "kernels/cuda/attention_units.cuh"

namespace arc::cuda::attention {
namespace {

// High and low weights between the warps; rows padded so that eight lie in different banks.
struct SharedWeights {
  static constexpr int kStride = kTile + 8;
  __nv_bfloat16 high[kRows][kStride], low[kRows][kStride];
};

template <int kDim, bool kF8>
struct Shared {
  Stage<kDim> stages[kStages];
  SharedWeights weights;
  float largest[kWarps][kRows];
  uint4 bytes[kF8 ? kStages : 1][kF8 ? kF8Chunks<kDim> : 1];
  int starts[kDealtSeqs + 1];
};

__device__ __forceinline__ void share(const Weights& mine, SharedWeights& with, int first_row, int first_col) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = first_row + 8 * (i % 2), col = first_col + 8 * (i / 2);
    *reinterpret_cast<uint32_t*>(&with.high[row][col]) = mine.high[i];
    *reinterpret_cast<uint32_t*>(&with.low[row][col]) = mine.low[i];
  }
}

template <int kDim, bool kF8>
struct Walker {
  static constexpr int kCols = kDim / kWarps;
  const Call& c;
  Shared<kDim, kF8>& shared;
  int group;
  int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, quad = lane % 4;
  Sums<kCols> part, total;

  // Adds a tile, which is in stage `stage`, to this warp's columns. For all threads of the block.
  __device__ __forceinline__ void add_tile(const Queries<kDim>& q, const Reach& seen, int tile, int stage) {
    const uint4 *keys = shared.stages[stage].keys, *values = shared.stages[stage].values;
    const Reach reach[2] = {seen, seen};
    float scores[2][4], largest[2] = {-INFINITY, -INFINITY}, base[2];
    scores8<kDim>(scores[0], largest, c, q, keys, reach, tile, warp * 16, lane);
    scores8<kDim>(scores[1], largest, c, q, keys, reach, tile, warp * 16 + 8, lane);
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
    share(Weights(scores[0], scores[1], base), shared.weights, g, warp * 16 + 2 * quad);
    __syncthreads();
#pragma unroll
    for (int step = 0; step < kTile / 16; ++step) {
      const int row = lane % 16, col = step * 16 + lane / 16 * 8;
      const Weights w(&shared.weights.high[row][col], &shared.weights.low[row][col]);
      part.template add<kDim>(w, values, step, warp * kCols, lane);
    }
  }

  __device__ __forceinline__ void store(const Sums<kCols>& sums, const Heads& heads, int item, int next) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int head = g + 8 * r;
      if (head >= heads.count) continue;
      float* out = part_at<kDim>(c, group, item, head);
#pragma unroll
      for (int n = 0; n < kCols / 8; ++n) {
        *reinterpret_cast<float2*>(out + warp * kCols + n * 8 + 2 * quad) =
            make_float2(sums.values[n][2 * r], sums.values[n][2 * r + 1]);
      }
      if (warp > 0 || quad > 0) continue;
      out[kDim + kPartMass] = sums.mass[2 * r];
      out[kDim + kPartTop] = sums.top[r];
      out[kDim + kPartNext] = __int_as_float(next);
    }
  }

  __device__ __forceinline__ void operator()(const Run& run) {
    const Heads heads(c, run.chunk);
    const Span& span = run.closed;
    const Fetch<kDim, kF8> fetch(c, run.s, heads.kv_head, run.row.reach.last, span.end);
    __syncthreads();  // the last run's tiles are used up
    fetch.begin(span.begin, shared);
    Queries<kDim> q;
    const float* rows = c.q.row(run.row.t) + static_cast<int64_t>(heads.first) * kDim;
    q.load(g < heads.count ? rows + g * kDim : nullptr, g + 8 < heads.count ? rows + (g + 8) * kDim : nullptr, quad);
    part.clear();
    total.clear();
    int n = 0;  // units
    for (int tile = span.begin, stage = 0; tile < span.end; ++tile, stage = (stage + 1) % kStages) {
      copies_arrived<0>();
      __syncthreads();  // this tile is there for all, and the last one is used up
      fetch.fill(tile + 1, shared, (stage + 1) % kStages);
      add_tile(q, run.row.reach, tile, stage);
      if (tile + 1 < span.end && segment_at(tile + 1) == segment_at(tile)) continue;
      // Units that start with the row's first are merged here.
      if (run.first) {
        total.join(part);
      } else {
        store(part, heads, run.item + n, 1);
      }
      ++n;
      part.clear();
    }
    if (run.first) store(total, heads, run.item, run.whole ? 1 : n);
  }
};

// grid: (blocks that share the work, groups of kDealtSeqs sequences).
template <int kDim, bool kF8>
__global__ void __launch_bounds__(kThreads, kF8 ? 2 : 3) few_kernel(const __grid_constant__ Call c) {
  extern __shared__ __align__(128) std::byte memory[];
  auto& shared = *reinterpret_cast<Shared<kDim, kF8>*>(memory);
  const int group = static_cast<int>(blockIdx.y);
  const Deal deal(c, group, shared.starts);
  Walker<kDim, kF8> walker{.c = c, .shared = shared, .group = group};
  for_runs(c, deal, shared.starts, walker);
}

}  // namespace

template <int kDim, bool kF8>
void attend_few(const Call& c, int processors, cudaStream_t stream) {
  constexpr size_t kBytes = sizeof(Shared<kDim, kF8>);
  static const bool kAllowed = allow_shared_memory(few_kernel<kDim, kF8>, kBytes);
  (void)kAllowed;
  constexpr int kBlocksEach = (227 << 10) / (kBytes + 1024);  // of a processor
  const dim3 grid(static_cast<unsigned>(kBlocksEach * processors),
                  static_cast<unsigned>(blocks_for(c.n_seqs, kDealtSeqs)));
  few_kernel<kDim, kF8><<<grid, kThreads, kBytes, stream>>>(c);
}

template void attend_few<64, false>(const Call& c, int processors, cudaStream_t stream);
template void attend_few<64, true>(const Call& c, int processors, cudaStream_t stream);
template void attend_few<128, false>(const Call& c, int processors, cudaStream_t stream);
template void attend_few<128, true>(const Call& c, int processors, cudaStream_t stream);

}  // namespace arc::cuda::attention
