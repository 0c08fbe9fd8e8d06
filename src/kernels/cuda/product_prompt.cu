// Products of a prompt's tokens, rounded to bf16: tiles of tokens and weights in shared memory, kept full by a warp
// that only asks for copies, multiplied by two warpgroups. Block codes become bf16 beforehand, some rows at a time.
//
// A sum runs through a row's columns in order, 16 at a time, whatever the tile: it depends on the weight's width alone.
#include <algorithm>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/attention_mma.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/product_prompt.h"
#include "kernels/cuda/scratch.h"

namespace arc::cuda {
namespace {

constexpr int kTokens = 128;     // of a block's tile, 64 for each warpgroup that multiplies
constexpr int kDepth = 64;       // columns of a tile: 128 bytes
constexpr int kMultipliers = 2;  // warpgroups
constexpr int kThreads = (1 + kMultipliers) * kWarpgroup;
constexpr int kGroupTokens = 2048;  // whose tiles are dealt out before the next ones'
constexpr int kFeederRegisters = 40, kMultiplierRegisters = 232;

// A tile's weight rows are two halves, `apart` rows from one another: neighbours, or gates and what they are for.
struct Call {
  CUtensorMap x, w;  // tiles of kTokens rows; half a tile
  Rows y;
  int64_t out = 0, in = 0;  // columns of y, of x
  int32_t apart = 0;
  const float* bias = nullptr;
  bool pairs = false;    // two neighbours of y are one whole store
  bool rounded = false;  // y's rows hold bf16
};

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
constexpr int kColumnsOf = kGate == Gate::none ? kRows : kRows / 2;

// Tiles of a block, one after another, each `kColumns` columns of y wide: neighbours in time and across blocks share
// weights, and groups of tokens stay in the cache.
template <int kColumns>
struct Deal {
  int token_tiles, row_tiles, group, unit;

  __device__ Deal(const Call& c) {
    token_tiles = static_cast<int>((c.y.rows + kTokens - 1) / kTokens);
    row_tiles = static_cast<int>((c.out + kColumns - 1) / kColumns);
    group = min(token_tiles, kGroupTokens / kTokens);
    unit = static_cast<int>(blockIdx.x);
  }
  __device__ bool done() const { return unit >= token_tiles * row_tiles; }
  __device__ void next() { unit += static_cast<int>(gridDim.x); }
  __device__ int row() const { return place().row * kColumns; }
  __device__ int token() const { return place().token * kTokens; }

 private:
  struct Place {
    int token, row;
  };
  __device__ Place place() const {
    const int whole = unit / (group * row_tiles), first = whole * group, within = unit - first * row_tiles;
    const int size = min(group, token_tiles - first);
    return {first + within % size, within / size};
  }
};

template <int kRows, int kStages, Gate kGate>
__device__ __forceinline__ void feed(const Call& c, Ring<kRows, kStages>& ring) {
  constexpr int kHalf = kRows / 2;
  Cursor cursor;
  for (Deal<kColumnsOf<kRows, kGate>> deal(c); !deal.done(); deal.next()) {
    const int token = deal.token(), row = deal.row();
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

template <int kRows, Gate kGate>
__device__ __forceinline__ void add_bias(const Call& c, float (&sums)[kRows / 8][4], int64_t row) {
#pragma unroll
  for (int j = 0; j < kRows / 8; ++j) {
    const bool second = 2 * j >= kRows / 8;
    const int64_t r = row + 8 * j + threadIdx.x % 4 * 2 + (second ? c.apart - kRows / 2 : 0);
    const int64_t end = kGate == Gate::none || !second ? c.out : c.out + c.apart;
    const float left = r < end ? c.bias[r] : 0.0f, right = r + 1 < end ? c.bias[r + 1] : 0.0f;
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

template <int kRows, Gate kGate>
__device__ __forceinline__ void store(const Call& c, float (&sums)[kRows / 8][4], int64_t token, int64_t row) {
  constexpr int kN = kColumnsOf<kRows, kGate> / 8;
  const int lane = threadIdx.x % kWarp, g = lane / 4, q = lane % 4;
  if (c.bias != nullptr) add_bias<kRows, kGate>(c, sums, row);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t t = token + g + 8 * half;
    if (t >= c.y.rows) return;
    float* y = c.y.row(t);
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
        store_pair(reinterpret_cast<__nv_bfloat16*>(y), pair, r, c);
      } else {
        store_pair(y, pair, r, c);
      }
    }
  }
}

// Warpgroup `mine` of those that multiply: 64 tokens of the block's tile.
template <int kRows, int kStages, Gate kGate>
__device__ __forceinline__ void multiply(const Call& c, Ring<kRows, kStages>& ring, int mine) {
  const int warp = threadIdx.x % kWarpgroup / kWarp, lane = threadIdx.x % kWarp;
  const auto release = [&](int at) {
    if (lane == 0) barrier_arrive(&ring.empty[at]);
  };
  Cursor cursor;
  for (Deal<kColumnsOf<kRows, kGate>> deal(c); !deal.done(); deal.next()) {
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
    store<kRows, kGate>(c, sums, deal.token() + mine * 64 + warp * 16, deal.row());
    __syncwarp();
  }
}

template <int kRows, int kStages, Gate kGate>
__global__ void __launch_bounds__(kThreads, 1) prompt_kernel(const __grid_constant__ Call c) {
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
    if (threadIdx.x == 0) feed<kRows, kStages, kGate>(c, ring);
    __syncwarp();
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kMultiplierRegisters));
    multiply<kRows, kStages, kGate>(c, ring, role - 1);
  }
#endif
}

