// Keys and values into the cache, in any codec, and tiles packed when they are full. Bytes are those of the reference:
// every rounding is the one that quant/ does, in its order.
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/seal.cuh"
#include "quant/rounding.h"

namespace arc::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kSealThreads = 256;

// Where the rows of one side come from and go to.
struct AppendSide {
  Rows rows;
  KvSide to;
  Turn turn;  // of tiled policies
};
struct AppendCall {
  AppendSide side[2];  // keys, values
  KvView kv;           // where rows go: of a tiled policy the open tiles
  const int64_t* slots = nullptr;
};

__device__ __forceinline__ void store_element(const KvSide& s, std::byte* head, int token, int d, float x) {
  std::byte* data = head + s.data_bytes;
  const int64_t at = static_cast<int64_t>(token) * s.dim + d;
  if (s.codec == KvPolicy::Codec::raw) return store_from_float(data, s.raw, at, x);
  if (s.codec == KvPolicy::Codec::f8e4m3) {
    data[at] = static_cast<std::byte>(quant::float_to_f8e4m3(x));
    return;
  }
  // A warp has 32 neighbours: those that share a scale.
  const float largest = warp_max(d < s.dim ? fabsf(x) : 0.0f);
  const __half held = __float2half_rn(fminf(__fdiv_rn(largest, 127.0f), kMaxF16));
  const float step = __half2float(held), inverse = step > 0.0f ? __fdiv_rn(1.0f, step) : 0.0f;
  if (d >= s.dim) return;
  if (d % 32 == 0) {
    reinterpret_cast<__half*>(head + s.scales_bytes)[token * ((s.dim + 31) / 32) + d / 32] = held;
  }
  data[at] = static_cast<std::byte>(quant::nearest(__fmul_rn(x, inverse), -127, 127));
}

// Row t of one head, for kThreads threads. `turned`: [kMaxTurboDim] of shared memory.
template <int kThreads>
__device__ __forceinline__ void append_row(const AppendCall& c, const AppendSide& side, int64_t t, int64_t head,
                                           float* turned) {
  const int dim = side.to.dim, me = static_cast<int>(threadIdx.x);
  const float* x = side.rows.row(t) + head * dim;
  std::byte* to = c.kv.data + c.slots[t] / c.kv.tokens_per_block * c.kv.block_bytes + head * c.kv.head_bytes;
  const int token = static_cast<int>(c.slots[t] % c.kv.tokens_per_block);
  if (side.turn.dim > 0) {
    for (int i = me; i < dim; i += kThreads) turned[i] = x[i];
    rotate_row<kThreads>(turned, side.turn);
    x = turned;
  }
  const bool blocks = side.to.codec == KvPolicy::Codec::int8_block;
  for (int first = 0; first < dim; first += kThreads) {
    const int d = first + me;
    if (blocks || d < dim) store_element(side.to, to, token, d, d < dim ? x[d] : 0.0f);
  }
}

