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
#include <algorithm>

#include "kernels/cuda/block_codes.cuh"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/product.cuh"
#include "kernels/cuda/scratch.h"
#include "quant/block_code.h"

namespace arc::cuda {
namespace {

using namespace blocks;

constexpr int kStages = 2;
constexpr int kTileTokens = 4;  // of a product
constexpr int kBlocksAPlace = 3;
constexpr int kGroup = 32;           // tokens of a block that has many
constexpr int kFewManyBlocks = 132;  // fewer than this get a chain each

// ---- tokens --------------------------------------------------------------------------------------------------------

// Where a run of a token lies.
template <int kTiles>
struct Place {
  TokenTile<kTiles>* tile;
  int column;

  __device__ __forceinline__ Place(std::byte* all, int64_t token, int run, int runs) {
    tile = reinterpret_cast<TokenTile<kTiles>*>(all) + token / (4 * kTiles) * runs + run;
    column = static_cast<int>(token % (4 * kTiles)) * 2;
  }
  // Of high or low: columns (0, 2) or (1, 3) of a step.
  __device__ __forceinline__ uint32_t& pair(int part, int step, int j, int q) const {
    return reinterpret_cast<uint32_t*>(&tile->steps[step][j][column + part])[q];
  }
  __device__ __forceinline__ __half& sum(int part, int i) const { return tile->sums[column + part][i]; }
  __device__ __forceinline__ float& scale() const { return tile->scale[column / 2]; }
};
template <>
struct Place<0> {
  TokenRun* run;

  __device__ __forceinline__ Place(std::byte* all, int64_t token, int i, int runs)
      : run(reinterpret_cast<TokenRun*>(all) + token * runs + i) {}
  __device__ __forceinline__ uint32_t& pair(int part, int step, int j, int q) const {
    return reinterpret_cast<uint32_t*>(&run->pieces[step / 2][part][q])[step % 2 * 2 + j];
  }
  __device__ __forceinline__ __half& sum(int part, int i) const { return run->sums[part][i]; }
  __device__ __forceinline__ float& scale() const { return run->scale; }
};

// Takes tokens apart, a warp a run: to a TokenRun each, or to TokenTile<kTiles>s. kScaled: as formats have it.
// grid: (runs / kWarps, T, inputs of a token).
template <bool kScaled, int kTiles>
__global__ void __launch_bounds__(kThreads) tokens_kernel(const __grid_constant__ Product p, std::byte* to, int runs) {
  next_may_start();  // the product asks for its first weights
  const int run = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, t = static_cast<int>(blockIdx.y);
  if (run >= runs) return;
  await_kernel_before();
  const float* row = p.x.row(t) + static_cast<int64_t>(blockIdx.z) * p.in_step;
  float4 x[2];
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int64_t k = static_cast<int64_t>(run) * kCols + 4 * (lane + i * kWarp);
    const float* at = row + k;
    x[i] = k >= p.w.in   ? float4{}
           : p.x_aligned ? *reinterpret_cast<const float4*>(at)
                         : make_float4(at[0], at[1], at[2], at[3]);
    largest = fmaxf(largest, fmaxf(fmaxf(fabsf(x[i].x), fabsf(x[i].y)), fmaxf(fabsf(x[i].z), fabsf(x[i].w))));
  }
  // The largest becomes 2^13 to 2^14.
  const int exponent = min(max(static_cast<int>(__float_as_uint(warp_max(largest)) >> 23), 20), 250);
  const float scale = __uint_as_float(static_cast<uint32_t>(exponent - 13) << 23);
  const float inverse = __uint_as_float(static_cast<uint32_t>(267 - exponent) << 23);
  const Place<kTiles> place(to, (static_cast<int64_t>(blockIdx.z) * gridDim.y + t), run, runs);
  if (lane == 0) place.scale() = scale;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int four = lane + i * kWarp;
    const int step = kScaled ? four % 8 * 2 + four / 8 % 2 : four / 4, q = kScaled ? four / 16 : four % 4;
    const float v[4] = {x[i].x * inverse, x[i].z * inverse, x[i].y * inverse, x[i].w * inverse};
    __half high[4], low[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      high[j] = __float2half_rn(v[j]);
      low[j] = __float2half_rn(v[j] - __half2float(high[j]));
    }
    const uint32_t words[2][2] = {
        {word_of(__halves2half2(high[0], high[1])), word_of(__halves2half2(high[2], high[3]))},
        {word_of(__halves2half2(low[0], low[1])), word_of(__halves2half2(low[2], low[3]))}};
#pragma unroll
    for (int j = 0; j < 4; ++j) place.pair(j / 2, step, j % 2, q) = words[j / 2][j % 2];
    float sum = (v[0] + v[1]) + (v[2] + v[3]);
#pragma unroll
    for (int lanes = 1; lanes < 8; lanes *= 2) sum += __shfl_xor_sync(kAllLanes, sum, lanes);
    if (four % 8 != 0) continue;
    sum *= kSumScale;
    const __half high_sum = __float2half_rn(sum);
    place.sum(0, four / 8) = high_sum;
    place.sum(1, four / 8) = __float2half_rn(sum - __half2float(high_sum));
  }
}

