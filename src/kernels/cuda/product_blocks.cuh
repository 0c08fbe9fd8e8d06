// What products of block codes with few and with many tokens share: tokens taken apart, copies of weights to shared
// memory, sums in order.
#pragma once

#include <algorithm>

#include "kernels/cuda/block_codes.cuh"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/product.cuh"
#include "kernels/cuda/scratch.h"

namespace arc::cuda::blocks {

inline constexpr int kStages = 2;      // runs of a warp in shared memory
inline constexpr int kTileTokens = 4;  // of a product

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

// ---- sums ----------------------------------------------------------------------------------------------------------

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

// The sum of chains [first, first + n), in order.
template <typename Chain>
__device__ __forceinline__ float add_in_order(int first, int n, const Chain& chain) {
  float sum = 0.0f;
  for (int i = first; i < first + n; ++i) sum += chain(i);
  return sum;
}

// ---- launches ------------------------------------------------------------------------------------------------------

// On sm_90 before the kernel in front of it has ended, for which it waits by itself.
template <typename... Args>
void start(void (*kernel)(Args...), dim3 grid, int bytes, cudaStream_t stream, Args... args) {
  cudaLaunchAttribute early{.id = cudaLaunchAttributeProgrammaticStreamSerialization};
  early.val.programmaticStreamSerializationAllowed = 1;
  const cudaLaunchConfig_t config{.gridDim = grid,
                                  .blockDim = dim3(kThreads),
                                  .dynamicSmemBytes = static_cast<size_t>(bytes),
                                  .stream = stream,
                                  .attrs = &early,
                                  .numAttrs = is_hopper() ? 1u : 0u};
  cudaLaunchKernelEx(&config, kernel, args...);
}

inline unsigned size_of(int64_t n) {
  return static_cast<unsigned>(n);
}

template <bool kScaled, int kTiles>
void take_apart(const Product& p, int inputs, std::byte* to, cudaStream_t stream) {
  const int runs = blocks_for(p.w.in, kCols);
  const dim3 grid(size_of(blocks_for(runs, kWarps)), size_of(p.x.rows), size_of(inputs));
  start(tokens_kernel<kScaled, kTiles>, grid, 0, stream, p, to, runs);
}

// Rows [begin, end) of x and y.
inline Product rows_between(Product p, int64_t begin, int64_t end) {
  p.x.rows = p.y.rows = end - begin;
  p.x.data = static_cast<float*>(p.x.data) + begin * p.x.stride;
  p.y.data = static_cast<float*>(p.y.data) + begin * p.y.stride;
  if (p.ids != nullptr) p.ids += begin * p.ids_stride;
  return p;
}

// Products of more than kTokens tokens, none of them routed; false: they are not made here.
bool product_many_tokens(const Product& p, std::byte* scratch, cudaStream_t stream);

}  // namespace arc::cuda::blocks
