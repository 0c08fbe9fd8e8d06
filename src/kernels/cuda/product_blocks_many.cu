// Products of block codes with more tokens than a product has columns for: the sums of product_blocks.cu, bit for bit,
// as products of a warpgroup, whose first operand is in registers. A warp walks several chains, and blocks share them.
#include "kernels/cuda/product_blocks.cuh"
#include "quant/block_code.h"

namespace arc::cuda::blocks {
namespace {

constexpr int kGroup = 32;       // tokens of a block
constexpr int kFewBlocks = 132;  // fewer than this get a chain each

// Many tokens: a warpgroup has 64 rows, and the block's share of the chains; tokens come by bulk copies, two runs
// ahead. parts: [shares, T, out], shares 2 or kWarps. grid: (blocks of 128 rows, tokens / (4 kTiles), shares).
constexpr int kManyRows = kWarps * kRows;

// Runs of chains up to `last`, one chain after another.
struct Walk {
  int chain, last, runs, run;

  __device__ bool done() const { return chain >= last || run >= runs; }
  __device__ void next() {
    run += kWarps;
    if (run >= runs) run = ++chain;
  }
};

template <typename Format, int kTiles>
struct Shared {
  TokenTile<kTiles> tokens[kStages];
  Stage<Format> weights[kWarps][kStages];
  uint64_t full[kStages];  // tokens are there
};

// Adds a run's products, for 16 rows of a warp; `n` of its pieces are real. The same bits as add_run().
template <typename Format, int kTiles>
__device__ __forceinline__ void add_run_of_many(float (&sums)[kTiles][2], Format& top, Format& bottom,
                                                const TokenTile<kTiles>& x, int n) {
  constexpr uint32_t kApart = sizeof(x.steps[0][0]);
  const int q = threadIdx.x % 4;
  float of_run[kTiles][2] = {};
  if constexpr (Format::kScaled) {
    float products[kTiles][4];
    const uint32_t minima[4] = {top.minima, bottom.minima, 0, 0};
    products_begin();
    multiply_add_halves(products, minima, columns_descriptor(x.sums, 0), false);
    products_issued();
    products_done<0>();
    settled(products);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      scale_up(of_run[tile], products[tile], -top.minimum_scale() / kSumScale, -bottom.minimum_scale() / kSumScale);
    }
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      uint32_t steps[2][4];
      set_steps(steps, top.get(i), bottom.get(i));
      products_begin();
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        multiply_add_halves(products, steps[s], columns_descriptor(x.steps[2 * i + s], kApart), i + s > 0);
      }
      products_issued();
      products_done<1>();
    }
    products_done<0>();
    settled(products);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) scale_up(of_run[tile], products[tile], top.scale(), bottom.scale());
  } else {
    // Products of one group of columns are made while those of the one before are scaled.
    constexpr int kSteps = Format::kScaleOf16 ? 1 : 2, kGroups = 2 * kPieces / kSteps;
    float products[2][kTiles][4], scales[2][2];
    const auto scale_group = [&](int at) {
      settled(products[at]);
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile)
        scale_up(of_run[tile], products[at][tile], scales[at][0], scales[at][1]);
    };
    Piece a, b;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      const int piece = i * kSteps / 2, first = i * kSteps % 2;
      if (first == 0) a = top.get(piece), b = bottom.get(piece);
      const bool real = Format::kWhole || piece < n;  // else its tokens are zeros
      uint32_t steps[2][4];
      set_steps(steps, a, b);
      products_begin();
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        multiply_add_halves(products[i % 2], steps[first + s], columns_descriptor(x.steps[i * kSteps + s], kApart),
                            s > 0);
      }
      products_issued();
      if (i > 0) {
        products_done<1>();
        scale_group((i - 1) % 2);
      }
      scales[i % 2][0] = real ? a.scale[first] : 0.0f;
      scales[i % 2][1] = real ? b.scale[first] : 0.0f;
    }
    products_done<0>();
    scale_group((kGroups - 1) % 2);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      of_run[tile][0] = __fmul_rn(of_run[tile][0], top.scale());
      of_run[tile][1] = __fmul_rn(of_run[tile][1], bottom.scale());
    }
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const float scale = x.scale[tile * kTileTokens + q];
#pragma unroll
    for (int e = 0; e < 2; ++e) sums[tile][e] = fmaf(of_run[tile][e], scale, sums[tile][e]);
  }
}

template <typename Format, int kTiles>
__global__ void __launch_bounds__(kThreads, Format::kScaled ? 2 : 1)
    many_kernel(const __grid_constant__ Product p, const std::byte* all_tokens, float* parts) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) uint8_t memory[];
  auto& shared = *reinterpret_cast<Shared<Format, kTiles>*>(memory);
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, q = lane % 4;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kManyRows + warp * kRows;
  const int64_t first_token = static_cast<int64_t>(blockIdx.y) * kTiles * kTileTokens;
  const int runs = static_cast<int>((p.w.in + kCols - 1) / kCols);
  const auto* tiles = reinterpret_cast<const TokenTile<kTiles>*>(all_tokens) + static_cast<int64_t>(blockIdx.y) * runs;
  const Feed<Format> feed(static_cast<const uint8_t*>(p.w.data) + row * p.row_bytes, p.row_bytes, p.w.out - row);
  const int share = kWarps / static_cast<int>(gridDim.z), first = static_cast<int>(blockIdx.z) * share;
  Walk now{first, first + share, runs, first};
  Walk weights_ahead = now, tokens_ahead = now;
  const auto fetch_weights = [&](int stage) {
    if (!weights_ahead.done()) feed.fetch(shared.weights[warp][stage], 0, weights_ahead.run);
    weights_ahead.next();
    copies_issued();
  };
  const auto fetch_tokens = [&](int stage) {  // by one thread
    if (!tokens_ahead.done()) {
      barrier_expect(&shared.full[stage], sizeof(TokenTile<kTiles>));
      copy_bulk(&shared.tokens[stage], tiles + tokens_ahead.run, sizeof(TokenTile<kTiles>), &shared.full[stage]);
    }
    tokens_ahead.next();
  };