// Runs of the tokens that a block works on.
struct Tokens {
  const TokenRun* first;
  int runs, n;

  // Columns without a token have the last one's, and are not looked at.
  __device__ __forceinline__ const TokenRun& at(int token, int run) const {
    return first[min(token, n - 1) * runs + run];
  }
};

// ---- weights -------------------------------------------------------------------------------------------------------

// A row of a run in shared memory: whole pieces of 16 bytes, an odd number of them, so that rows g lie in banks of
// their own.
template <typename Format>
constexpr int kChunks = (Format::kBytes + (Format::kAligned ? 0 : 14) + 15) / 16 | 1;
template <typename Format>
using Stage = uint8_t[kRows][kChunks<Format> * 16];

// Asks for runs of 16 rows of a matrix, for a warp; behind the matrix's end rows are zeros.
template <typename Format>
class Feed {
 public:
  // `rows` is a row of the matrix, `n` how many there are from it on.
  __device__ __forceinline__ Feed(const uint8_t* rows, int64_t row_bytes, int64_t n)
      : rows_(rows), row_bytes_(static_cast<int>(row_bytes)), n_(static_cast<int>(n)) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int at = static_cast<int>(threadIdx.x) % kWarp + i * kWarp;
      chunks_[i] = at % kChunks<Format> * 16;
      offsets_[i] = at / kChunks<Format> * row_bytes_;
    }
  }
  // A run of the rows from 16 * tile on.
  __device__ __forceinline__ void fetch(Stage<Format>& to, int tile, int run) const {
    const int begin = run * Format::kBytes, skew = skew_of(run), bytes = min(row_bytes_ - begin, Format::kBytes);
    const int end = min(n_ - tile * kRows, kRows) * row_bytes_;
    const uint8_t* from = rows_ + static_cast<int64_t>(tile) * kRows * row_bytes_ + begin - skew;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (lane + i * kWarp >= kRows * kChunks<Format>) break;
      const int start = offsets_[i] + skew;
      const int n = Format::kAligned ? 16 : min(max(start % 16 + bytes - chunks_[i], 0), 16);
      copy_async(to[0] + (lane + i * kWarp) * 16, from + (start / 16 * 16 + chunks_[i]), offsets_[i] < end ? n : 0);
    }
  }
  // Where a row's run starts in its row of a stage; tiles start alike, since 16 rows are a multiple of 16 bytes.
  __device__ __forceinline__ int start(int row, int run) const {
    return Format::kAligned ? 0 : (row * row_bytes_ + skew_of(run)) % 16;
  }

 private:
  static constexpr int kEach = (kRows * kChunks<Format> + kWarp - 1) / kWarp;

  __device__ __forceinline__ int skew_of(int run) const {
    return Format::kAligned ? 0 : (static_cast<int>(reinterpret_cast<uintptr_t>(rows_)) + run * Format::kBytes) & 15;
  }

  const uint8_t* rows_;
  int row_bytes_, n_;
  int chunks_[kEach], offsets_[kEach];
};

// ---- products ------------------------------------------------------------------------------------------------------

// sums += (high and low of products) scale.
__device__ __forceinline__ void scale_up(float (&sums)[2], const float (&products)[4], float top, float bottom) {
  sums[0] = fmaf(__fadd_rn(products[0], products[1]), top, sums[0]);
  sums[1] = fmaf(__fadd_rn(products[2], products[3]), bottom, sums[1]);
}

