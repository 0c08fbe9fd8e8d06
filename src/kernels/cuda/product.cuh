// What products with few tokens share: which rows and tokens a block works on, and how its warps' sums become one.
#pragma once

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/product_many.h"

namespace arc::cuda {

inline constexpr int kWarps = kChains, kThreads = kWarps * kWarp;
inline constexpr int kRows = 16, kTokens = 8;  // of a product

// Rows of x, matrices and columns of y that a block works on; z counts heads, or choices of experts.
struct Product {
  MatrixView w;
  int64_t row_bytes = 0;
  Rows x, y;
  int32_t in_step = 0, out_step = 0;  // columns of x and y per z
  const int32_t* ids = nullptr;       // [T, ids_stride] of experts: one token a block
  int64_t ids_stride = 0;
  int32_t first_expert = 0;
  bool x_aligned = false;  // eight neighbours of x are two whole loads of 16 bytes
};

// Plain weights in linear.cu, block codes in product_blocks.cu: `depth` values of z. `scratch` has kPromptBytes.
void product_blocks(const Product& p, int depth, std::byte* scratch, cudaStream_t stream);

// grid: (blocks of 16 rows, tokens / (8 tiles), z).
struct Grid {
  int tiles = 1;
  dim3 blocks;

  Grid(const Product& p, int depth) {
    const int64_t tokens = p.x.rows;
    if (p.ids == nullptr) tiles = tokens <= kTokens ? 1 : tokens <= 2 * kTokens ? 2 : 4;
    blocks = dim3(static_cast<unsigned>(blocks_for(p.w.out, kRows)),
                  static_cast<unsigned>(p.ids != nullptr ? tokens : blocks_for(tokens, tiles * kTokens)),
                  static_cast<unsigned>(depth));
  }
};

// A block's share.
struct Work {
  using Call = Product;
  int64_t row, first_token, n_tokens, matrix;
  int z;
  bool elsewhere;  // an expert of another shard

  __device__ __forceinline__ Work(const Product& p, int tiles) {
    z = blockIdx.z;
    row = static_cast<int64_t>(blockIdx.x) * kRows;
    first_token = static_cast<int64_t>(blockIdx.y) * tiles * kTokens;
    n_tokens = p.x.rows - first_token;
    matrix = z;
    if (p.ids != nullptr) {
      first_token = blockIdx.y;
      n_tokens = 1;
      matrix = p.ids[first_token * p.ids_stride + z] - p.first_expert;
    }
    elsewhere = matrix < 0 || matrix >= p.w.count;
  }
  // What the matrix meets of the token that lane 4 g + c has in a tile of kTokens, and where sums of token i go.
  __device__ __forceinline__ const float* x_row(const Product& p, int tile, int g) const {
    return p.x.row(first_token + tile * kTokens + g) + z * p.in_step;
  }
  __device__ __forceinline__ float* y_row(const Product& p, int64_t i) const {
    return p.y.row(first_token + i) + z * p.out_step;
  }
  // Weight row `i` of the block; the matrix's last one where there are fewer.
  __device__ __forceinline__ const uint8_t* weights_of(const Product& p, int i) const {
    const int64_t in_all = (elsewhere ? 0 : matrix) * p.w.out + min(row + i, p.w.out - 1);
    return static_cast<const uint8_t*>(p.w.data) + in_all * p.row_bytes;
  }
};

template <int kTiles>
using Parts = float[kWarps][kRows][kTiles * kTokens + 1];

// Writes a block's rows of `n_tokens` tokens: sum(row, token), and the bias.
template <typename AnyWork, typename Sum>
__device__ __forceinline__ void store_rows(const typename AnyWork::Call& p, const AnyWork& work, int n_tokens,
                                           const Sum& sum) {
  for (int i = threadIdx.x; i < kRows * n_tokens; i += kThreads) {
    const int r = i % kRows, t = i / kRows;
    if (work.row + r >= p.w.out || t >= work.n_tokens) continue;
    float y = sum(r, t);
    if (p.w.bias != nullptr && !work.elsewhere) y += p.w.bias[work.matrix * p.w.out + work.row + r];
    work.y_row(p, t)[work.row + r] = y;
  }
}

// Adds the warps' sums in order: rows g, g + 8 of tokens 2 c, 2 c + 1 of each tile.
template <int kTiles, typename AnyWork>
__device__ __forceinline__ void store_sums(const typename AnyWork::Call& p, const AnyWork& work,
                                           const float (&sums)[kTiles][4], Parts<kTiles>& parts) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, c = lane % 4;
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) parts[warp][g + i / 2 * 8][tile * kTokens + 2 * c + i % 2] = sums[tile][i];
  }
  __syncthreads();
  store_rows(p, work, kTiles * kTokens, [&](int r, int t) {
    float sum = 0.0f;
    for (int w = 0; w < kWarps; ++w) sum += parts[w][r][t];
    return sum;
  });
}

}  // namespace arc::cuda
