// Products of bf16 weights with many tokens that are no prompt's, on sm_90: a cluster of blocks has a tile of weight
// rows and tokens, each block one of its chains. A ring of tiles in shared memory is kept full by a thread that only
// asks for copies, across tiles, and multiplied by warpgroups; the chains' sums travel to the blocks that add them.
//
// The order of a row's sum is that of linear.cu: kChains chains of runs of kRun columns, added in order. Products of a
// warpgroup have the bits of a warp's where they sum over the same 16 columns (arc-gpu-check kernel/products). Tokens
// are taken apart in two bf16 beforehand, and their columns laid as linear.cu's lanes have them.
#include <algorithm>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/product_many.h"
#include "kernels/cuda/scratch.h"

namespace arc::cuda {
namespace {

constexpr int kRowBytes = kRun * 2;  // of a tile in shared memory
constexpr int kMaxStages = 12;
constexpr int kSharedBytes = 227 * 1024;
constexpr int kAdders = 2;        // warps that add chains
constexpr int kPart = kWarp * 4;  // floats of 16 rows and 8 tokens
constexpr int kSplitters = 256;   // threads
constexpr int kLeastRows = 64, kRowStep = 16;

// Warpgroups that multiply 64 rows each.
template <int kTokens>
constexpr int kMultipliers = kTokens <= 64 ? 3 : 2;
template <int kTokens>
constexpr int kThreads = (1 + kMultipliers<kTokens>)*kWarpgroup;

struct Call {
  CUtensorMap w, x;  // tiles of `tile` rows; of kTokens rows: T with high parts, then T with low ones
  Rows y;
  const float* bias = nullptr;
  int32_t out = 0, runs = 0;
  int32_t tile = 0, stages = 0;  // weight rows of a tile; stages of the ring
};

// In shared memory, before the ring's stages and what comes from other blocks.
struct alignas(1024) Barriers {
  uint64_t full[kMaxStages], empty[kMaxStages];
  uint64_t came, taken;  // all chains of a tile; the parts of the last one by all blocks
};

template <int kTokens>
__host__ __device__ constexpr int stage_bytes(int tile) {
  return (tile + 2 * kTokens) * kRowBytes;
}
// As many parts for each block: those of the one that has the most.
template <int kTokens>
__host__ __device__ constexpr int received_bytes(int tile) {
  const int parts = tile / 16 * (kTokens / 8);
  return (parts + kChains - 1) / kChains * kChains * kPart * 4;
}

template <int kTokens>
struct Shared {
  Barriers* barriers;
  std::byte* ring;
  float4* received;  // [parts of this block, kChains, kWarp]
  int tile;

  __device__ __forceinline__ Shared(const Call& c, std::byte* memory)
      : barriers(reinterpret_cast<Barriers*>(memory)), ring(memory + sizeof(Barriers)), tile(c.tile) {
    received = reinterpret_cast<float4*>(ring + c.stages * stage_bytes<kTokens>(tile));
  }
  __device__ __forceinline__ std::byte* weights(int stage) const { return ring + stage * stage_bytes<kTokens>(tile); }
  __device__ __forceinline__ std::byte* high(int stage) const { return weights(stage) + tile * kRowBytes; }
  __device__ __forceinline__ std::byte* low(int stage) const { return high(stage) + kTokens * kRowBytes; }
};

// Tiles of a cluster, one after another: neighbours in time share weights.
template <int kTokens>
struct Deal {
  int tile, token_tiles, units, unit, step;