// A warp to a row, for heads of kDim coordinates. grid: (blocks of rows and heads, 1, keys and values).
template <int kDim>
__global__ void __launch_bounds__(kThreads) append_rows_kernel(const __grid_constant__ AppendCall c, int32_t heads) {
  const AppendSide& side = c.side[blockIdx.z];
  const int64_t i = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  const int64_t t = i / heads, head = i % heads;
  if (t >= side.rows.rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float* from = side.rows.row(t) + head * kDim + lane;
  float x[kDim / kWarp];
#pragma unroll
  for (int j = 0; j < kDim / kWarp; ++j) x[j] = from[j * kWarp];
  if (side.turn.dim > 0) rotate_lanes<kDim>(x, side.turn);
  std::byte* to = c.kv.data + c.slots[t] / c.kv.tokens_per_block * c.kv.block_bytes + head * c.kv.head_bytes;
  const int token = static_cast<int>(c.slots[t] % c.kv.tokens_per_block);
#pragma unroll
  for (int j = 0; j < kDim / kWarp; ++j) store_element(side.to, to, token, lane + j * kWarp, x[j]);
}

// grid: (T, kv heads, keys and values).
__global__ void __launch_bounds__(kThreads) append_kernel(const __grid_constant__ AppendCall c) {
  __shared__ float turned[kMaxTurboDim];
  append_row<kThreads>(c, c.side[blockIdx.z], blockIdx.x, blockIdx.y, turned);
}

// ---- packing -------------------------------------------------------------------------------------------------------

struct SealShared {
  static constexpr int kCols = 32;  // of rows at a time
  float rows[kTileTokens][kCols + 1];
  uint8_t codes[kTileTokens][kMaxTurboDim + 4];
  float inverse[kTileTokens];  // what makes a row's numbers those that codes are chosen by
  float levels[1 << kMaxGridBits];
};

// Norms of the rows, from their lengths: thread t has row t. `square`: of the row, in the order of its coordinates.
__device__ double row_square(const SealSide& side, const std::byte* head, SealShared& shared, float& largest) {
  const int dim = side.from.dim, me = static_cast<int>(threadIdx.x);
  double square = 0.0;
  largest = 0.0f;
  for (int first = 0; first < dim; first += SealShared::kCols) {
    const int cols = min(SealShared::kCols, dim - first);
    __syncthreads();
    for (int i = me; i < kTileTokens * SealShared::kCols; i += kSealThreads) {
      const int t = i / SealShared::kCols, d = i % SealShared::kCols;
      if (d < cols) shared.rows[t][d] = kv_element(side.from, head, t, first + d);
    }
    __syncthreads();
    if (me >= kTileTokens) continue;
    for (int d = 0; d < cols; ++d) {
      const float y = shared.rows[me][d];
      square = __dadd_rn(square, __dmul_rn(y, y));
      largest = fmaxf(largest, fabsf(y));
    }
  }
  return square;
}

// Codes of all rows, and their norms. TurboCodec::encode().
__device__ void encode_rows(const SealSide& side, const std::byte* open, __half* norms, SealShared& shared) {
  const int dim = side.to.dim, bits = side.to.bits, me = static_cast<int>(threadIdx.x);
  const bool uniform = bits == kUniformBits;
  float largest = 0.0f;
  const double length = __dsqrt_rn(row_square(side, open, shared, largest));
  if (me < kTileTokens) {
    const __half scale = __float2half_rn(fminf(largest, kMaxF16));
    const float step = __half2float(scale);
    shared.inverse[me] = uniform ? (step > 0.0f ? __fdiv_rn(127.0f, step) : 0.0f)
                                 : (length > 0.0 ? static_cast<float>(__ddiv_rn(1.0, length)) : 0.0f);
    if (uniform) norms[norm_place(me)] = scale;
  }
  __syncthreads();
  for (int i = me; i < kTileTokens * dim; i += kSealThreads) {
    const int t = i / dim, d = i % dim;
    const float unit = __fmul_rn(kv_element(side.from, open, t, d), shared.inverse[t]);
    int code = 0;
    if (uniform) {
      code = quant::nearest(unit, -127, 127);
    } else {
      for (int border = 0; border + 1 < 1 << bits; ++border) code += unit < side.borders[border] ? 0 : 1;
    }
    shared.codes[t][d] = static_cast<uint8_t>(code);
  }
  __syncthreads();
  if (uniform || me >= kTileTokens) return;
  double decoded = 0.0;
  for (int d = 0; d < dim; ++d) {
    const float level = shared.levels[shared.codes[me][d]];
    decoded = __dadd_rn(decoded, __dmul_rn(level, level));
  }
  const auto norm = static_cast<float>(__ddiv_rn(length, __dsqrt_rn(decoded)));
  norms[norm_place(me)] = __float2half_rn(fminf(norm, kMaxF16));
}

// TurboCodec::pack_tile().
__device__ void pack_rows(const KvSide& to, const SealShared& shared, std::byte* tile) {
  const int dim = to.dim, bits = to.bits, padded = word_groups(dim) * kWordGroup;
  if (bits == kUniformBits) {
    for (int i = threadIdx.x; i < kTileTokens * padded; i += kSealThreads) {
      const int t = i / padded, d = i % padded;
      tile[i] = static_cast<std::byte>(d < dim ? shared.codes[t][d] : 0);
    }
    return;
  }
  for (int i = threadIdx.x; i < word_group_count(dim); i += kSealThreads) {
    const WordGroup group = word_group(to.role, dim, bits, i);
    uint32_t words[kMaxGridBits] = {};
    for (int m = 0; m < kWordGroup / 8; ++m) {
      for (int n = 0; n < 8; ++n) {
        const int d = coordinate_of(to.role, group, m, n);
        if (d >= dim) continue;
        const int held = held_of(to.role, bits, shared.codes[token_of(to.role, group, n)][d]);
        hold_code(to.role, bits, m, n, static_cast<uint32_t>(held), words);
      }
    }
    auto* out = reinterpret_cast<uint32_t*>(tile);
    const int row = word_groups(dim) * bits;
#pragma unroll
    for (int k = 0; k < kMaxGridBits; ++k) {
      if (k < bits) out[word_place(to.role, row, group.token, group.coordinate, group.first_word + k)] = words[k];
    }
  }
}

// For all threads of a block. A side that is a trellis has its own kernel.
__device__ void seal_tile(const SealCall& c, const SealTile& at, SealShared& shared) {
  const SealSide& side = c.side[blockIdx.z];
  if (at.sequence < 0 || side.to.codec == KvPolicy::Codec::trellis) return;
  std::byte* packed = at.packed(c, blockIdx.y);
  if (threadIdx.x < 1 << kMaxGridBits) shared.levels[threadIdx.x] = side.levels[threadIdx.x];
  encode_rows(side, at.open(c, blockIdx.y), reinterpret_cast<__half*>(packed + side.to.scales_bytes), shared);
  pack_rows(side.to, shared, packed + side.to.data_bytes);
}

// grid: (tiles, kv heads, keys and values).
__global__ void __launch_bounds__(kSealThreads) seal_kernel(const __grid_constant__ SealCall c) {
  __shared__ SealShared shared;
  seal_tile(c, SealTile(c, static_cast<int>(blockIdx.x)), shared);
}

// Few tokens a sequence: a block writes all of a head's, then packs what they fill. grid: (S, kv heads, keys and
// values).
__global__ void __launch_bounds__(kSealThreads)
    append_and_seal_kernel(const __grid_constant__ AppendCall append, const __grid_constant__ SealCall c) {
  __shared__ SealShared shared;
  __shared__ float turned[kMaxTurboDim];
  const int s = static_cast<int>(blockIdx.x);
  for (int t = c.q_start[s]; t < c.q_start[s + 1]; ++t) {
    append_row<kSealThreads>(append, append.side[blockIdx.z], t, blockIdx.y, turned);
    __syncthreads();
  }
  const Filled filled(c, s);
  for (int i = 0; i < filled.count; ++i) {
    seal_tile(c, SealTile(s, filled.first + i), shared);
    __syncthreads();
  }
}

SealSide seal_side(const AppendArgs& a, const Operands& o, KvRole role) {
  const bool key = role == KvRole::key;
  const int32_t dim = key ? a.k_dim : a.v_dim;
  SealSide side{.from = kv_side(o.open, dim, role), .to = kv_side(o.kv, dim, role)};
  const TurboCodec& codec = key ? *o.kv.k_turbo : *o.kv.v_turbo;
  if (codec.bits() == kUniformBits || codec.trellis() != nullptr) return side;
  std::copy(codec.levels().begin(), codec.levels().end(), side.levels);
  std::copy(codec.borders().begin(), codec.borders().end(), side.borders);
  return side;
}

SealCall seal_call(const AppendArgs& a, const Operands& o) {
  const GroupInputs &from = o.step->groups[a.open_group], &to = o.step->groups[a.group];
  return {.side = {seal_side(a, o, KvRole::key), seal_side(a, o, KvRole::value)},
          .open = o.open,
          .packed = o.kv,
          .open_table = from.block_table,
          .packed_table = to.block_table,
          .open_stride = from.table_stride,
          .packed_stride = to.table_stride,
          .positions = o.step->positions,
          .q_start = o.step->q_start,
          .seq_lens = o.step->seq_lens,
          .n_seqs = o.step->n_seqs};
}

void append(const AppendArgs& a, const AppendCall& call, int64_t rows, cudaStream_t stream) {
  const unsigned sides = a.v_dim > 0 ? 2 : 1;
  // A warp's rotation may give another zero: numbers of int8 have one.
  const bool plain = call.side[0].turn.dim == 0 || call.side[0].to.codec == KvPolicy::Codec::int8_block;
  if (plain && (a.k_dim == 64 || a.k_dim == 128) && (sides == 1 || a.v_dim == a.k_dim)) {
    const dim3 grid(static_cast<unsigned>(blocks_for(rows * a.kv_heads, kThreads / kWarp)), 1, sides);
    (a.k_dim == 64 ? append_rows_kernel<64> : append_rows_kernel<128>)<<<grid, kThreads, 0, stream>>>(call, a.kv_heads);
    return;
  }
  const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>(a.kv_heads), sides);
  append_kernel<<<grid, kThreads, 0, stream>>>(call);
}

}  // namespace

