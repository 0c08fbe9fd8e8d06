// Attention on tensor cores for sequences with several tokens in a step: a warp has 16 rows of its own.
#include "kernels/cuda/attention_rows.cuh"

namespace arc::cuda::attention {
namespace {

template <int kDim, bool kPacked>
struct Shared {
  Stage<kDim> stages[kStages];
  float totals[kDim / 2 + 4][kThreads];  // of each thread: values, masses
  Factors factors[kPacked ? kStages : 1];
  uint4 bytes[kPacked ? kStages : 1][kPacked ? kPackedChunks<kDim> : 1];
  Numbers numbers;
};

// Which rows a block has: head by head of a token, then the next token.
struct Block {
  int s, first_token = 0, last_token = 0, per_block;
  Heads heads;

  __device__ explicit Block(const Call& c) : per_block(kWarps * kRows / c.chunk_heads), heads(c) {
    s = find_tokens(c, gridDim.y - 1 - blockIdx.y, per_block, first_token);
    if (s >= 0) last_token = min(first_token + per_block, c.q_start[s + 1]) - 1;
  }
};

// Adds a tile, which is in stage `stage`.
template <int kDim, bool kPacked>
__device__ __forceinline__ void add_tile(Sums<kDim>& part, const Call& c, const Queries<kDim>& q,
                                         const Sight (&sights)[2], const Visit<kPacked>& visit, int stage,
                                         const Shared<kDim, kPacked>& shared, int lane) {
  const uint4 *keys = shared.stages[stage].keys, *values = shared.stages[stage].values;
  const Factors& factors = shared.factors[kPacked ? stage : 0];
  float scores[kTile / 8][4], largest[2] = {-INFINITY, -INFINITY}, base[2];
#pragma unroll
  for (int n = 0; n < kTile / 8; ++n) {
    scores8<kDim, kPacked>(scores[n], largest, c, q, keys, factors.keys, sights, visit, n * 8, lane);
  }
  largest[0] = quad_max(largest[0]);
  largest[1] = quad_max(largest[1]);
  part.raise(largest, base);
#pragma unroll
  for (int step = 0; step < kTile / 16; ++step) {
    const Weights plain(scores[2 * step], scores[2 * step + 1], base, nullptr);
    if constexpr (kPacked) {
      const Weights w(scores[2 * step], scores[2 * step + 1], base, factors.values + 16 * step + 2 * (lane % 4));
      part.template add<kDim>(plain, w, values, step, 0, lane);
    } else {
      part.template add<kDim>(plain, plain, values, step, 0, lane);
    }
  }
}

// A finished segment joins this thread's totals.
template <int kDim, bool kPacked>
__device__ __forceinline__ void join(Shared<kDim, kPacked>& shared, float (&total_top)[2], const Sums<kDim>& part) {
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

template <int kDim, bool kPacked>
__device__ __forceinline__ void store_row(const Call& c, const Shared<kDim, kPacked>& shared, int t, int head,
                                          float top, int r, int quad) {
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
template <int kDim, bool kPacked>
__global__ void __launch_bounds__(kThreads) many_kernel(const __grid_constant__ Call c) {
  extern __shared__ __align__(128) std::byte memory[];
  auto& shared = *reinterpret_cast<Shared<kDim, kPacked>*>(memory);
  const Block block(c);
  if (block.s < 0) return;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, quad = lane % 4;
  const Fetch<kDim, kPacked> fetch(c, block.s, block.heads.kv_head, c.seq_lens[block.s] - 1);
  const int begin = Sight(c, block.s, block.first_token).first / kTile;
  const int end = Sight(c, block.s, block.last_token).last / kTile + 1;

  Visit<kPacked> visit(c, begin, c.positions[block.first_token], c.positions[block.last_token]);
  fetch.begin(visit, end, shared);
  Sight sights[2];
  const float* rows[2] = {};
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = warp * kRows + g + 8 * r, t = block.first_token + row / c.chunk_heads, h = row % c.chunk_heads;
    if (row >= block.per_block * c.chunk_heads || t > block.last_token || h >= block.heads.count) continue;
    sights[r] = Sight(c, block.s, t);
    rows[r] = c.q.row(t) + static_cast<int64_t>(block.heads.first + h) * kDim;
  }
  Queries<kDim> q;
  q.load(rows[0], rows[1], quad);

  Sums<kDim> part;
  part.clear();
  float total_top[2] = {-INFINITY, -INFINITY};
#pragma unroll
  for (int i = 0; i < kDim / 2 + 4; ++i) shared.totals[i][threadIdx.x] = 0.0f;
  int segment = segment_of(begin * kTile);
  for (int stage = 0; visit.tile < end; stage = (stage + 1) % kStages) {
    copies_arrived<0>();
    __syncthreads();  // this tile is there for all, and the last one is used up
    Visit<kPacked> next = visit;
    next.next();
    fetch.fill(next, end, shared, (stage + 1) % kStages);
    add_tile<kDim, kPacked>(part, c, q, sights, visit, stage, shared, lane);
    visit = next;
    if (next.tile < end && segment_of(next.tile * kTile) == segment) continue;
    segment = segment_of(next.tile * kTile);
    join<kDim>(shared, total_top, part);
    part.clear();
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (sights[r].last < 0) continue;
    const int row = warp * kRows + g + 8 * r, t = block.first_token + row / c.chunk_heads;
    store_row<kDim>(c, shared, t, block.heads.first + row % c.chunk_heads, total_top[r], r, quad);
  }
}

}  // namespace

template <int kDim, bool kPacked>
void attend_many(const Call& c, cudaStream_t stream) {
  constexpr size_t kBytes = sizeof(Shared<kDim, kPacked>);
  static const cudaError_t kAllowed =
      cudaFuncSetAttribute(many_kernel<kDim, kPacked>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  (void)kAllowed;
  const int64_t per_block = kWarps * kRows / c.chunk_heads;
  const dim3 grid(static_cast<unsigned>(c.a.kv_heads * c.chunks_per_group),
                  static_cast<unsigned>(c.q.rows / per_block + c.n_seqs));
  many_kernel<kDim, kPacked><<<grid, kThreads, kBytes, stream>>>(c);
}

template void attend_many<64, false>(const Call& c, cudaStream_t stream);
template void attend_many<64, true>(const Call& c, cudaStream_t stream);
template void attend_many<128, false>(const Call& c, cudaStream_t stream);
template void attend_many<128, true>(const Call& c, cudaStream_t stream);

}  // namespace arc::cuda::attention
