// Products of bf16 weights with many tokens: tiles of weights and tokens in shared memory, a ring of copies ahead.
//
// The order of a row's sum is that of linear.cu: kChains chains of runs of kRun columns, added in order. One block
// walks all chains, or each has a block of its own whose sums are added afterwards: the same bits. Tokens are taken
// apart in two bf16 beforehand.
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/product_many.h"
#include "kernels/cuda/scratch.h"
#include "kernels/cuda/tensor_core.cuh"

namespace arc::cuda {
namespace {

constexpr int kWarps = 8, kThreads = kWarps * kWarp;
constexpr int kRows = 128;          // weight rows of a block
constexpr int kColTiles = 4;        // tiles of 8 tokens of a warp
constexpr int kChunks = kRun / 8;   // 16-byte pieces of a row of a run
constexpr int64_t kFewTiles = 400;  // fewer blocks than this get a chain each

struct Call {
  const __nv_bfloat16* weights = nullptr;  // [out, in]
  const float* bias = nullptr;
  int64_t out = 0, in = 0;
  Rows x, y;
  __nv_bfloat16 *high = nullptr, *low = nullptr;  // [T, in]
  float* parts = nullptr;                         // [kChains, T, out]; null: one block walks all chains
};

// A row of a run in shared memory: see place() in attention_tile.cuh.
__device__ __forceinline__ int place(int row, int chunk) {
  return row * kChunks + (chunk ^ ((row & 1) << 2 | (row >> 1 & 3)));
}

// Walks the runs of chains [first, last).
struct Walk {
  int chain, last, run, runs;

  __device__ Walk(int first, int last, int runs) : chain(first), last(last), run(first), runs(runs) { skip_empty(); }
  __device__ bool done() const { return chain >= last; }
  __device__ void next() {
    run += kChains;
    skip_empty();
  }

 private:
  __device__ void skip_empty() {
    while (chain < last && run >= runs) run = ++chain;
  }
};

template <int kTokens>
struct Stage {
  uint4 weights[kRows * kChunks], high[kTokens * kChunks], low[kTokens * kChunks];
};

template <int kTokens>
__device__ __forceinline__ void fetch(const Call& c, int64_t row, int64_t token, int run, Stage<kTokens>& stage) {
#pragma unroll
  for (int i = 0; i < kRows * kChunks / kThreads; ++i) {
    const int at = threadIdx.x + i * kThreads, r = at / kChunks, chunk = at % kChunks;
    const int64_t k = static_cast<int64_t>(run) * kRun + chunk * 8;
    const bool real = row + r < c.out && k < c.in;
    copy_async16(stage.weights + place(r, chunk), real ? c.weights + (row + r) * c.in + k : c.weights, real);
  }
#pragma unroll
  for (int i = 0; i < kTokens * kChunks / kThreads; ++i) {
    const int at = threadIdx.x + i * kThreads, t = at / kChunks, chunk = at % kChunks;
    const int64_t k = static_cast<int64_t>(run) * kRun + chunk * 8;
    const bool real = token + t < c.x.rows && k < c.in;
    const int64_t from = real ? (token + t) * c.in + k : 0;
    copy_async16(stage.high + place(t, chunk), c.high + from, real);
    copy_async16(stage.low + place(t, chunk), c.low + from, real);
  }
}

// chain += weights * tokens of one run, for a warp's tiles of 16 rows from first_row on and of 8 tokens from first_col
// on.
template <int kRowTiles, int kTokens>
__device__ __forceinline__ void multiply_run(float (&chain)[kRowTiles][kColTiles][4], const Stage<kTokens>& stage,
                                             int first_row, int first_col, int lane) {
  const int g = lane / 4, quad = lane % 4;
#pragma unroll
  for (int half = 0; half < kRun / 32; ++half) {
    uint4 top[kRowTiles], bottom[kRowTiles];
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      top[i] = stage.weights[place(first_row + i * 16 + g, half * 4 + quad)];
      bottom[i] = stage.weights[place(first_row + i * 16 + g + 8, half * 4 + quad)];
    }
#pragma unroll
    for (int j = 0; j < kColTiles; ++j) {
      const uint4 high = stage.high[place(first_col + j * 8 + g, half * 4 + quad)];
      const uint4 low = stage.low[place(first_col + j * 8 + g, half * 4 + quad)];
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        const uint32_t left[4] = {top[i].x, bottom[i].x, top[i].y, bottom[i].y};
        const uint32_t right[4] = {top[i].z, bottom[i].z, top[i].w, bottom[i].w};
        multiply_add(chain[i][j], left, high.x, high.y);
        multiply_add(chain[i][j], left, low.x, low.y);
        multiply_add(chain[i][j], right, high.z, high.w);
        multiply_add(chain[i][j], right, low.z, low.w);
      }
    }
  }
}