  __device__ __forceinline__ explicit Deal(const Call& c) : tile(c.tile) {
    token_tiles = (static_cast<int>(c.y.rows) + kTokens - 1) / kTokens;
    units = (c.out + tile - 1) / tile * token_tiles;
    unit = static_cast<int>(blockIdx.x) / kChains;
    step = static_cast<int>(gridDim.x) / kChains;
  }
  __device__ __forceinline__ bool done() const { return unit >= units; }
  __device__ __forceinline__ void next() { unit += step; }
  __device__ __forceinline__ int row() const { return unit / token_tiles * tile; }
  __device__ __forceinline__ int token() const { return unit % token_tiles * kTokens; }
};

// Asks for the tiles of this block's chain, of weights or of tokens: copy(stage, first column, deal) for each, of
// `bytes`.
template <int kTokens, typename Copy>
__device__ __forceinline__ void feed(const Call& c, Barriers* barriers, int chain, int bytes, const Copy& copy) {
  Cursor cursor;
  for (Deal<kTokens> deal(c); !deal.done(); deal.next()) {
    for (int run = chain; run < c.runs; run += kChains, cursor.next(c.stages)) {
      barrier_wait(&barriers->empty[cursor.at], cursor.parity ^ 1);
      barrier_expect(&barriers->full[cursor.at], bytes);
      copy(cursor.at, run * kRun, deal);
    }
  }
}

template <int kTokens>
__device__ __forceinline__ void feed_weights(const Call& c, const Shared<kTokens>& shared, int chain) {
  feed<kTokens>(c, shared.barriers, chain, c.tile * kRowBytes, [&](int at, int col, const Deal<kTokens>& deal) {
    copy_tile(shared.weights(at), c.w, col, deal.row(), &shared.barriers->full[at]);
  });
}

template <int kTokens>
__device__ __forceinline__ void feed_tokens(const Call& c, const Shared<kTokens>& shared, int chain) {
  await_kernel_before();
  feed<kTokens>(c, shared.barriers, chain, 2 * kTokens * kRowBytes, [&](int at, int col, const Deal<kTokens>& deal) {
    copy_tile(shared.high(at), c.x, col, deal.token(), &shared.barriers->full[at]);
    copy_tile(shared.low(at), c.x, col, deal.token() + static_cast<int>(c.y.rows), &shared.barriers->full[at]);
  });
}

// Row of eight that fragments' row g stands for: lanes that read together meet different banks of a swizzled tile.
__device__ __forceinline__ int row_of(int g) {
  return (g & 1) << 2 | g >> 1;
}

// Warpgroup `mine` of those that multiply: 64 rows of each tile.
template <int kTokens>
__device__ __forceinline__ void multiply(const Call& c, const Shared<kTokens>& shared, int chain, int mine) {
  const int lane = threadIdx.x % kWarp, q = lane % 4, row = row_of(lane / 4);
  const int sixteen = mine * 4 + static_cast<int>(threadIdx.x) % kWarpgroup / kWarp;  // of a tile's rows
  if (mine * 64 >= c.tile) return;
  Cursor cursor;
  uint32_t parity = 1;
  for (Deal<kTokens> deal(c); !deal.done(); deal.next(), parity ^= 1) {
    float sums[kTokens / 8][4] = {};
    for (int run = chain; run < c.runs; run += kChains, cursor.next(c.stages)) {
      barrier_wait(&shared.barriers->full[cursor.at], cursor.parity);
      const auto* top = reinterpret_cast<const uint4*>(shared.weights(cursor.at) + (sixteen * 16 + row) * kRowBytes);
      const auto* bottom = top + 8 * kRowBytes / 16;
      uint32_t w[kRun / 16][4];
#pragma unroll
      for (int half = 0; half < kRun / 32; ++half) {
        const uint4 a = top[(half * 4 + q) ^ row], b = bottom[(half * 4 + q) ^ row];
        w[2 * half][0] = a.x, w[2 * half][1] = b.x, w[2 * half][2] = a.y, w[2 * half][3] = b.y;
        w[2 * half + 1][0] = a.z, w[2 * half + 1][1] = b.z, w[2 * half + 1][2] = a.w, w[2 * half + 1][3] = b.w;
      }
      const uint64_t high = tile_descriptor(shared.high(cursor.at)), low = tile_descriptor(shared.low(cursor.at));
      products_begin();
#pragma unroll
      for (int step = 0; step < kRun / 16; ++step) {
        multiply_add<Second::tile>(sums, w[step], high + 2 * step);
        multiply_add<Second::tile>(sums, w[step], low + 2 * step);
      }
      products_issued();
      products_done<0>();
      settled(sums);
      if (lane == 0) barrier_arrive(&shared.barriers->empty[cursor.at]);
    }
    barrier_wait(&shared.barriers->taken, parity);
    if (sixteen * 16 >= c.tile) continue;
#pragma unroll
    for (int j = 0; j < kTokens / 8; ++j) {
      const int part = sixteen * (kTokens / 8) + j;
      store_in_block(shared.received + (part / kChains * kChains + chain) * kWarp + lane, sums[j],
                     &shared.barriers->came, part % kChains);
    }
  }
  barrier_wait(&shared.barriers->taken, parity);  // nothing more comes from other blocks, which may end before this one
}

// A part of a tile: 16 rows from `row` on, 8 tokens from `token` on.
__device__ __forceinline__ void store(const Call& c, const float (&sums)[4], int row, int token) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    const int r = row + row_of(lane / 4) + e / 2 * 8, t = token + lane % 4 * 2 + e % 2;
    if (r < c.out && t < c.y.rows) c.y.row(t)[r] = c.bias != nullptr ? sums[e] + c.bias[r] : sums[e];
  }
}

