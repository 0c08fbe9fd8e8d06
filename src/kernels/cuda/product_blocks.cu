// Products of block codes with token rows.
//
// Codes are the first operand of m16n8k16 products of f16 (block_codes.cuh). Tokens are taken apart beforehand: in runs
// of 256 columns, scaled by a power of two, each number is two f16, high and low, exact to 2^-22 of it or 2^-38 of the
// run's largest. The eight columns of a product are high and low of four tokens. What products sum up over columns that
// share a scale is multiplied with it in f32, high and low together; of Q4_K and Q5_K that is a whole run, since the
// 6-bit scales are in the operand, and so are their minima, to be multiplied with sums of 32 columns.
//
// A row's runs are dealt to kWarps warps, whose sums are added in order. So the order of a row's sum depends on the
// weight's width alone. Each warp copies its weights to shared memory, kStages runs ahead.
#include "kernels/cuda/product_blocks.cuh"
#include "quant/block_code.h"

namespace arc::cuda {
namespace {

using namespace blocks;

// Runs of the tokens that a block works on.
struct Tokens {
  const TokenRun* first;
  int runs, n;

  // Columns without a token have the last one's, and are not looked at.
  __device__ __forceinline__ const TokenRun& at(int token, int run) const {
    return first[min(token, n - 1) * runs + run];
  }
};

// Sums of a run's products, but for the tokens' scales: of codes that are multiplied with their groups' scales.
template <typename Format, int kTiles>
__device__ __forceinline__ void multiply_scaled(float (&sums)[kTiles][2], Format& top, Format& bottom,
                                                const Tokens& tokens, int run) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, q = lane % 4;
  float products[kTiles][4] = {};
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    uint32_t steps[2][4];
    set_steps(steps, top.get(i), bottom.get(i));
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint4 x = tokens.at(tile * kTileTokens + g / 2, run).pieces[i][g % 2][q];
      multiply_add_halves(products[tile], steps[0], x.x, x.y, products[tile]);
      multiply_add_halves(products[tile], steps[1], x.z, x.w, products[tile]);
    }
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const auto* pairs = reinterpret_cast<const uint32_t*>(tokens.at(tile * kTileTokens + g / 2, run).sums[g % 2]);
    float minima[4];
    multiply_add_halves(minima, {top.minima, bottom.minima, 0, 0}, pairs[q], 0, {});
    scale_up(sums[tile], minima, -top.minimum_scale() / kSumScale, -bottom.minimum_scale() / kSumScale);
    scale_up(sums[tile], products[tile], top.scale(), bottom.scale());
  }
}

// Likewise where 16 or 32 columns share a scale; of the run's pieces `n` are real.
template <typename Format, int kTiles>
__device__ __forceinline__ void multiply_plain(float (&sums)[kTiles][2], Format& top, Format& bottom,
                                               const Tokens& tokens, int run, int n) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, q = lane % 4;
  constexpr int kLast = Format::kScaleOf16 ? 1 : 0;
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    Piece a = top.get(i), b = bottom.get(i);
    if (!Format::kWhole && i >= n) a.scale[0] = b.scale[0] = 0.0f;  // their tokens are zeros
    uint32_t steps[2][4];
    set_steps(steps, a, b);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint4 x = tokens.at(tile * kTileTokens + g / 2, run).pieces[i][g % 2][q];
      float products[4];
      multiply_add_halves(products, steps[0], x.x, x.y, {});
      if constexpr (Format::kScaleOf16) {
        scale_up(sums[tile], products, a.scale[0], b.scale[0]);
        multiply_add_halves(products, steps[1], x.z, x.w, {});
      } else {
        multiply_add_halves(products, steps[1], x.z, x.w, products);
      }
      scale_up(sums[tile], products, a.scale[kLast], b.scale[kLast]);
    }
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    sums[tile][0] = __fmul_rn(sums[tile][0], top.scale());
    sums[tile][1] = __fmul_rn(sums[tile][1], bottom.scale());
  }
}

