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
constexpr int kTileTokens = 4;       // of a product
constexpr int kGroup = 32;           // tokens of a block that has many
constexpr int kFewManyBlocks = 128;  // fewer than this get a chain each

// ---- tokens --------------------------------------------------------------------------------------------------------

// Takes tokens apart, a warp a run. kScaled: as formats have it. grid: (runs / kWarps, T, inputs of a token).
template <bool kScaled>
__global__ void __launch_bounds__(kThreads) tokens_kernel(const __grid_constant__ Product p, TokenRun* to, int runs) {
  asm volatile("griddepcontrol.launch_dependents;");  // the product may ask for its first weights
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
    x[i] = k >= p.w.in   ? float4{}
           : p.x_aligned ? *reinterpret_cast<const float4*>(at)
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

// By products, which start before tokens_kernel has ended.
__device__ __forceinline__ void await_tokens() {
  asm volatile("griddepcontrol.wait;" ::: "memory");
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
// Of kM times 16 rows.
template <typename Format, int kM>
using Stage = uint8_t[kM * kRows][kChunks<Format> * 16];

// Asks for runs of kM times 16 rows of a matrix, for a warp; behind the matrix's end rows are zeros.
template <typename Format, int kM>
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
  // A run of the rows from kM * 16 * tile on.
  __device__ __forceinline__ void fetch(Stage<Format, kM>& to, int tile, int run) const {
    const int begin = run * Format::kBytes, skew = skew_of(run), bytes = min(row_bytes_ - begin, Format::kBytes);
    const int end = min(n_ - tile * kM * kRows, kM * kRows) * row_bytes_;
    const uint8_t* from = rows_ + static_cast<int64_t>(tile) * kM * kRows * row_bytes_ + begin - skew;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (lane + i * kWarp >= kM * kRows * kChunks<Format>) break;
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
  static constexpr int kEach = (kM * kRows * kChunks<Format> + kWarp - 1) / kWarp;

  __device__ __forceinline__ int skew_of(int run) const {
    return Format::kAligned ? 0 : (static_cast<int>(reinterpret_cast<uintptr_t>(rows_)) + run * Format::kBytes) & 15;
  }

  const uint8_t* rows_;
  int row_bytes_, n_;
  int chunks_[kEach], offsets_[kEach];
};

// ---- products ------------------------------------------------------------------------------------------------------

// Sums of a warp: rows g and g + 8 of each 16, token q of each tile.
template <int kM, int kTiles>
using Sums = float[kM][kTiles][2];

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

// Adds a run's products, of codes that are multiplied with their groups' scales; rows[.][0] is row g, rows[.][1] g + 8.
template <typename Format, int kM, int kTiles>
__device__ __forceinline__ void add_scaled(Sums<kM, kTiles>& sums, Format (&rows)[kM][2], const Tokens& tokens,
                                           int run) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, q = lane % 4;
  float products[kM][kTiles][4] = {};
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    uint32_t steps[kM][2][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) set_steps(steps[m], rows[m][0].get(i), rows[m][1].get(i));
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint4 x = tokens.at(tile * kTileTokens + g / 2, run).pieces[i][g % 2][q];
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        multiply_add_halves(products[m][tile], steps[m][0], x.x, x.y, products[m][tile]);
        multiply_add_halves(products[m][tile], steps[m][1], x.z, x.w, products[m][tile]);
      }
    }
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const auto* pairs = reinterpret_cast<const uint32_t*>(tokens.at(tile * kTileTokens + g / 2, run).sums[g % 2]);
    const uint32_t x = pairs[q];
    const float scale = tokens.at(tile * kTileTokens + q, run).scale;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      const Format &top = rows[m][0], &bottom = rows[m][1];
      float minima[4], sum[2] = {};
      multiply_add_halves(minima, {top.minima, bottom.minima, 0, 0}, x, 0, {});
      scale_up(sum, products[m][tile], top.scale(), bottom.scale());
      scale_up(sum, minima, -top.minimum_scale() / kSumScale, -bottom.minimum_scale() / kSumScale);
#pragma unroll
      for (int e = 0; e < 2; ++e) sums[m][tile][e] = fmaf(sum[e], scale, sums[m][tile][e]);
    }
  }
}