// Rounds tokens. grid: (eights of columns, T).
constexpr int kRounders = 256;
__global__ void __launch_bounds__(kRounders) round_kernel(Rows x, __nv_bfloat16* to, int64_t in) {
  const int64_t k = (static_cast<int64_t>(blockIdx.x) * kRounders + threadIdx.x) * 8, t = blockIdx.y;
  if (k >= in) return;
  const float* from = x.row(t) + k;
  *reinterpret_cast<uint4*>(to + t * in + k) = {bf16_pair(from[0], from[1]), bf16_pair(from[2], from[3]),
                                                bf16_pair(from[4], from[5]), bf16_pair(from[6], from[7])};
}

// Rounds rows of weights. grid: (eights of columns, rows).
constexpr int64_t kMaxDecodedRows = 32768;
template <BlockCode kCode>
__global__ void __launch_bounds__(kRounders)
    decode_kernel(const uint8_t* rows, int64_t row_bytes, int64_t in, __nv_bfloat16* to) {
  const int64_t k = (static_cast<int64_t>(blockIdx.x) * kRounders + threadIdx.x) * 8, r = blockIdx.y;
  if (k >= in) return;
  float v[8];
  decode8<kCode>(rows + r * row_bytes, k, v);
  *reinterpret_cast<uint4*>(to + r * in + k) = {bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]), bf16_pair(v[4], v[5]),
                                                bf16_pair(v[6], v[7])};
}

auto decoder(BlockCode code) {
  switch (code) {
    case BlockCode::q8_0:
      return decode_kernel<BlockCode::q8_0>;
    case BlockCode::q4_0:
      return decode_kernel<BlockCode::q4_0>;
    case BlockCode::q4_k:
      return decode_kernel<BlockCode::q4_k>;
    case BlockCode::q5_k:
      return decode_kernel<BlockCode::q5_k>;
    default:
      return decode_kernel<BlockCode::q6_k>;
  }
}

