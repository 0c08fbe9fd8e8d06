// Products of tokens and weights of bf16 on sm_90: tiles of both in shared memory, kept full by a warp that only asks
// for copies, multiplied by two warpgroups. A Deal says which tiles a block takes, and where their sums go.
//
// A sum runs through a row's columns in order, 16 at a time, whatever the tile: it depends on the weight's width alone.
#pragma once

#include <algorithm>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/hopper.cuh"

namespace arc::cuda::prompt_product {

inline constexpr int kTokens = 128;     // of a block's tile, 64 for each warpgroup that multiplies
inline constexpr int kDepth = 64;       // columns of a tile: 128 bytes
inline constexpr int kMultipliers = 2;  // warpgroups
inline constexpr int kThreads = (1 + kMultipliers) * kWarpgroup;
inline constexpr int kFeederRegisters = 40, kMultiplierRegisters = 232;

// A tile's weight rows are two halves, `apart` rows from one another: neighbours, or gates and what they are for.
struct Call {
  CUtensorMap x, w;  // tiles of kTokens rows; half a tile
  Rows y;
  int64_t out = 0, in = 0;  // columns of y that a matrix makes, of x
  int32_t apart = 0;
  const float* bias = nullptr;
  bool pairs = false;    // two neighbours of y are one whole store
  bool rounded = false;  // y's rows hold bf16
};

// Where a token's sums go: from column `first` of a row of y on.
struct Target {
  float* row;
  int64_t first;
};

// A Deal(call, columns) walks the tiles of a block, each so many columns of y wide, until it is done(). Of each it says
//   token, n_tokens  its first row of x, and how many there are from that one on
//   row, matrix_row  its first row of the matrix (column of y), and the matrix's first row of all in w
//   target(i)        of its i-th token
// Deal::Call is a Call.

template <int kRows>
struct Stage {
  alignas(1024) __nv_bfloat16 x[kTokens * kDepth];
  __nv_bfloat16 w[kRows * kDepth];
};

template <int kRows, int kStages>
struct Ring {
  Stage<kRows> stages[kStages];
  uint64_t full[kStages], empty[kStages];
};

// What becomes of a sum: nothing more, or a function of it times its partner in the tile's other half.
enum class Gate { none, silu, gelu_tanh };

template <int kRows, Gate kGate>
inline constexpr int kColumnsOf = kGate == Gate::none ? kRows : kRows / 2;

template <typename Deal, int kRows, int kStages, Gate kGate>
__device__ __forceinline__ void feed(const typename Deal::Call& c, Ring<kRows, kStages>& ring) {
  constexpr int kHalf = kRows / 2;
  Cursor cursor;
  for (Deal deal(c, kColumnsOf<kRows, kGate>); !deal.done(); deal.next()) {
    const int token = deal.token(), row = deal.matrix_row() + deal.row();
    for (int k = 0; k < c.in; k += kDepth, cursor.next(kStages)) {
      Stage<kRows>& stage = ring.stages[cursor.at];
      uint64_t* full = &ring.full[cursor.at];
      barrier_wait(&ring.empty[cursor.at], cursor.parity ^ 1);
      barrier_expect(full, sizeof(Stage<kRows>));
      copy_tile(stage.x, c.x, k, token, full);
      copy_tile(stage.w, c.w, k, row, full);
      copy_tile(stage.w + kHalf * kDepth, c.w, k, row + c.apart, full);
    }
  }
}

// `bias` and `row`: of the matrix.
template <int kRows, Gate kGate>
__device__ __forceinline__ void add_bias(const Call& c, float (&sums)[kRows / 8][4], const float* bias, int64_t row) {
#pragma unroll
  for (int j = 0; j < kRows / 8; ++j) {
    const bool second = 2 * j >= kRows / 8;
    const int64_t r = row + 8 * j + threadIdx.x % 4 * 2 + (second ? c.apart - kRows / 2 : 0);
    const int64_t end = kGate == Gate::none || !second ? c.out : c.out + c.apart;
    const float left = r < end ? bias[r] : 0.0f, right = r + 1 < end ? bias[r + 1] : 0.0f;
    sums[j][0] += left, sums[j][1] += right, sums[j][2] += left, sums[j][3] += right;
  }
}

template <typename T>
__device__ __forceinline__ void store_pair(T* y, float2 pair, int64_t r, const Call& c) {
  if (c.pairs && r < c.out) {
    if constexpr (sizeof(T) == 4) *reinterpret_cast<float2*>(y + r) = pair;
    if constexpr (sizeof(T) == 2) *reinterpret_cast<uint32_t*>(y + r) = bf16_pair(pair.x, pair.y);
  } else {
    if (r < c.out) y[r] = static_cast<T>(pair.x);
    if (r + 1 < c.out) y[r + 1] = static_cast<T>(pair.y);
  }
}

// The sums of a warp's 16 tokens, from the tile's `first` on.
template <typename Deal, int kRows, Gate kGate>
__device__ __forceinline__ void store(const typename Deal::Call& c, const Deal& deal, float (&sums)[kRows / 8][4],
                                      int first) {
  constexpr int kN = kColumnsOf<kRows, kGate> / 8;
  const int lane = threadIdx.x % kWarp, g = lane / 4, q = lane % 4;
  const int64_t row = deal.row();
  if (c.bias != nullptr) add_bias<kRows, kGate>(c, sums, c.bias + deal.matrix_row(), row);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int t = first + g + 8 * half;
    if (t >= deal.n_tokens()) return;
    const Target y = deal.target(t);
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      float2 pair = {sums[j][2 * half], sums[j][2 * half + 1]};
      if constexpr (kGate != Gate::none) {
        constexpr ActArgs kAct{.act = kGate == Gate::silu ? Act::silu : Act::gelu_tanh};
        pair.x = activate(kAct, pair.x, sums[j + kN][2 * half]);
        pair.y = activate(kAct, pair.y, sums[j + kN][2 * half + 1]);
      }
      const int64_t r = row + 8 * j + 2 * q;
      if (kGate != Gate::none && c.rounded) {
        store_pair(reinterpret_cast<__nv_bfloat16*>(y.row) + y.first, pair, r, c);
      } else {
        store_pair(y.row + y.first, pair, r, c);
      }
    }
  }
}

