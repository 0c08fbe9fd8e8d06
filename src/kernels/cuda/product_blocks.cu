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
#include "kernels/cuda/product.cuh"
#include "kernels/cuda/scratch.h"
#include "quant/block_code.h"

namespace arc::cuda {
namespace {

using namespace blocks;

constexpr int kStages = 2;
constexpr int kTileTokens = 4;  // of a product

// ---- tokens --------------------------------------------------------------------------------------------------------

// Takes tokens apart, a warp a run. kScaled: as formats have it. grid: (runs / kWarps, T, inputs of a token).
template <bool kScaled>
__global__ void __launch_bounds__(kThreads) tokens_kernel(const __grid_constant__ Product p, TokenRun* to, int runs) {
  const int run = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, t = static_cast<int>(blockIdx.y);
  if (run >= runs) return;
  const float* row = p.x.row(t) + static_cast<int64_t>(blockIdx.z) * p.in_step;
  TokenRun& out = to[(static_cast<int64_t>(blockIdx.z) * gridDim.y + t) * runs + run];
  float4 x[2];
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int64_t k = static_cast<int64_t>(run) * kCols + 4 * (lane + i * kWarp);
    const float* at = row + k;
    x[i] = k >= p.w.in       ? float4{}
           : p.x_aligned     ? *reinterpret_cast<const float4*>(at)
                             : make_float4(at[0], at[1], at[2], at[3]);
    largest = fmaxf(largest, fmaxf(fmaxf(fabsf(x[i].x), fabsf(x[i].y)), fmaxf(fabsf(x[i].z), fabsf(x[i].w))));
  }
  // The largest becomes 2^13 to 2^14.
  const int exponent = min(max(static_cast<int>(__float_as_uint(warp_max(largest)) >> 23), 20), 250);
  const float scale = __uint_as_float(static_cast<uint32_t>(exponent - 13) << 23);
  const float inverse = __uint_as_float(static_cast<uint32_t>(267 - exponent) << 23);
  if (lane == 0) out.scale = scale;
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
    auto* places = reinterpret_cast<uint2*>(&out.pieces[step / 2][0][q]) + step % 2;
    places[0] = {word_of(__halves2half2(high[0], high[1])), word_of(__halves2half2(high[2], high[3]))};
    places[2 * 4] = {word_of(__halves2half2(low[0], low[1])), word_of(__halves2half2(low[2], low[3]))};
    float sum = (v[0] + v[1]) + (v[2] + v[3]);
#pragma unroll
    for (int lanes = 1; lanes < 8; lanes *= 2) sum += __shfl_xor_sync(kAllLanes, sum, lanes);
    if (four % 8 != 0) continue;
    sum *= kSumScale;
    out.sums[0][four / 8] = __float2half_rn(sum);
    out.sums[1][four / 8] = __float2half_rn(sum - __half2float(out.sums[0][four / 8]));
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

// A run's rows of a warp in shared memory, as whole pieces of 16 bytes; an odd number of them, so that rows g lie in
// banks of their own.
template <typename Format>
constexpr int kChunks = (Format::kBytes + (Format::kAligned ? 0 : 14) + 15) / 16;
template <typename Format>
constexpr int kPitch = (kChunks<Format> | 1) * 16;
template <typename Format>
using Stage = uint8_t[kRows][kPitch<Format>];

// Runs of 16 rows: every kWarps-th of them, which lie a multiple of 16 bytes apart.
template <typename Format>
class Feed {
 public:
  static constexpr int kStep = kWarps * Format::kBytes;
  static_assert(kStep % 16 == 0);