// The first operand of a piece's steps for 16 rows.
__device__ __forceinline__ void set_steps(uint32_t (&steps)[2][4], const Piece& top, const Piece& bottom) {
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    steps[s][0] = top.steps[s][0], steps[s][1] = bottom.steps[s][0];
    steps[s][2] = top.steps[s][1], steps[s][3] = bottom.steps[s][1];
  }
}

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
    scale_up(sums[tile], products[tile], top.scale(), bottom.scale());
    scale_up(sums[tile], minima, -top.minimum_scale() / kSumScale, -bottom.minimum_scale() / kSumScale);
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

// Adds up the runs of a chain that has some, for every `step`-th tile of rows from `tile` to `last`, and calls
// done(tile, sums) behind each.
template <typename Format, int kTiles, typename Done>
__device__ __forceinline__ void add_chain(int chain, int runs, int tile, int last, int step, const Feed<Format>& feed,
                                          Stage<Format>* stages, const Tokens& tokens, int64_t in, const Done& done) {
  int next_tile = tile, next_run = chain;
  const auto fetch = [&](int stage) {
    if (next_tile < last) {
      feed.fetch(stages[stage], next_tile, next_run);
      next_run += kWarps;
      if (next_run >= runs) next_run = chain, next_tile += step;
    }
    copies_issued();
  };
#pragma unroll
  for (int i = 0; i < kStages; ++i) fetch(i);
  await_kernel_before();
  for (int at = 0; tile < last; tile += step) {
    float sums[kTiles][2] = {};
    for (int run = chain; run < runs; run += kWarps, at = at + 1 == kStages ? 0 : at + 1) {
      copies_arrived<kStages - 1>();
      __syncwarp();
      add_run<Format, kTiles>(sums, stages[at], feed, tokens, run, in);
      __syncwarp();
      fetch(at);
    }
    done(tile, sums);
  }
}

// The sum of chains [first, first + n), in order.
template <typename Chain>
__device__ __forceinline__ float add_in_order(int first, int n, const Chain& chain) {
  float sum = 0.0f;
  for (int i = first; i < first + n; ++i) sum += chain(i);
  return sum;
}

// Few tokens: each warp has a chain, and a block every gridDim.x-th 16 rows. grid: (any, tokens / 8, z).
template <typename Format>
constexpr int kFewBytes = kWarps * kStages * sizeof(Stage<Format>);

template <typename Format, int kTiles>
__global__ void __launch_bounds__(kThreads, kTiles == 1 && kFewBytes<Format> <= 64 << 10 ? 3 : 2)
    few_kernel(const __grid_constant__ Product p, const TokenRun* token_runs) {
  extern __shared__ __align__(128) uint8_t memory[];
  __shared__ float parts[2][kWarps][kRows][kTiles * kTileTokens + 1];
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
    which ^= 1;
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
  const int begin = static_cast<int>(blockIdx.x), step = static_cast<int>(gridDim.x);
  if (work.elsewhere || warp >= runs) {
    await_kernel_before();
    for (int tile = begin; tile < row_tiles; tile += step) finish(tile, {});
    return;
  }
  work.row = 0;
  const Feed<Format> feed(work.weights_of(p, 0), p.row_bytes, p.w.out);
  auto* stages = reinterpret_cast<Stage<Format>*>(memory) + warp * kStages;
  add_chain<Format, kTiles>(warp, runs, begin, row_tiles, step, feed, stages, tokens, p.w.in, finish);
}

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
    float products[kTiles][4], minima[kTiles][4];
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
    const uint32_t last[4] = {top.minima, bottom.minima, 0, 0};
    products_begin();
    multiply_add_halves(minima, last, columns_descriptor(x.sums, 0), false);
    products_issued();
    products_done<0>();
    settled(products);
    settled(minima);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      scale_up(of_run[tile], products[tile], top.scale(), bottom.scale());
      scale_up(of_run[tile], minima[tile], -top.minimum_scale() / kSumScale, -bottom.minimum_scale() / kSumScale);
    }
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
__global__ void __launch_bounds__(kThreads, 1)
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
  const auto part = [&](int i) { return parts[(i * p.x.rows + t) * p.w.out + r]; };
  const float sum = add_in_order(0, n / 2, part) + add_in_order(n / 2, n / 2, part);
  p.y.row(t)[r] = p.w.bias != nullptr ? sum + p.w.bias[r] : sum;
}