// Adds the chains of this block's parts, in order. Warp `mine` of kAdders.
template <int kTokens>
__device__ __forceinline__ void add(const Call& c, const Shared<kTokens>& shared, int block, int mine) {
  const int lane = threadIdx.x % kWarp;
  const int all_parts = c.tile / 16 * (kTokens / 8), parts = (all_parts - block + kChains - 1) / kChains;
  uint32_t parity = 0;
  for (Deal<kTokens> deal(c); !deal.done(); deal.next(), parity ^= 1) {
    if (mine == 0 && lane == 0) barrier_expect(&shared.barriers->came, parts * kChains * kPart * 4);
    barrier_wait(&shared.barriers->came, parity);
    for (int i = mine; i < parts; i += kAdders) {
      float sums[4] = {};
#pragma unroll
      for (int chain = 0; chain < kChains; ++chain) {
        const float4 v = shared.received[(i * kChains + chain) * kWarp + lane];
        sums[0] += v.x, sums[1] += v.y, sums[2] += v.z, sums[3] += v.w;
      }
      const int part = i * kChains + block;
      store(c, sums, deal.row() + part / (kTokens / 8) * 16, deal.token() + part % (kTokens / 8) * 8);
    }
    __syncwarp();
    if (lane < kChains) barrier_arrive_in_block(&shared.barriers->taken, lane);
  }
}

// grid: clusters of a block for each chain.
template <int kTokens>
__global__ void __launch_bounds__(kThreads<kTokens>, 1) many_kernel(const __grid_constant__ Call c) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) std::byte memory[];
  const Shared<kTokens> shared(c, memory);
  const int role = static_cast<int>(threadIdx.x) / kWarpgroup, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int chain = static_cast<int>(blockIdx.x) % kChains;
  if (threadIdx.x == 0) {
    prefetch_map(c.w);
    prefetch_map(c.x);
    const int multipliers = (c.tile + 63) / 64 * (kWarpgroup / kWarp);
    for (int i = 0; i < c.stages; ++i) {
      barrier_init(&shared.barriers->full[i], 2);  // weights, tokens
      barrier_init(&shared.barriers->empty[i], multipliers);
    }
    barrier_init(&shared.barriers->came, 1);
    barrier_init(&shared.barriers->taken, kChains * kAdders);
    barriers_are_made();
  }
  cluster_meets();
  if (role > 0) {
    multiply(c, shared, chain, role - 1);
  } else if (warp >= 2) {
    add(c, shared, chain, warp - 2);
  } else if (threadIdx.x == 0) {
    feed_weights(c, shared, chain);
  } else if (threadIdx.x == kWarp) {
    feed_tokens(c, shared, chain);
  }
#endif
}

// Takes tokens apart: rows of `stride` columns, a multiple of kRun, zeros from `in` on. Of every 32 columns 8 c + 4 s +
// i goes to place 16 s + 2 c + i % 2 + 8 (i / 2); see linear.cu. grid: (pairs of columns, T).
__global__ void __launch_bounds__(kSplitters) split_kernel(Rows x, int64_t in, uint32_t* to, int64_t stride) {
  const int64_t pair = static_cast<int64_t>(blockIdx.x) * kSplitters + threadIdx.x, t = blockIdx.y, k = 2 * pair;
  next_may_start();
  if (k >= stride) return;
  const float* row = x.row(t);
  uint32_t high, low;
  split_pair(k < in ? row[k] : 0.0f, k + 1 < in ? row[k + 1] : 0.0f, high, low);
  const int64_t at = t * stride / 2 + pair / 16 * 16 + pair % 4 * 4 + pair % 16 / 4;
  to[at] = high;
  to[x.rows * stride / 2 + at] = low;
}