  __device__ __forceinline__ Feed(const Product& p, const Work& work, int first_run) {
    const int lane = threadIdx.x % kWarp;
    const uint8_t* start = work.weights_of(p, 0) + static_cast<int64_t>(first_run) * Format::kBytes;
    row_bytes_ = static_cast<int>(p.row_bytes);
    last_row_ = static_cast<int>(min(p.w.out - 1 - work.row, int64_t{kRows - 1}));
    skew_ = Format::kAligned ? 0 : static_cast<int>(reinterpret_cast<uintptr_t>(start) % 16);
    from_ = start - skew_;
    const int64_t all = p.w.count * p.w.out * p.row_bytes;
    left_ = static_cast<int>(min(static_cast<const uint8_t*>(p.w.data) + all - from_, int64_t{1} << 30));
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int at = lane + i * kWarp;
      places_[i] = (offset(at / kChunks<Format>) & ~15) + at % kChunks<Format> * 16;
    }
  }
  // Asks for the next run.
  __device__ __forceinline__ void fetch(Stage<Format>& to) {
    const int lane = threadIdx.x % kWarp;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int at = lane + i * kWarp;
      if (at >= kRows * kChunks<Format>) break;
      uint8_t* place = to[at / kChunks<Format>] + at % kChunks<Format> * 16;
      copy_async(place, from_ + places_[i], Format::kAligned ? 16 : min(max(left_ - places_[i], 0), 16));
    }
    from_ += kStep;
    left_ -= kStep;
  }
  // Where a row's run starts in a stage's row.
  __device__ __forceinline__ int start(int row) const { return Format::kAligned ? 0 : offset(row) % 16; }

 private:
  static constexpr int kEach = (kRows * kChunks<Format> + kWarp - 1) / kWarp;

  __device__ __forceinline__ int offset(int row) const { return skew_ + min(row, last_row_) * row_bytes_; }

  const uint8_t* from_;
  int row_bytes_, last_row_, skew_, left_;
  int places_[kEach];
};

// ---- products ------------------------------------------------------------------------------------------------------

// sums += (high and low of products) scale, for rows g and g + 8 and token q of a tile.
__device__ __forceinline__ void scale_up(float (&sums)[2], const float (&products)[4], float top, float bottom) {
  sums[0] = fmaf(__fadd_rn(products[0], products[1]), top, sums[0]);
  sums[1] = fmaf(__fadd_rn(products[2], products[3]), bottom, sums[1]);
}