// Likewise where 16 or 32 columns share a scale; of the run's pieces `n` are real.
template <typename Format, int kM, int kTiles>
__device__ __forceinline__ void add_plain(Sums<kM, kTiles>& sums, Format (&rows)[kM][2], const Tokens& tokens, int run,
                                          int n) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, q = lane % 4;
  constexpr int kLast = Format::kScaleOf16 ? 1 : 0;
  float of_run[kM][kTiles][2] = {};
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    uint32_t steps[kM][2][4];
    float scales[kM][2][2];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      const Piece top = rows[m][0].get(i), bottom = rows[m][1].get(i);
      set_steps(steps[m], top, bottom);
      const bool real = Format::kWhole || i < n;  // else its tokens are zeros
#pragma unroll
      for (int s = 0; s <= kLast; ++s) {
        scales[m][s][0] = real ? top.scale[s] : 0.0f;
        scales[m][s][1] = real ? bottom.scale[s] : 0.0f;
      }
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const uint4 x = tokens.at(tile * kTileTokens + g / 2, run).pieces[i][g % 2][q];
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        float products[4];
        multiply_add_halves(products, steps[m][0], x.x, x.y, {});
        if constexpr (Format::kScaleOf16) {
          scale_up(of_run[m][tile], products, scales[m][0][0], scales[m][0][1]);
          multiply_add_halves(products, steps[m][1], x.z, x.w, {});
        } else {
          multiply_add_halves(products, steps[m][1], x.z, x.w, products);
        }
        scale_up(of_run[m][tile], products, scales[m][kLast][0], scales[m][kLast][1]);
      }
    }
  }
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const float scale = tokens.at(tile * kTileTokens + q, run).scale;
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        sums[m][tile][e] = fmaf(__fmul_rn(of_run[m][tile][e], rows[m][e].scale()), scale, sums[m][tile][e]);
      }
    }
  }
}

// Adds the products of a run that lies in a stage.
template <typename Format, int kM, int kTiles>
__device__ __forceinline__ void add_run(Sums<kM, kTiles>& sums, const Stage<Format, kM>& stage,
                                        const Feed<Format, kM>& feed, const Tokens& tokens, int run, int64_t in) {
  const int lane = threadIdx.x % kWarp, g = lane / 4, q = lane % 4;
  Format rows[kM][2];
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int row = m * kRows + e * 8 + g;
      rows[m][e].load(stage[row] + feed.start(row, run), q);
    }
  }
  if constexpr (Format::kScaled) {
    add_scaled<Format, kM, kTiles>(sums, rows, tokens, run);
  } else {
    add_plain<Format, kM, kTiles>(sums, rows, tokens, run, (static_cast<int>(in) - run * kCols) / 32);
  }
}

// In which order a warp takes runs. With few tokens: of every `step`-th tile of rows those of its chain, which has
// some.
struct TileWalk {
  int outer, last, step, first, runs, run;

  __device__ bool done() const { return outer >= last; }
  __device__ int tile() const { return outer; }
  __device__ void next() {
    run += kWarps;
    if (run >= runs) run = first, outer += step;
  }
};
// With many: of its rows those of each chain, up to `last`.
struct ChainWalk {
  int outer, last, runs, run;

  __device__ bool done() const { return outer >= last || run >= runs; }
  __device__ int tile() const { return 0; }
  __device__ void next() {
    run += kWarps;
    if (run >= runs) run = ++outer;
  }
};