// ---- on the host ---------------------------------------------------------------------------------------------------

// Before the kernel in front of it has ended, for which it waits by itself.
template <typename... Args>
void start(void (*kernel)(Args...), dim3 grid, int bytes, cudaStream_t stream, Args... args) {
  cudaLaunchAttribute early{.id = cudaLaunchAttributeProgrammaticStreamSerialization};
  early.val.programmaticStreamSerializationAllowed = 1;
  const cudaLaunchConfig_t config{.gridDim = grid,
                                  .blockDim = dim3(kThreads),
                                  .dynamicSmemBytes = static_cast<size_t>(bytes),
                                  .stream = stream,
                                  .attrs = &early,
                                  .numAttrs = 1};
  cudaLaunchKernelEx(&config, kernel, args...);
}

constexpr unsigned size_of(int64_t n) {
  return static_cast<unsigned>(n);
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
  // A few blocks for each place, since some processors are slower than others; each walks as far.
  const int far = blocks_for(row_tiles * others, int64_t{kBlocksAPlace} * kAtOnce);
  start(few_kernel<Format, kTiles>, dim3(size_of(blocks_for(row_tiles, far)), size_of(groups), size_of(depth)), kBytes,
        stream, p, tokens);
}

template <bool kScaled, int kTiles>
void take_apart(const Product& p, int inputs, std::byte* to, cudaStream_t stream) {
  const int runs = blocks_for(p.w.in, kCols);
  const dim3 grid(size_of(blocks_for(runs, kWarps)), size_of(p.x.rows), size_of(inputs));
  start(tokens_kernel<kScaled, kTiles>, grid, 0, stream, p, to, runs);
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
  add_kernel<<<rows, kThreads, 0, stream>>>(p, parts, shares);
}

template <typename Format>
void launch_format(const Product& p, int depth, std::byte* scratch, cudaStream_t stream) {
  const int64_t runs = blocks_for(p.w.in, kCols);
  const int inputs = p.in_step > 0 ? depth : 1;
  auto* parts = reinterpret_cast<float*>(scratch + kMaxPartsBytes);
  const int shares = blocks_for(p.w.out, kManyRows) * blocks_for(p.x.rows, kGroup) < kFewManyBlocks ? kWarps : 2;
  const int64_t fit = std::min(kMaxPartsBytes / (runs * static_cast<int64_t>(sizeof(TokenTile<kGroup / 4>))),
                               kMaxPartsBytes / (p.w.out * 4 * shares * kGroup));
  const bool many = p.x.rows > kTokens && p.ids == nullptr && depth == 1 && fit > 0 && is_hopper();
  const int64_t at_once =
      many ? fit * kGroup : kMaxPartsBytes / (runs * inputs * static_cast<int64_t>(sizeof(TokenRun)));
  for (int64_t t = 0; t < p.x.rows; t += at_once) {
    Product some = p;
    some.x.rows = some.y.rows = std::min(at_once, p.x.rows - t);
    some.x.data = static_cast<float*>(p.x.data) + t * p.x.stride;
    some.y.data = static_cast<float*>(p.y.data) + t * p.y.stride;
    if (p.ids != nullptr) some.ids = p.ids + t * p.ids_stride;
    const int64_t n = some.x.rows;
    if (many && n > kTokens) {
      if (n <= kGroup / 2) {
        start_many<Format, 4>(some, scratch, parts, shares, stream);
      } else {
        start_many<Format, 8>(some, scratch, parts, shares, stream);
      }
      continue;
    }
    take_apart<Format::kScaled, 0>(some, inputs, scratch, stream);
    const auto* tokens = reinterpret_cast<const TokenRun*>(scratch);
    if (p.ids != nullptr || n <= kTileTokens) {
      start_few<Format, 1>(some, depth, tokens, stream);
    } else {
      start_few<Format, 2>(some, depth, tokens, stream);
    }
  }
}

}  // namespace

void product_blocks(const Product& p, int depth, std::byte* scratch, cudaStream_t stream) {
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