// Adds the products of a run that lies in a stage: rows g and g + 8, token q of each tile.
template <typename Format, int kTiles>
__device__ __forceinline__ void add_run(float (&sums)[kTiles][2], const Stage<Format>& stage, const Feed<Format>& feed,
                                        const Tokens& tokens, int run, int64_t in) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, q = lane % 4;
  Format top, bottom;
  top.load(stage[g] + feed.start(g, run), q);
  bottom.load(stage[g + 8] + feed.start(g + 8, run), q);
  float of_run[kTiles][2] = {};
  if constexpr (Format::kScaled) {
    multiply_scaled<Format, kTiles>(of_run, top, bottom, tokens, run);
  } else {
    multiply_plain<Format, kTiles>(of_run, top, bottom, tokens, run, (static_cast<int>(in) - run * kCols) / 32);
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const float scale = tokens.at(tile * kTileTokens + q, run).scale;
#pragma unroll
    for (int e = 0; e < 2; ++e) sums[tile][e] = fmaf(of_run[tile][e], scale, sums[tile][e]);
  }
}

// Which tiles of 16 rows a block works on: from `tile` to `last`, `step` apart, or, unless kWalks, `tile` alone.
struct Tiles {
  int tile, last, step;
};

// Adds up the runs of a chain that has some, for every tile, and calls done(tile, sums) behind each. Unless kWalks
// `feed` begins with the tile.
template <typename Format, int kTiles, bool kWalks, typename Done>
__device__ __forceinline__ void add_chain(int chain, int runs, Tiles tiles, const Feed<Format>& feed,
                                          Stage<Format>* stages, const Tokens& tokens, int64_t in, const Done& done) {
  int next_tile = kWalks ? tiles.tile : 0, next_run = chain;
  const auto fetch = [&](int stage) {
    if (kWalks ? next_tile < tiles.last : next_run < runs) {
      feed.fetch(stages[stage], next_tile, next_run);
      next_run += kWarps;
      if (kWalks && next_run >= runs) next_run = chain, next_tile += tiles.step;
    }
    copies_issued();
  };
#pragma unroll
  for (int i = 0; i < kStages; ++i) fetch(i);
  await_kernel_before();
  int at = 0;
  do {
    float sums[kTiles][2] = {};
    for (int run = chain; run < runs; run += kWarps, at = at + 1 == kStages ? 0 : at + 1) {
      copies_arrived<kStages - 1>();
      __syncwarp();
      add_run<Format, kTiles>(sums, stages[at], feed, tokens, run, in);
      __syncwarp();
      fetch(at);
    }
    done(tiles.tile, sums);
    tiles.tile += tiles.step;
  } while (kWalks && tiles.tile < tiles.last);
}

// Few tokens: each warp has a chain. With up to four tokens blocks find place thrice on a processor and have 16 rows;
// with more they have every gridDim.x-th. grid: (blocks of 16 rows or fewer, tokens / 8, z).
template <typename Format>
constexpr int kFewBytes = kWarps * kStages * sizeof(Stage<Format>);