// Warpgroup `mine` of those that multiply: 64 tokens of the block's tile, or none.
template <typename Deal, int kRows, int kStages, Gate kGate>
__device__ __forceinline__ void multiply(const typename Deal::Call& c, Ring<kRows, kStages>& ring, int mine) {
  const int warp = threadIdx.x % kWarpgroup / kWarp, lane = threadIdx.x % kWarp;
  const auto release = [&](int at) {
    if (lane == 0) barrier_arrive(&ring.empty[at]);
  };
  Cursor cursor;
  for (Deal deal(c, kColumnsOf<kRows, kGate>); !deal.done(); deal.next()) {
    if (mine * 64 >= deal.n_tokens()) {
      for (int k = 0; k < c.in; k += kDepth, cursor.next(kStages)) {
        barrier_wait(&ring.full[cursor.at], cursor.parity);
        release(cursor.at);
      }
      continue;
    }
    float sums[kRows / 8][4];
    int before = -1;
    for (int k = 0; k < c.in; k += kDepth, cursor.next(kStages)) {
      const Stage<kRows>& stage = ring.stages[cursor.at];
      barrier_wait(&ring.full[cursor.at], cursor.parity);
      products_begin();
      const uint64_t x = tile_descriptor(stage.x + mine * 64 * kDepth), w = tile_descriptor(stage.w);
#pragma unroll
      for (int i = 0; i < kDepth / 16; ++i) multiply_add(sums, x + 2 * i, w + 2 * i, k > 0 || i > 0);
      products_issued();
      products_done<1>();
      if (before >= 0) release(before);
      before = cursor.at;
    }
    products_done<0>();
    settled(sums);
    release(before);
    store<Deal, kRows, kGate>(c, deal, sums, mine * 64 + warp * 16);
    __syncwarp();
  }
}

template <typename Deal, int kRows, int kStages, Gate kGate>
__global__ void __launch_bounds__(kThreads, 1) prompt_kernel(const __grid_constant__ typename Deal::Call c) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) std::byte memory[];
  auto& ring = *reinterpret_cast<Ring<kRows, kStages>*>(memory);
  const int role = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (threadIdx.x == 0) {
    prefetch_map(c.x);
    prefetch_map(c.w);
    for (int i = 0; i < kStages; ++i) {
      barrier_init(&ring.full[i], 1);
      barrier_init(&ring.empty[i], kMultipliers * kWarpgroup / kWarp);
    }
    barriers_are_made();
  }
  __syncthreads();
  if (role == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kFeederRegisters));
    if (threadIdx.x == 0) feed<Deal, kRows, kStages, kGate>(c, ring);
    __syncwarp();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kMultiplierRegisters));
    multiply<Deal, kRows, kStages, kGate>(c, ring, role - 1);
  }
#endif
}

// Eight numbers, rounded.
__device__ __forceinline__ uint4 round8(const float* v) {
  return {bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]), bf16_pair(v[4], v[5]), bf16_pair(v[6], v[7])};
}

// ---- the host's part ----

inline int n_processors() {
  int device = 0, n = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device);
  return n;
}

// What becomes of prompts' rows.
struct Out {
  Rows y;
  bool rounded = false;
};

// Products of x with the matrices of w, for tiles of kRows weight rows.
template <int kRows, Gate kGate>
Call call_of(const MatrixView& w, const Matrix& x, const Out& to) {
  constexpr int kHalf = kRows / 2;
  const int64_t out = kGate == Gate::none ? w.out : w.out / 2;
  const Rows& y = to.y;
  return {.x = tiles(x, kTokens, CU_TENSOR_MAP_L2_PROMOTION_L2_256B),
          .w = tiles({w.data, w.count * w.out, w.in, w.in}, kHalf, CU_TENSOR_MAP_L2_PROMOTION_L2_256B),
          .y = y,
          .out = out,
          .in = w.in,
          .apart = kGate == Gate::none ? kHalf : static_cast<int32_t>(out),
          .bias = w.bias,
          .pairs = y.stride % 2 == 0 && out % 2 == 0 && reinterpret_cast<uintptr_t>(y.data) % 8 == 0,
          .rounded = to.rounded};
}

// At most `units` tiles.
template <typename Deal, int kRows, int kStages, Gate kGate>
void launch(const typename Deal::Call& c, int64_t units, cudaStream_t stream) {
  constexpr int kBytes = sizeof(Ring<kRows, kStages>);
  const auto kernel = prompt_kernel<Deal, kRows, kStages, kGate>;
  static const cudaError_t kAllowed = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  (void)kAllowed;
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(units, n_processors()));
  kernel<<<blocks, kThreads, kBytes, stream>>>(c);
}

}  // namespace arc::cuda::prompt_product