// grid: (tiles of tokens, tiles of rows, kChains or 1). Neighbouring blocks share weights.
template <int kTokens, int kStages>
__global__ void __launch_bounds__(kThreads) many_kernel(Call c) {
  constexpr int kWarpCols = kTokens / (kColTiles * 8), kRowTiles = kRows / 16 / (kWarps / kWarpCols);
  extern __shared__ __align__(128) std::byte memory[];
  auto* stages = reinterpret_cast<Stage<kTokens>*>(memory);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, quad = lane % 4;
  const int64_t row = static_cast<int64_t>(blockIdx.y) * kRows, token = static_cast<int64_t>(blockIdx.x) * kTokens;
  const int first_row = warp / kWarpCols * kRowTiles * 16, first_col = warp % kWarpCols * kColTiles * 8;
  const int runs = static_cast<int>((c.in + kRun - 1) / kRun);
  const int first = c.parts == nullptr ? 0 : blockIdx.z, last = c.parts == nullptr ? kChains : first + 1;
  Walk ahead(first, last, runs), now(first, last, runs);
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) {
    if (!ahead.done()) {
      fetch(c, row, token, ahead.run, stages[i]);
      ahead.next();
    }
    copies_issued();
  }

  float sums[kRowTiles][kColTiles][4] = {}, chain[kRowTiles][kColTiles][4] = {};
  for (int at = 0; !now.done(); at = at + 1 == kStages ? 0 : at + 1) {
    copies_arrived<kStages - 2>();
    __syncthreads();  // this run is there for all, and the last one is used up
    if (!ahead.done()) {
      fetch(c, row, token, ahead.run, stages[at == 0 ? kStages - 1 : at - 1]);
      ahead.next();
    }
    copies_issued();
    multiply_run<kRowTiles>(chain, stages[at], first_row, first_col, lane);
    const int finished = now.chain;
    now.next();
    if (now.chain == finished) continue;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int j = 0; j < kColTiles; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          sums[i][j][e] += chain[i][j][e];
          chain[i][j][e] = 0.0f;
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int j = 0; j < kColTiles; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int64_t r = row + first_row + i * 16 + g + e / 2 * 8, t = token + first_col + j * 8 + 2 * quad + e % 2;
        if (r >= c.out || t >= c.x.rows) continue;
        if (c.parts != nullptr) {
          c.parts[(first * c.x.rows + t) * c.out + r] = sums[i][j][e];
        } else {
          c.y.row(t)[r] = c.bias != nullptr ? sums[i][j][e] + c.bias[r] : sums[i][j][e];
        }
      }
    }
  }
}

// Takes tokens apart. grid: (eights of columns, T).
__global__ void __launch_bounds__(kThreads) split_kernel(Call c) {
  const int64_t k = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 8, t = blockIdx.y;
  if (k >= c.in) return;
  float v[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] = c.x.row(t)[k + i];
  const Split s = split(v);
  *reinterpret_cast<uint4*>(c.high + t * c.in + k) = {s.high[0], s.high[1], s.high[2], s.high[3]};
  *reinterpret_cast<uint4*>(c.low + t * c.in + k) = {s.low[0], s.low[1], s.low[2], s.low[3]};
}

// Adds the chains' sums. grid: (runs of rows, T).
__global__ void __launch_bounds__(kThreads) add_kernel(Call c) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, t = blockIdx.y;
  if (r >= c.out) return;
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kChains; ++i) sum += c.parts[(i * c.x.rows + t) * c.out + r];
  c.y.row(t)[r] = c.bias != nullptr ? sum + c.bias[r] : sum;
}

template <int kTokens, int kStages>
void start(const Call& c, cudaStream_t stream) {
  constexpr int kBytes = kStages * sizeof(Stage<kTokens>);
  static const cudaError_t kAllowed =
      cudaFuncSetAttribute(many_kernel<kTokens, kStages>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  (void)kAllowed;
  const dim3 grid(static_cast<unsigned>(blocks_for(c.x.rows, kTokens)), static_cast<unsigned>(blocks_for(c.out, kRows)),
                  c.parts == nullptr ? 1 : kChains);
  many_kernel<kTokens, kStages><<<grid, kThreads, kBytes, stream>>>(c);
}

}  // namespace

bool fits_many(const MatrixView& w, int64_t tokens) {
  return tokens > kManyTokens && w.count == 1 && w.in <= (1 << 16) && w.format == WeightFormat::plain(DType::bf16) &&
         w.in % 8 == 0;
}

void product_many(const MatrixView& w, const TensorView& x, const TensorView& y, std::byte* scratch,
                  cudaStream_t stream) {
  Call c{.weights = static_cast<const __nv_bfloat16*>(w.data), .bias = w.bias, .out = w.out, .in = w.in};
  const int64_t at_once = std::min(x.rows, kMaxPartsBytes / (w.in * 4) / kRows * kRows);
  for (int64_t t = 0; t < x.rows; t += at_once) {
    const int64_t n = std::min(at_once, x.rows - t), split_bytes = (n * w.in * 4 + 255) / 256 * 256;
    c.x = Rows(x), c.y = Rows(y);
    c.x.data = x.row<float>(t), c.y.data = y.row<float>(t);
    c.x.rows = c.y.rows = n;
    c.high = reinterpret_cast<__nv_bfloat16*>(scratch);
    c.low = c.high + n * w.in;
    const bool few = blocks_for(w.out, kRows) * blocks_for(n, 64) < kFewTiles;
    const bool fits = split_bytes + kChains * n * w.out * 4 <= kMaxPartsBytes;
    c.parts = few && fits ? reinterpret_cast<float*>(scratch + split_bytes) : nullptr;
    const dim3 eights(static_cast<unsigned>(blocks_for(w.in, kThreads * 8)), static_cast<unsigned>(n));
    split_kernel<<<eights, kThreads, 0, stream>>>(c);
    if (n <= 64) {
      start<64, 6>(c, stream);
    } else {
      start<128, 4>(c, stream);
    }
    if (c.parts == nullptr) continue;
    const dim3 sums(static_cast<unsigned>(blocks_for(w.out, kThreads)), static_cast<unsigned>(n));
    add_kernel<<<sums, kThreads, 0, stream>>>(c);
  }
}

}  // namespace arc::cuda