void run(const AppendArgs& a, const Operands& o) noexcept {
  const int64_t rows = o.reads[0].rows;
  if (rows == 0) return;
  const bool tiled = a.open_group >= 0;
  const KvView& to = tiled ? o.open : o.kv;
  const AppendCall call{
      .side = {{.rows = Rows(o.reads[0]), .to = kv_side(to, a.k_dim, KvRole::key), .turn = turn_of(o.kv.k_turbo)},
               {.rows = Rows(o.reads[1]), .to = kv_side(to, a.v_dim, KvRole::value), .turn = turn_of(o.kv.v_turbo)}},
      .kv = to,
      .slots = o.step->groups[tiled ? a.open_group : a.group].slots};
  const auto grid = [&](int64_t n) {
    return dim3(static_cast<unsigned>(n), static_cast<unsigned>(a.kv_heads), a.v_dim > 0 ? 2 : 1);
  };
  if (!tiled) return append(a, call, rows, stream_of(o));
  const SealCall sealing = seal_call(a, o);
  const int64_t n_seqs = o.step->n_seqs, tiles = rows / kTileTokens + n_seqs;
  if (rows <= n_seqs) {
    append_and_seal_kernel<<<grid(n_seqs), kSealThreads, 0, stream_of(o)>>>(call, sealing);
  } else {
    append(a, call, rows, stream_of(o));
    seal_kernel<<<grid(tiles), kSealThreads, 0, stream_of(o)>>>(sealing);
  }
  if (o.kv.policy.trellis()) seal_trellis(sealing, tiles, a.kv_heads, stream_of(o));
}

}  // namespace arc::cuda