// How the kernel is launched: in clusters, and while the kernel before is still at work.
template <int kTokens>
struct Launch {
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config{};

  Launch(int clusters, cudaStream_t stream) {
    attributes[0].id = cudaLaunchAttributeClusterDimension;
    attributes[0].val.clusterDim = {kChains, 1, 1};
    attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[1].val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = dim3(static_cast<unsigned>(clusters * kChains));
    config.blockDim = dim3(kThreads<kTokens>);
    config.dynamicSmemBytes = kSharedBytes;
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = 2;
  }
  Launch(const Launch&) = delete;
};

// Clusters that run at once.
template <int kTokens>
int clusters_at_once() {
  static const int kClusters = [] {
    const Launch<kTokens> launch(1, nullptr);
    int n = 0;
    const auto kernel = many_kernel<kTokens>;
    const bool known =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes) == cudaSuccess &&
        cudaOccupancyMaxActiveClusters(&n, kernel, &launch.config) == cudaSuccess;
    return known ? n : 0;
  }();
  return kClusters;
}

// Weight rows of a tile: the fewest that all clusters have together, a tile being as long as 16 rows more.
template <int kTokens>
int32_t tile_rows(int64_t out, int token_tiles, int clusters) {
  int32_t best = 0;
  int64_t least = 0;
  for (int32_t rows = kMultipliers<kTokens> * 64; rows >= kLeastRows; rows -= kRowStep) {
    const int64_t cost = int64_t{blocks_for(blocks_for(out, rows) * token_tiles, clusters)} * (rows + 16);
    if (best == 0 || cost < least) best = rows, least = cost;
  }
  return best;
}

template <int kTokens>
void start(const MatrixView& w, const Matrix& x, const Rows& y, cudaStream_t stream) {
  const int at_once = clusters_at_once<kTokens>(), token_tiles = blocks_for(y.rows, kTokens);
  const int32_t tile = tile_rows<kTokens>(w.out, token_tiles, at_once);
  const int room = kSharedBytes - static_cast<int>(sizeof(Barriers)) - received_bytes<kTokens>(tile);
  const Call c{.w = tiles({w.data, w.out, w.in, w.in}, static_cast<uint32_t>(tile), CU_TENSOR_MAP_L2_PROMOTION_NONE),
               .x = tiles(x, kTokens, CU_TENSOR_MAP_L2_PROMOTION_NONE),
               .y = y,
               .bias = w.bias,
               .out = static_cast<int32_t>(w.out),
               .runs = blocks_for(w.in, kRun),
               .tile = tile,
               .stages = std::min(room / stage_bytes<kTokens>(tile), kMaxStages)};
  const Launch<kTokens> launch(std::min(at_once, blocks_for(w.out, tile) * token_tiles), stream);
  cudaLaunchKernelEx(&launch.config, many_kernel<kTokens>, c);
}

}  // namespace

bool fits_many(const MatrixView& w, int64_t tokens) {
  return tokens > kManyTokens && w.count == 1 && w.in <= (1 << 16) && w.format == WeightFormat::plain(DType::bf16) &&
         w.in % 8 == 0 && is_hopper() && clusters_at_once<32>() > 0;
}

void product_many(const MatrixView& w, const TensorView& x, const TensorView& y, std::byte* scratch,
                  cudaStream_t stream) {
  const int64_t stride = (w.in + kRun - 1) / kRun * kRun, at_once = kMaxPartsBytes / (stride * 4) / 128 * 128;
  for (int64_t t = 0; t < x.rows; t += at_once) {
    Rows from(x), to(y);
    from.data = x.row<float>(t), to.data = y.row<float>(t);
    from.rows = to.rows = std::min(at_once, x.rows - t);
    const dim3 pairs(static_cast<unsigned>(blocks_for(stride, 2 * kSplitters)), static_cast<unsigned>(from.rows));
    split_kernel<<<pairs, kSplitters, 0, stream>>>(from, w.in, reinterpret_cast<uint32_t*>(scratch), stride);
    const Matrix halves{scratch, 2 * from.rows, stride, stride};
    if (from.rows <= 32) {
      start<32>(w, halves, to, stream);
    } else if (from.rows <= 64) {
      start<64>(w, halves, to, stream);
    } else {
      start<128>(w, halves, to, stream);
    }
  }
}

}  // namespace arc::cuda