// Adds up runs and calls done(tile or chain, sums) behind each tile or chain.
template <typename Format, int kM, int kTiles, typename Walk, typename Done>
__device__ __forceinline__ void add_runs(Walk now, const Feed<Format, kM>& feed, Stage<Format, kM>* stages,
                                         const Tokens& tokens, int64_t in, const Done& done) {
  Walk ahead = now;
  const auto fetch = [&](int stage) {
    if (!ahead.done()) {
      feed.fetch(stages[stage], ahead.tile(), ahead.run);
      ahead.next();
    }
    copies_issued();
  };
#pragma unroll
  for (int i = 0; i < kStages; ++i) fetch(i);
  await_tokens();
  Sums<kM, kTiles> sums = {};
  for (int at = 0; !now.done(); at = at + 1 == kStages ? 0 : at + 1) {
    copies_arrived<kStages - 1>();
    __syncwarp();
    add_run<Format, kM, kTiles>(sums, stages[at], feed, tokens, now.run, in);
    __syncwarp();
    fetch(at);
    const int finished = now.outer;
    now.next();
    if (now.outer == finished) continue;
    done(finished, sums);
#pragma unroll
    for (int m = 0; m < kM; ++m) {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) sums[m][tile][0] = sums[m][tile][1] = 0.0f;
    }
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
constexpr int kFewBytes = kWarps * kStages * sizeof(Stage<Format, 1>);

template <typename Format, int kTiles>
__global__ void __launch_bounds__(kThreads, kTiles == 1 && kFewBytes<Format> <= 64 << 10 ? 3 : 2)
    few_kernel(const __grid_constant__ Product p, const TokenRun* token_runs) {
  extern __shared__ __align__(16) uint8_t memory[];
  __shared__ float parts[2][kWarps][kRows][kTiles * kTileTokens + 1];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, q = lane % 4;
  const int runs = static_cast<int>((p.w.in + kCols - 1) / kCols),
            row_tiles = static_cast<int>((p.w.out - 1) / kRows) + 1;
  Work work(p, 1);
  const int64_t first = (p.in_step > 0 ? work.z * p.x.rows : 0) + work.first_token;
  const Tokens tokens{token_runs + first * runs, runs,
                      static_cast<int>(min(work.n_tokens, int64_t{kTiles * kTileTokens}))};
  int which = 0;  // of two, so that a warp may write while another reads
  const auto finish = [&](int row_tile, const Sums<1, kTiles>& sums) {
    auto& part = parts[which];
    which ^= 1;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      part[warp][g][tile * kTileTokens + q] = sums[0][tile][0];
      part[warp][g + 8][tile * kTileTokens + q] = sums[0][tile][1];
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
    await_tokens();
    for (int tile = begin; tile < row_tiles; tile += step) finish(tile, {});
    return;
  }
  work.row = 0;
  const Feed<Format, 1> feed(work.weights_of(p, 0), p.row_bytes, p.w.out);
  auto* stages = reinterpret_cast<Stage<Format, 1>*>(memory) + warp * kStages;
  const TileWalk walk{begin, row_tiles, step, warp, runs, warp};
  add_runs<Format, 1, kTiles>(walk, feed, stages, tokens, p.w.in, finish);
}

// Many tokens: a warp has 32 rows, and the block's share of the chains. parts: [shares, T, out], shares 2 or kWarps.
// grid: (blocks of 256 rows, tokens / (4 kTiles), shares).
constexpr int kManyRows = 2;  // times 16, of a warp

template <typename Format, int kTiles>
__global__ void __launch_bounds__(kThreads, 1)
    many_kernel(const __grid_constant__ Product p, const TokenRun* token_runs, float* parts) {
  extern __shared__ __align__(16) uint8_t memory[];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, q = lane % 4;
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * kWarps + warp) * kManyRows * kRows;
  if (row >= p.w.out) return;
  const int64_t first_token = static_cast<int64_t>(blockIdx.y) * kTiles * kTileTokens;
  const int runs = static_cast<int>((p.w.in + kCols - 1) / kCols);
  const Tokens tokens{token_runs + first_token * runs, runs,
                      static_cast<int>(min(p.x.rows - first_token, int64_t{kTiles * kTileTokens}))};
  const int64_t left = p.w.out - row;
  const Feed<Format, kManyRows> feed(static_cast<const uint8_t*>(p.w.data) + row * p.row_bytes, p.row_bytes, left);
  auto* stages = reinterpret_cast<Stage<Format, kManyRows>*>(memory) + warp * kStages;
  const int share = kWarps / static_cast<int>(gridDim.z), first = static_cast<int>(blockIdx.z) * share;
  Sums<kManyRows, kTiles> all = {};
  const auto add = [&](int, const Sums<kManyRows, kTiles>& sums) {
#pragma unroll
    for (int m = 0; m < kManyRows; ++m) {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        all[m][tile][0] += sums[m][tile][0];
        all[m][tile][1] += sums[m][tile][1];
      }
    }
  };
  const ChainWalk walk{first, first + share, runs, first};
  add_runs<Format, kManyRows, kTiles>(walk, feed, stages, tokens, p.w.in, add);
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const int t = tile * kTileTokens + q;
    if (t >= tokens.n) break;
    float* to = parts + (static_cast<int64_t>(blockIdx.z) * p.x.rows + first_token + t) * p.w.out + row;