#pragma unroll
  for (int i = 0; i < kStages; ++i) fetch_weights(i);
  if (threadIdx.x == 0) {
    for (uint64_t& full : shared.full) barrier_init(&full, 1);
    barriers_are_made();
  }
  await_kernel_before();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) fetch_tokens(i);
  }
  __syncthreads();
  float all[kTiles][2] = {}, sums[kTiles][2] = {};
  uint32_t parity = 0;
  for (int at = 0; !now.done(); at = at + 1 == kStages ? 0 : at + 1) {
    copies_arrived<kStages - 1>();
    __syncwarp();
    Format top, bottom;
    top.load(shared.weights[warp][at][g] + feed.start(g, now.run), q);
    bottom.load(shared.weights[warp][at][g + 8] + feed.start(g + 8, now.run), q);
    barrier_wait(&shared.full[at], parity);
    const int pieces = (static_cast<int>(p.w.in) - now.run * kCols) / 32;
    add_run_of_many<Format, kTiles>(sums, top, bottom, shared.tokens[at], pieces);
    __syncthreads();  // all have used this stage
    fetch_weights(at);
    if (threadIdx.x == 0) fetch_tokens(at);
    if (at + 1 == kStages) parity ^= 1;
    const int finished = now.chain;
    now.next();
    if (now.chain == finished) continue;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int e = 0; e < 2; ++e) all[tile][e] += sums[tile][e], sums[tile][e] = 0.0f;
    }
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const int64_t t = first_token + tile * kTileTokens + q;
    if (t >= p.x.rows) break;
    float* to = parts + (static_cast<int64_t>(blockIdx.z) * p.x.rows + t) * p.w.out + row;
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      if (row + g + 8 * e < p.w.out) to[g + 8 * e] = all[tile][e];
    }
  }
#endif
}

// Adds the shares. grid: (runs of rows, T).
__global__ void __launch_bounds__(kThreads) add_kernel(const __grid_constant__ Product p, const float* parts, int n) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, t = blockIdx.y;
  if (r >= p.w.out) return;
  await_kernel_before();
  const auto part = [&](int i) { return parts[(i * p.x.rows + t) * p.w.out + r]; };
  const float sum = add_in_order(0, n / 2, part) + add_in_order(n / 2, n / 2, part);
  p.y.row(t)[r] = p.w.bias != nullptr ? sum + p.w.bias[r] : sum;
}

template <typename Format, int kTiles>
void start_many(const Product& p, std::byte* tokens, float* parts, int shares, cudaStream_t stream) {
  take_apart<Format::kScaled, kTiles>(p, 1, tokens, stream);
  constexpr int kBytes = sizeof(Shared<Format, kTiles>);
  static const cudaError_t kAllowed =
      cudaFuncSetAttribute(many_kernel<Format, kTiles>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  (void)kAllowed;
  const dim3 grid(size_of(blocks_for(p.w.out, kManyRows)), size_of(blocks_for(p.x.rows, kTiles * kTileTokens)),
                  size_of(shares));
  start(many_kernel<Format, kTiles>, grid, kBytes, stream, p, static_cast<const std::byte*>(tokens), parts);
  const dim3 rows(size_of(blocks_for(p.w.out, kThreads)), size_of(p.x.rows));
  start(add_kernel, rows, 0, stream, p, static_cast<const float*>(parts), shares);
}

template <typename Format>
bool start_format(const Product& p, std::byte* scratch, cudaStream_t stream) {
  const int64_t runs = blocks_for(p.w.in, kCols);
  auto* parts = reinterpret_cast<float*>(scratch + kMaxPartsBytes);
  const int shares = blocks_for(p.w.out, kManyRows) * blocks_for(p.x.rows, kGroup) < kFewBlocks ? kWarps : 2;
  const int64_t groups = std::min(kMaxPartsBytes / (runs * int64_t{sizeof(TokenTile<kGroup / kTileTokens>)}),
                                  kMaxPartsBytes / (p.w.out * 4 * shares * kGroup));
  if (groups == 0) return false;
  for (int64_t t = 0; t < p.x.rows; t += groups * kGroup) {
    const Product some = rows_between(p, t, std::min(t + groups * kGroup, p.x.rows));
    if (some.x.rows <= kGroup / 2) {
      start_many<Format, kGroup / kTileTokens / 2>(some, scratch, parts, shares, stream);
    } else {
      start_many<Format, kGroup / kTileTokens>(some, scratch, parts, shares, stream);
    }
  }
  return true;
}

}  // namespace

bool product_many_tokens(const Product& p, std::byte* scratch, cudaStream_t stream) {
  if (!is_hopper()) return false;
  switch (p.w.format.code) {
    case BlockCode::q8_0:
      return start_format<Q8_0>(p, scratch, stream);
    case BlockCode::q4_0:
      return start_format<Q4_0>(p, scratch, stream);
    case BlockCode::q4_k:
      return start_format<Q45_K<false>>(p, scratch, stream);
    case BlockCode::q5_k:
      return start_format<Q45_K<true>>(p, scratch, stream);
    default:
      return start_format<Q6_K>(p, scratch, stream);
  }
}

}  // namespace arc::cuda::blocks