template <typename Format, int kTiles>
__global__ void __launch_bounds__(kThreads, kTiles == 1 && kFewBytes<Format> <= 64 << 10 ? 3 : 2)
    few_kernel(const __grid_constant__ Product p, const TokenRun* token_runs) {
  extern __shared__ __align__(128) uint8_t memory[];
  constexpr bool kWalks = kTiles > 1;
  __shared__ float parts[kWalks ? 2 : 1][kWarps][kRows][kTiles * kTileTokens + 1];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, q = lane % 4;
  const int runs = static_cast<int>((p.w.in + kCols - 1) / kCols),
            row_tiles = static_cast<int>((p.w.out - 1) / kRows) + 1;
  if (p.ids != nullptr) await_kernel_before();
  Work work(p, 1);
  const int64_t first = (p.in_step > 0 ? work.z * p.x.rows : 0) + work.first_token;
  const Tokens tokens{token_runs + first * runs, runs,
                      static_cast<int>(min(work.n_tokens, int64_t{kTiles * kTileTokens}))};
  int which = 0;  // of two, so that a warp may write while another reads
  const auto finish = [&](int row_tile, const float(&sums)[kTiles][2]) {
    auto& part = parts[which];
    if (kWalks) which ^= 1;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      part[warp][g][tile * kTileTokens + q] = sums[tile][0];
      part[warp][g + 8][tile * kTileTokens + q] = sums[tile][1];
    }
    __syncthreads();
    work.row = static_cast<int64_t>(row_tile) * kRows;
    store_rows(p, work, kTiles * kTileTokens, [&](int r, int t) {
      const auto chain = [&](int i) { return part[i][r][t]; };
      return add_in_order(0, kWarps / 2, chain) + add_in_order(kWarps / 2, kWarps / 2, chain);
    });
  };
  Tiles tiles{static_cast<int>(blockIdx.x), row_tiles, static_cast<int>(gridDim.x)};
  if (work.elsewhere || warp >= runs) {
    await_kernel_before();
    for (; tiles.tile < row_tiles; tiles.tile += tiles.step) finish(tiles.tile, {});
    return;
  }
  work.row = kWalks ? 0 : static_cast<int64_t>(tiles.tile) * kRows;
  const Feed<Format> feed(work.weights_of(p, 0), p.row_bytes, p.w.out - work.row);
  auto* stages = reinterpret_cast<Stage<Format>*>(memory) + warp * kStages;
  add_chain<Format, kTiles, kWalks>(warp, runs, tiles, feed, stages, tokens, p.w.in, finish);
}

// Blocks of a kernel that find place on the device together.
template <typename Kernel>
int blocks_at_once(Kernel kernel, int bytes) {
  int device = 0, processors = 0, each = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, kThreads, static_cast<size_t>(bytes));
  return std::max(processors * each, 1);
}

template <typename Format, int kTiles>
void start_few(const Product& p, int depth, const TokenRun* tokens, cudaStream_t stream) {
  constexpr int kBytes = kFewBytes<Format>;
  static const int kAtOnce = blocks_at_once(few_kernel<Format, kTiles>, kBytes);
  const int row_tiles = blocks_for(p.w.out, kRows);
  const int64_t groups = p.ids != nullptr ? p.x.rows : blocks_for(p.x.rows, kTokens), others = groups * depth;
  const int far = kTiles > 1 ? blocks_for(row_tiles * others, kAtOnce) : 1;  // each walks as far
  start(few_kernel<Format, kTiles>, dim3(size_of(blocks_for(row_tiles, far)), size_of(groups), size_of(depth)), kBytes,
        stream, p, tokens);
}

template <typename Format>
void launch_format(const Product& p, int depth, std::byte* scratch, cudaStream_t stream) {
  const int inputs = p.in_step > 0 ? depth : 1;
  auto* tokens = reinterpret_cast<TokenRun*>(scratch);
  const int64_t token_bytes = int64_t{blocks_for(p.w.in, kCols)} * inputs * int64_t{sizeof(TokenRun)};
  const int64_t at_once = kPromptBytes / token_bytes;
  for (int64_t t = 0; t < p.x.rows; t += at_once) {
    const Product some = rows_between(p, t, std::min(t + at_once, p.x.rows));
    take_apart<Format::kScaled, 0>(some, inputs, scratch, stream);
    if (p.ids != nullptr || some.x.rows <= kTileTokens) {
      start_few<Format, 1>(some, depth, tokens, stream);
    } else {
      start_few<Format, 2>(some, depth, tokens, stream);
    }
  }
}

}  // namespace

void product_blocks(const Product& p, int depth, std::byte* scratch, cudaStream_t stream) {
  if (p.x.rows > kTokens && p.ids == nullptr && depth == 1 && product_many_tokens(p, scratch, stream)) return;
  switch (p.w.format.code) {
    case BlockCode::q8_0:
      return launch_format<Q8_0>(p, depth, scratch, stream);
    case BlockCode::q4_0:
      return launch_format<Q4_0>(p, depth, scratch, stream);
    case BlockCode::q4_k:
      return launch_format<Q45_K<false>>(p, depth, scratch, stream);
    case BlockCode::q5_k:
      return launch_format<Q45_K<true>>(p, depth, scratch, stream);
    default:
      return launch_format<Q6_K>(p, depth, scratch, stream);
  }
}

}  // namespace arc::cuda