#pragma unroll
    for (int i = 0; i < kManyRows * 2; ++i) {
      if (g + 8 * i < left) to[g + 8 * i] = all[i / 2][tile][i % 2];
    }
  }
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

// Behind tokens_kernel, which need not have ended.
template <typename... Args>
void start(void (*kernel)(Args...), dim3 grid, int bytes, cudaStream_t stream, Args... args) {
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
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

int many_row_blocks(const Product& p) {
  return blocks_for(p.w.out, kWarps * kManyRows * kRows);
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
  // Blocks that walk equally far; where there are other ones beside them, shorter ways.
  const int blocks = static_cast<int>(others == 1 ? kAtOnce : (4 * kAtOnce + others - 1) / others);
  const int far = blocks_for(row_tiles, blocks);
  start(few_kernel<Format, kTiles>, dim3(size_of(blocks_for(row_tiles, far)), size_of(groups), size_of(depth)), kBytes,
        stream, p, tokens);
}

template <typename Format, int kTiles>
void start_many(const Product& p, const TokenRun* tokens, float* parts, int shares, cudaStream_t stream) {
  constexpr int kBytes = kWarps * kStages * sizeof(Stage<Format, kManyRows>);
  const dim3 grid(size_of(many_row_blocks(p)), size_of(blocks_for(p.x.rows, kTiles * kTileTokens)), size_of(shares));
  start(many_kernel<Format, kTiles>, grid, kBytes, stream, p, tokens, parts);
  const dim3 rows(size_of(blocks_for(p.w.out, kThreads)), size_of(p.x.rows));
  add_kernel<<<rows, kThreads, 0, stream>>>(p, parts, shares);
}

template <typename Format>
void launch_format(const Product& p, int depth, std::byte* scratch, cudaStream_t stream) {
  const int runs = blocks_for(p.w.in, kCols), inputs = p.in_step > 0 ? depth : 1;
  auto* tokens = reinterpret_cast<TokenRun*>(scratch);
  auto* parts = reinterpret_cast<float*>(scratch + kMaxPartsBytes);
  int64_t at_once = kMaxPartsBytes / (int64_t{runs} * inputs * static_cast<int64_t>(sizeof(TokenRun)));
  const int shares = many_row_blocks(p) * blocks_for(p.x.rows, kGroup) < kFewManyBlocks ? kWarps : 2;
  const int64_t many_at_once = std::min(at_once, kMaxPartsBytes / (p.w.out * 4 * shares)) / kGroup * kGroup;
  const bool many = p.x.rows > kTokens && p.ids == nullptr && depth == 1 && many_at_once > 0;
  if (many) at_once = many_at_once;
  for (int64_t t = 0; t < p.x.rows; t += at_once) {
    Product some = p;
    some.x.rows = some.y.rows = std::min(at_once, p.x.rows - t);
    some.x.data = static_cast<float*>(p.x.data) + t * p.x.stride;
    some.y.data = static_cast<float*>(p.y.data) + t * p.y.stride;
    if (p.ids != nullptr) some.ids = p.ids + t * p.ids_stride;
    const int64_t n = some.x.rows;
    const dim3 grid(size_of(blocks_for(runs, kWarps)), size_of(n), size_of(inputs));
    tokens_kernel<Format::kScaled><<<grid, kThreads, 0, stream>>>(some, tokens, runs);
    if (p.ids != nullptr || n <= kTileTokens) {
      start_few<Format, 1>(some, depth, tokens, stream);
    } else if (!many || n <= kTokens) {
      start_few<Format, 2>(some, depth, tokens, stream);
    } else if (n <= kGroup / 2) {
      start_many<Format, 4>(some, tokens, parts, shares, stream);
    } else {
      start_many<Format, 8>(some, tokens, parts, shares, stream);
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