int n_processors() {
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

template <int kRows, int kStages, Gate kGate>
void start(const MatrixView& w, const Matrix& x, const Out& to, cudaStream_t stream) {
  constexpr int kBytes = sizeof(Ring<kRows, kStages>), kHalf = kRows / 2, kColumns = kColumnsOf<kRows, kGate>;
  const auto kernel = prompt_kernel<kRows, kStages, kGate>;
  static const cudaError_t kAllowed = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  (void)kAllowed;
  const int64_t out = kGate == Gate::none ? w.out : w.out / 2;
  const Rows& y = to.y;
  const Call c{.x = tiles(x, kTokens, CU_TENSOR_MAP_L2_PROMOTION_L2_256B),
               .w = tiles({w.data, w.out, w.in, w.in}, kHalf, CU_TENSOR_MAP_L2_PROMOTION_L2_256B),
               .y = y,
               .out = out,
               .in = w.in,
               .apart = kGate == Gate::none ? kHalf : static_cast<int32_t>(out),
               .bias = w.bias,
               .pairs = y.stride % 2 == 0 && out % 2 == 0 && reinterpret_cast<uintptr_t>(y.data) % 8 == 0,
               .rounded = to.rounded};
  const int units = blocks_for(y.rows, kTokens) * blocks_for(out, kColumns);
  kernel<<<std::min(units, n_processors()), kThreads, kBytes, stream>>>(c);
}

template <Gate kGate>
void product(const MatrixView& w, const Matrix& x, const Out& to, cudaStream_t stream) {
  const int wide = blocks_for(x.rows, kTokens) * blocks_for(w.out, 256);
  if (2 * wide > n_processors()) {
    start<256, 4, kGate>(w, x, to, stream);
  } else {
    start<128, 6, kGate>(w, x, to, stream);
  }
}

// The same for weights in a block code: as many columns of y at a time as rows find place at `plain`.
template <Gate kGate>
void coded_product(const MatrixView& w, const Matrix& x, const Out& to, __nv_bfloat16* plain, cudaStream_t stream) {
  constexpr int kHalves = kGate == Gate::none ? 1 : 2;
  const int64_t row_bytes = format_bytes(w.format, 1, w.in), out = w.out / kHalves;
  const int64_t at_once = std::min(kMaxPartsBytes / (w.in * 2 * kHalves) / 256 * 256, kMaxDecodedRows);
  for (int64_t first = 0; first < out; first += at_once) {
    const int64_t n = std::min(at_once, out - first);
    MatrixView part{.format = WeightFormat::plain(DType::bf16), .out = n * kHalves, .in = w.in, .data = plain};
    if (w.bias != nullptr) part.bias = w.bias + first;
    const dim3 eights(static_cast<unsigned>(blocks_for(w.in, kRounders * 8)), static_cast<unsigned>(n));
    for (int half = 0; half < kHalves; ++half) {
      const auto* rows = static_cast<const uint8_t*>(w.data) + (half * out + first) * row_bytes;
      decoder(w.format.code)<<<eights, kRounders, 0, stream>>>(rows, row_bytes, w.in, plain + half * n * w.in);
    }
    Out columns = to;
    columns.y.data = static_cast<std::byte*>(to.y.data) + first * (to.rounded ? 2 : 4);
    product<kGate>(part, x, columns, stream);
  }
}

template <Gate kGate>
void product(const PromptProduct& p, std::byte* scratch, cudaStream_t stream) {
  const MatrixView& w = p.w;
  const auto some = [&](const Matrix& x, const Out& to) {
    if (w.format.code == BlockCode::none) return product<kGate>(w, x, to, stream);
    coded_product<kGate>(w, x, to, reinterpret_cast<__nv_bfloat16*>(scratch + kMaxPartsBytes), stream);
  };
  if (p.rounded_in) {
    return some({p.x.data, p.x.rows, w.in, 2 * p.x.row_stride}, {Rows(p.y), p.rounded_out});
  }
  auto* rounded = reinterpret_cast<__nv_bfloat16*>(scratch);
  const int64_t at_once = kMaxPartsBytes / (w.in * 2) / kTokens * kTokens;
  for (int64_t t = 0; t < p.x.rows; t += at_once) {
    Rows from(p.x);
    Out to{Rows(p.y), p.rounded_out};
    from.data = p.x.row<float>(t), to.y.data = p.y.row<float>(t);
    from.rows = to.y.rows = std::min(at_once, p.x.rows - t);
    const dim3 eights(static_cast<unsigned>(blocks_for(w.in, kRounders * 8)), static_cast<unsigned>(from.rows));
    round_kernel<<<eights, kRounders, 0, stream>>>(from, rounded, w.in);
    some({rounded, from.rows, w.in, w.in}, to);
  }
}

bool takes_rounded(const TensorView& view) {
  return reinterpret_cast<uintptr_t>(view.data) % 16 == 0 && view.row_stride % 4 == 0;
}

}  // namespace

bool fits_prompt(const MatrixView& w) {
  const bool format = w.format.code != BlockCode::none || w.format == WeightFormat::plain(DType::bf16);
  return format && w.count == 1 && w.in <= (1 << 16) && w.in % 8 == 0 && is_hopper();
}

void product_prompt(const PromptProduct& p, std::byte* scratch, cudaStream_t stream) {
  if (p.x.rows > 0) product<Gate::none>(p, scratch, stream);
}

bool gates_prompt(const MatrixView& w, const ActArgs& act) {
  return fits_prompt(w) && act.gated && (act.act == Act::silu || act.act == Act::gelu_tanh) &&
         (w.format.code == BlockCode::none || w.bias == nullptr);
}

void product_prompt_gated(const PromptProduct& p, const ActArgs& act, std::byte* scratch, cudaStream_t stream) {
  if (act.act == Act::silu) return product<Gate::silu>(p, scratch, stream);
  product<Gate::gelu_tanh>(p, scratch, stream);
}

bool passes_rounded(const Args& from, const Operands& a, const Args& to, const Operands& b) {
  const bool writes = std::holds_alternative<NormArgs>(from) || std::holds_alternative<ActArgs>(from) ||
                      (std::holds_alternative<AttendArgs>(from) && attends_prompts(std::get<AttendArgs>(from), a));
  const auto* norm = std::get_if<NormArgs>(&from);
  const bool whole = norm == nullptr || norm->cols == a.writes[0].cols;
  return writes && whole && std::holds_alternative<LinearArgs>(to) && fits_prompt(b.weights[0]) &&
         takes_rounded(b.reads[0]);
}

}  // namespace arc::cuda
