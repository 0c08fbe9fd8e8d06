// Attention on tensor cores for sequences with several tokens in a step: a warp has 16 rows of its own.
#include "kernels/cuda/attention_rows.cuh"

namespace arc::cuda::attention {
namespace {

template <int kDim, bool kF8>
struct Shared {
  Stage<kDim> stages[kStages];
  float totals[kDim / 2 + 4][kThreads];  // of each thread: values, masses
  uint4 bytes[kF8 ? kStages : 1][kF8 ? kF8Chunks<kDim> : 1];
};

// Adds tile `tile`, which is in `stage`.
template <int kDim>
__device__ __forceinline__ void add_tile(Sums<kDim>& part, const Call& c, const Queries<kDim>& q,
                                         const Reach (&reach)[2], int tile, const Stage<kDim>& stage, int lane) {
  float scores[kTile / 8][4], largest[2] = {-INFINITY, -INFINITY}, base[2];
#pragma unroll
  for (int n = 0; n < kTile / 8; ++n) {
    scores8<kDim>(scores[n], largest, c, q, stage.keys, reach, tile, n * 8, lane);
  }
  largest[0] = quad_max(largest[0]);
  largest[1] = quad_max(largest[1]);
  part.raise(largest, base);
#pragma unroll
  for (int step = 0; step < kTile / 16; ++step) {
    const Weights w(scores[2 * step], scores[2 * step + 1], base);
    part.template add<kDim>(w, stage.values, step, 0, lane);
  }
}

// A finished segment joins this thread's totals.
template <int kDim, bool kF8>
__device__ __forceinline__ void join(Shared<kDim, kF8>& shared, float (&total_top)[2], const Sums<kDim>& part) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const Blend b = blend(total_top[r], part.top[r]);
    total_top[r] = b.top;
    float& mass = shared.totals[kDim / 2 + r][threadIdx.x];
    mass = blended(b, mass, part.mass[2 * r]);
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        float& sum = shared.totals[n * 4 + i][threadIdx.x];
        sum = blended(b, sum, part.values[n][i]);
      }
    }
  }
}

template <int kDim, bool kF8>
__device__ __forceinline__ void store_row(const Call& c, const Shared<kDim, kF8>& shared, int t, int head, float top,
                                          int r, int quad) {
  const float share = share_of(c, head, top, shared.totals[kDim / 2 + r][threadIdx.x]);
  float* out = c.out.row(t) + static_cast<int64_t>(head) * kDim + 2 * quad;
#pragma unroll
  for (int n = 0; n < kDim / 8; ++n) {
    *reinterpret_cast<float2*>(out + n * 8) =
        make_float2(__fmul_rn(shared.totals[n * 4 + 2 * r][threadIdx.x], share),
                    __fmul_rn(shared.totals[n * 4 + 2 * r + 1][threadIdx.x], share));
  }
}

// grid: (chunks of heads, blocks of tokens). The last blocks of a sequence, which see most, come first.
template <int kDim, bool kF8>
__global__ void __launch_bounds__(kThreads) many_kernel(const __grid_constant__ Call c) {
  extern __shared__ __align__(128) std::byte memory[];
  auto& shared = *reinterpret_cast<Shared<kDim, kF8>*>(memory);
  const TokenBlock block(c, kWarps * kRows);
  if (block.s < 0) return;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, quad = lane % 4;
  const int begin = Reach(c, block.s, c.positions[block.first_token]).first / kTile;
  const int end = Reach(c, block.s, c.positions[block.last_token]).last / kTile + 1;
  const Fetch<kDim, kF8> fetch(c, block.s, block.heads.kv_head, c.seq_lens[block.s] - 1, end);

  fetch.begin(begin, shared);
  Reach reach[2];
  const float* rows[2] = {};
  int tokens[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = warp * kRows + g + 8 * r;
    tokens[r] = block.token_of(c, row);
    if (tokens[r] < 0) continue;
    reach[r] = Reach(c, block.s, c.positions[tokens[r]]);
    rows[r] = c.q.row(tokens[r]) + static_cast<int64_t>(block.head_of(c, row)) * kDim;
  }
  Queries<kDim> q;
  q.load(rows[0], rows[1], quad);

  Sums<kDim> part;
  part.clear();
  float total_top[2] = {-INFINITY, -INFINITY};
#pragma unroll
  for (int i = 0; i < kDim / 2 + 4; ++i) shared.totals[i][threadIdx.x] = 0.0f;
  for (int tile = begin, stage = 0; tile < end; ++tile, stage = (stage + 1) % kStages) {
    copies_arrived<0>();
    __syncthreads();  // this tile is there for all, and the last one is used up
    fetch.fill(tile + 1, shared, (stage + 1) % kStages);
    add_tile<kDim>(part, c, q, reach, tile, shared.stages[stage], lane);
    if (tile + 1 < end && segment_of((tile + 1) * kTile) == segment_of(tile * kTile)) continue;
    join<kDim>(shared, total_top, part);
    part.clear();
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (tokens[r] < 0) continue;
    store_row<kDim>(c, shared, tokens[r], block.head_of(c, warp * kRows + g + 8 * r), total_top[r], r, quad);
  }
}

}  // namespace

template <int kDim, bool kF8>
void attend_many(const Call& c, cudaStream_t stream) {
  constexpr size_t kBytes = sizeof(Shared<kDim, kF8>);
  static const bool kAllowed = allow_shared_memory(many_kernel<kDim, kF8>, kBytes);
  (void)kAllowed;
  const int64_t per_block = kWarps * kRows / c.chunk_heads;
  const dim3 grid(static_cast<unsigned>(c.a.kv_heads * c.chunks_per_group),
                  static_cast<unsigned>(c.q.rows / per_block + c.n_seqs));
  many_kernel<kDim, kF8><<<grid, kThreads, kBytes, stream>>>(c);
}

template void attend_many<64, false>(const Call& c, cudaStream_t stream);
template void attend_many<64, true>(const Call& c, cudaStream_t stream);
template void attend_many<128, false>(const Call& c, cudaStream_t stream);
template void attend_many<128, true>(const Call& c, cudaStream_t stream);

}  // namespace arc::cuda::attention