// A run's products, but for the tokens' scales, of codes that are multiplied with their groups' scales.
template <typename Format, int kTiles>
__device__ __forceinline__ void multiply_scaled(float (&sums)[kTiles][2], Format& top, Format& bottom,
                                                const Tokens& tokens, int run) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, q = lane % 4;
  float products[kTiles][4] = {};
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const Piece a = top.get(i), b = bottom.get(i);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint4 x = __ldg(&tokens.at(tile * kTileTokens + g / 2, run).pieces[i][g % 2][q]);
      const uint32_t first[4] = {a.steps[0][0], b.steps[0][0], a.steps[0][1], b.steps[0][1]};
      const uint32_t second[4] = {a.steps[1][0], b.steps[1][0], a.steps[1][1], b.steps[1][1]};
      multiply_add_halves(products[tile], first, x.x, x.y, products[tile]);
      multiply_add_halves(products[tile], second, x.z, x.w, products[tile]);
    }
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const auto* pairs = reinterpret_cast<const uint32_t*>(tokens.at(tile * kTileTokens + g / 2, run).sums[g % 2]);
    float minima[4];
    multiply_add_halves(minima, {top.minima, bottom.minima, 0, 0}, __ldg(pairs + q), 0, {});
    sums[tile][0] = sums[tile][1] = 0.0f;
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
  for (int tile = 0; tile < kTiles; ++tile) sums[tile][0] = sums[tile][1] = 0.0f;
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    Piece a = top.get(i), b = bottom.get(i);
    if (!Format::kWhole && i >= n) a.scale[0] = b.scale[0] = 0.0f;  // their tokens are zeros
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint4 x = __ldg(&tokens.at(tile * kTileTokens + g / 2, run).pieces[i][g % 2][q]);
      const uint32_t first[4] = {a.steps[0][0], b.steps[0][0], a.steps[0][1], b.steps[0][1]};
      const uint32_t second[4] = {a.steps[1][0], b.steps[1][0], a.steps[1][1], b.steps[1][1]};
      float products[4];
      multiply_add_halves(products, first, x.x, x.y, {});
      if constexpr (Format::kScaleOf16) {
        scale_up(sums[tile], products, a.scale[0], b.scale[0]);
        multiply_add_halves(products, second, x.z, x.w, {});
      } else {
        multiply_add_halves(products, second, x.z, x.w, products);
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

// grid: (blocks of 16 rows, tokens / 8, z).
template <typename Format, int kTiles>
__global__ void __launch_bounds__(kThreads, kTiles == 1 ? 3 : 2)
    blocks_kernel(const __grid_constant__ Product p, const TokenRun* token_runs) {
  extern __shared__ __align__(16) uint8_t memory[];
  __shared__ float parts[kWarps][kRows][kTiles * kTileTokens + 1];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, q = lane % 4;
  const Work work(p, 1);
  const int all_runs = static_cast<int>((p.w.in + kCols - 1) / kCols), runs = work.elsewhere ? 0 : all_runs;
  const int64_t first = (p.in_step > 0 ? work.z * p.x.rows : 0) + work.first_token;
  const Tokens tokens{token_runs + first * all_runs, all_runs,
                      static_cast<int>(min(work.n_tokens, int64_t{kTiles * kTileTokens}))};
  auto* stages = reinterpret_cast<Stage<Format>*>(memory) + warp * kStages;
  Feed<Format> feed(p, work, warp);
#pragma unroll
  for (int i = 0; i < kStages; ++i) {
    if (warp + i * kWarps < runs) feed.fetch(stages[i]);
    copies_issued();
  }
  const int top_start = feed.start(g), bottom_start = feed.start(g + 8);
  float sums[kTiles][2] = {};
  for (int run = warp, at = 0; run < runs; run += kWarps, at = at + 1 == kStages ? 0 : at + 1) {
    copies_arrived<kStages - 1>();
    __syncwarp();
    Format top, bottom;
    top.load(stages[at][g] + top_start, q);
    bottom.load(stages[at][g + 8] + bottom_start, q);
    float of_run[kTiles][2];
    if constexpr (Format::kScaled) {
      multiply_scaled<Format, kTiles>(of_run, top, bottom, tokens, run);
    } else {
      const int left = static_cast<int>(p.w.in) - run * kCols;
      multiply_plain<Format, kTiles>(of_run, top, bottom, tokens, run, left / 32);
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const float scale = __ldg(&tokens.at(tile * kTileTokens + q, run).scale);
      sums[tile][0] = fmaf(of_run[tile][0], scale, sums[tile][0]);
      sums[tile][1] = fmaf(of_run[tile][1], scale, sums[tile][1]);
    }
    __syncwarp();
    if (run + kStages * kWarps < runs) feed.fetch(stages[at]);
    copies_issued();
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    parts[warp][g][tile * kTileTokens + q] = sums[tile][0];
    parts[warp][g + 8][tile * kTileTokens + q] = sums[tile][1];
  }
  add_parts(p, work, parts, kTiles * kTileTokens);
}

template <typename Format, int kTiles>
void launch(const Product& p, int depth, const TokenRun* tokens, cudaStream_t stream) {
  constexpr int kBytes = kWarps * kStages * sizeof(Stage<Format>);
  const auto kernel = blocks_kernel<Format, kTiles>;
  static const cudaError_t kAllowed = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  (void)kAllowed;
  const int64_t rows = p.x.rows;
  const dim3 grid(static_cast<unsigned>(blocks_for(p.w.out, kRows)),
                  static_cast<unsigned>(p.ids != nullptr ? rows : blocks_for(rows, kTokens)),
                  static_cast<unsigned>(depth));
  kernel<<<grid, kThreads, kBytes, stream>>>(p, tokens);
}

template <typename Format>
void launch_format(const Product& p, int depth, std::byte* scratch, cudaStream_t stream) {
  const int runs = blocks_for(p.w.in, kCols), inputs = p.in_step > 0 ? depth : 1;
  auto* tokens = reinterpret_cast<TokenRun*>(scratch);
  const int64_t at_once = kMaxPartsBytes / (int64_t{runs} * inputs * static_cast<int64_t>(sizeof(TokenRun)));
  for (int64_t t = 0; t < p.x.rows; t += at_once) {
    Product some = p;
    some.x.rows = some.y.rows = std::min(at_once, p.x.rows - t);
    some.x.data = static_cast<float*>(p.x.data) + t * p.x.stride;
    some.y.data = static_cast<float*>(p.y.data) + t * p.y.stride;
    if (p.ids != nullptr) some.ids = p.ids + t * p.ids_stride;
    const dim3 grid(static_cast<unsigned>(blocks_for(runs, kWarps)), static_cast<unsigned>(some.x.rows),
                    static_cast<unsigned>(inputs));
    tokens_kernel<Format::kScaled><<<grid, kThreads, 0, stream>>>(some, tokens, runs);
    if (p.ids != nullptr || some.x.rows <= kTileTokens) {
      launch<Format, 1>(some, depth, tokens, stream);
    } else {
      launch<Format, 2>(some, depth, tokens, stream);
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
