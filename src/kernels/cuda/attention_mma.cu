// Attention over raw bf16 caches on tensor cores, heads of 64 or 128 coordinates.
//
// Rows are pairs of a token and a query head; 16 of them meet a tile of 64 positions at a time. Queries and weights are
// taken apart in two bf16, high and low, so a product is exact to 2^-17 of its size. Within a segment of positions,
// weights are relative to the largest score so far; segments are merged in ascending order. What a row sums, and in
// which order, follows from its position alone: many_kernel (prefill) and few_kernel (decode) give the same bits, and
// so do one block that walks all segments and a block for each.
#include "kernels/cuda/attention_mma.h"
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/scratch.h"
#include "kernels/cuda/tensor_core.cuh"

namespace arc::cuda {
namespace {

constexpr int kTile = 64;  // positions; a block of the cache
constexpr int kRows = 16;  // of a warp's products
constexpr int kWarps = 4, kThreads = kWarps * kWarp;
constexpr float kLog2e = 1.4426950408889634f;

struct Call {
  AttendArgs a;
  KvView kv;
  Rows q, out;
  const float* sinks = nullptr;
  const int32_t* positions = nullptr;
  const int32_t* q_start = nullptr;
  const int32_t* seq_lens = nullptr;
  const int32_t* block_table = nullptr;
  int32_t table_stride = 0, n_seqs = 0;
  int32_t chunk_heads = 0, chunks_per_group = 0;  // query heads that a block takes of one key/value head
  float* parts = nullptr;                         // [S, H, segments, head_dim + 4]; null: one block walks all segments
  int32_t segments = 0;
};

// ---- the order of sums: every function below is written so that the compiler cannot fuse it in one place only ----

// A score in units of log 2.
__device__ __forceinline__ float scaled(const AttendArgs& a, float dot) {
  const float score = __fmul_rn(dot, a.scale);
  return __fmul_rn(a.softcap > 0 ? __fmul_rn(a.softcap, tanhf(__fdiv_rn(score, a.softcap))) : score, kLog2e);
}

// Weights are relative to this when `top` is the largest score so far.
__device__ __forceinline__ float base_of(float top) {
  return top == -INFINITY ? 0.0f : top;
}

// How a sum so far and a part that joins it are weighted.
struct Blend {
  float top, keep, take;
};
__device__ __forceinline__ Blend blend(float top, float part_top) {
  const float both = fmaxf(top, part_top), base = base_of(both);
  return {both, exp2_of(__fsub_rn(top, base)), exp2_of(__fsub_rn(part_top, base))};
}
__device__ __forceinline__ float blended(const Blend& b, float sum, float part) {
  return __fmaf_rn(part, b.take, __fmul_rn(sum, b.keep));
}

// What a row's values are multiplied with at the end. A sink joins last.
__device__ __forceinline__ float share_of(const Call& c, int head, float top, float mass) {
  if (c.sinks == nullptr) return __fdiv_rn(1.0f, mass);
  const float sink = __fmul_rn(c.sinks[head], kLog2e), both = fmaxf(top, sink);
  const float keep = exp2_of(__fsub_rn(top, both));
  return __fdiv_rn(keep, __fmaf_rn(mass, keep, exp2_of(__fsub_rn(sink, both))));
}

// ---- tiles of the cache in shared memory ----

// Where 16 bytes number `chunk` of row `row` lie, in units of 16 bytes. Eight rows of one chunk, and half the chunks of
// two neighbouring rows, lie in different banks.
template <int kDim>
__device__ __forceinline__ int place(int row, int chunk) {
  return row * (kDim / 8) + (chunk ^ ((row & 1) << 2 | (row >> 1 & 3)));
}

// Asks for keys and values of tile `tile` into `stage` ([K | V], kTile rows each). Rows behind `last` are zeros.
template <int kDim>
__device__ __forceinline__ void fetch_tile(const Call& c, const int32_t* table, int kv_head, int tile, int last,
                                           uint4* stage) {
  constexpr int kChunks = kDim / 8;
  const std::byte* head = c.kv.data + table[tile] * c.kv.block_bytes + kv_head * c.kv.head_bytes;
#pragma unroll
  for (int i = 0; i < kTile * kChunks / kThreads; ++i) {
    const int at = threadIdx.x + i * kThreads, row = at / kChunks, chunk = at % kChunks;
    const bool known = tile * kTile + row <= last;
    copy_async16(stage + place<kDim>(row, chunk), head + at * 16, known);
    copy_async16(stage + kTile * kChunks + place<kDim>(row, chunk), head + c.kv.v_offset_bytes + at * 16, known);
  }
}

// A warp's 16 rows of queries: high and low bf16. Column 8 c + 4 s + i of every 32 stands for place
// (2 c + i % 2) + 8 (i / 2) of step s.
template <int kDim>
struct Queries {
  uint32_t high[kDim / 16][4], low[kDim / 16][4];

  // `top`, `bottom`: rows g and g + 8, null for none.
  __device__ __forceinline__ void load(const float* top, const float* bottom, int c) {
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) {
      const Split a = load8(top, j * 32 + c * 8), b = load8(bottom, j * 32 + c * 8);
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        const int step = 2 * j + s;
        high[step][0] = a.high[2 * s], high[step][1] = b.high[2 * s];
        high[step][2] = a.high[2 * s + 1], high[step][3] = b.high[2 * s + 1];
        low[step][0] = a.low[2 * s], low[step][1] = b.low[2 * s];
        low[step][2] = a.low[2 * s + 1], low[step][3] = b.low[2 * s + 1];
      }
    }
  }

 private:
  static __device__ __forceinline__ Split load8(const float* row, int at) {
    float v[8] = {};
    if (row != nullptr) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 pair = reinterpret_cast<const float2*>(row + at)[i];
        v[2 * i] = pair.x, v[2 * i + 1] = pair.y;
      }
    }
    return split(v);
  }
};

// The rows' products with the eight keys of `keys` that start at row `first`: [g or g + 8][2 c, 2 c + 1].
template <int kDim>
__device__ __forceinline__ void dots8(float (&dots)[4], const Queries<kDim>& q, const uint4* keys, int first, int g,
                                      int c) {
  float high[4] = {}, low[4] = {};
#pragma unroll
  for (int j = 0; j < kDim / 32; ++j) {
    const uint4 k = keys[place<kDim>(first + g, 4 * j + c)];
    multiply_add(high, q.high[2 * j], k.x, k.y);
    multiply_add(low, q.low[2 * j], k.x, k.y);
    multiply_add(high, q.high[2 * j + 1], k.z, k.w);
    multiply_add(low, q.low[2 * j + 1], k.z, k.w);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) dots[i] = __fadd_rn(high[i], low[i]);
}

// Weights of 16 positions as an operand: high and low bf16.
struct Weights {
  uint32_t high[4], low[4];

  __device__ __forceinline__ void set(int i, float left, float right) {
    high[i] = bf16_pair(left, right);
    low[i] = bf16_pair(__fsub_rn(left, __uint_as_float(high[i] << 16)),
                       __fsub_rn(right, __uint_as_float(high[i] & 0xffff0000u)));
  }
};

// What a warp has summed of its rows g and g + 8: kCols value columns (a lane: 2 c, 2 c + 1 of every 8) and the mass,
// which is one more column, of ones.
template <int kCols>
struct Sums {
  float top[2], mass[4], values[kCols / 8][4];

  __device__ __forceinline__ void clear() {
    top[0] = top[1] = -INFINITY;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      mass[i] = 0.0f;
#pragma unroll
      for (int n = 0; n < kCols / 8; ++n) values[n][i] = 0.0f;
    }
  }

  // `largest`: of a tile's scores. Returns what its weights are relative to.
  __device__ __forceinline__ void raise(const float (&largest)[2], float (&base)[2]) {
    float keep[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float both = fmaxf(top[r], largest[r]);
      base[r] = base_of(both);
      keep[r] = exp2_of(__fsub_rn(top[r], base[r]));
      top[r] = both;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      mass[i] = __fmul_rn(mass[i], keep[i / 2]);
#pragma unroll
      for (int n = 0; n < kCols / 8; ++n) values[n][i] = __fmul_rn(values[n][i], keep[i / 2]);
    }
  }

  // Adds the values of positions 16 step .. 16 step + 15 of a tile; the columns start at `first_col`.
  template <int kDim>
  __device__ __forceinline__ void add(const Weights& w, const uint4* tile_values, int step, int first_col, int lane) {
    constexpr uint32_t kOnes = 0x3f803f80;
    multiply_add(mass, w.high, kOnes, kOnes);
    multiply_add(mass, w.low, kOnes, kOnes);
#pragma unroll
    for (int n = 0; n < kCols / 8; n += 2) {
      uint32_t v[4];
      load_matrices_transposed(
          v, tile_values + place<kDim>(step * 16 + (lane / 8 % 2) * 8 + lane % 8, first_col / 8 + n + lane / 16));
      multiply_add(values[n], w.high, v[0], v[1]);
      multiply_add(values[n], w.low, v[0], v[1]);
      multiply_add(values[n + 1], w.high, v[2], v[3]);
      multiply_add(values[n + 1], w.low, v[2], v[3]);
    }
  }
};

// Which positions a row sees.
struct Sight {
  int first = 0, last = -1;

  __device__ Sight() {}
  __device__ Sight(const Call& c, int s, int t) {
    const int position = c.positions[t];
    first = c.a.window > 0 ? max(0, position - c.a.window + 1) : 0;
    last = c.a.causal ? position : c.seq_lens[s] - 1;
  }
  __device__ bool sees(int position) const { return position >= first && position <= last; }
};

__device__ __forceinline__ float quad_max(float v) {
  v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, 1));
  return fmaxf(v, __shfl_xor_sync(kAllLanes, v, 2));
}

// Pairs of high and low weights between the warps of few_kernel; rows padded so that eight lie in different banks.
struct SharedWeights {
  static constexpr int kStride = kTile + 8;
  __nv_bfloat16 high[kRows][kStride], low[kRows][kStride];
};

// ---- one token: its query heads are the rows; warps share the positions of a tile, then the columns ----

template <int kDim, int kStages>
struct FewShared {
  uint4 stages[kStages][2 * kTile * kDim / 8];
  SharedWeights weights;
  float largest[kWarps][kRows];
};

template <int kDim, int kCols>
__device__ __forceinline__ void store_part(const Call& c, const Sums<kCols>& sums, int s, int head, int segment, int r,
                                           int first_col, int lane) {
  float* part = c.parts + ((static_cast<int64_t>(s) * c.a.heads + head) * c.segments + segment) * (kDim + 4);
#pragma unroll
  for (int n = 0; n < kCols / 8; ++n) {
    *reinterpret_cast<float2*>(part + first_col + n * 8 + lane % 4 * 2) =
        make_float2(sums.values[n][2 * r], sums.values[n][2 * r + 1]);
  }
  if (first_col == 0 && lane % 4 == 0) part[kDim] = sums.top[r], part[kDim + 1] = sums.mass[2 * r];
}

// grid: (chunks of heads, S, segments or 1). Only sequences with one token in this step.
template <int kDim, int kStages>
__global__ void __launch_bounds__(kThreads) few_kernel(Call c) {
  constexpr int kCols = kDim / kWarps;
  extern __shared__ __align__(128) std::byte memory[];
  auto& shared = *reinterpret_cast<FewShared<kDim, kStages>*>(memory);
  let_next_start();
  const int s = blockIdx.y, t = c.q_start[s];
  if (c.q_start[s + 1] != t + 1) return wait_for_inputs();
  const Sight sight(c, s, t);
  int begin = sight.first / kTile, end = sight.last / kTile + 1;  // tiles
  if (c.parts != nullptr) {
    begin = max(begin, segment_begin(blockIdx.z) / kTile);
    end = min(end, segment_begin(blockIdx.z + 1) / kTile);
  }
  if (begin >= end) return wait_for_inputs();
  const int group = c.a.heads / c.a.kv_heads, kv_head = blockIdx.x / c.chunks_per_group;
  const int chunk = blockIdx.x % c.chunks_per_group * c.chunk_heads;
  const int head = kv_head * group + chunk, heads = min(c.chunk_heads, group - chunk);
  const int32_t* table = c.block_table + static_cast<int64_t>(s) * c.table_stride;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, quad = lane % 4;
  wait_for_inputs();

#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) {
    if (begin + i < end) fetch_tile<kDim>(c, table, kv_head, begin + i, sight.last, shared.stages[i]);
    copies_issued();
  }
  Queries<kDim> q;
  const float* rows = c.q.row(t) + static_cast<int64_t>(head) * kDim;
  q.load(g < heads ? rows + g * kDim : nullptr, g + 8 < heads ? rows + (g + 8) * kDim : nullptr, quad);

  Sums<kCols> part, total;
  part.clear();
  total.clear();
  int segment = segment_of(begin * kTile);
  for (int tile = begin; tile < end; ++tile) {
    copies_arrived<kStages - 2>();
    __syncthreads();  // this tile is there for all, and the last one is used up
    const int next = tile + kStages - 1;
    if (next < end) fetch_tile<kDim>(c, table, kv_head, next, sight.last, shared.stages[(next - begin) % kStages]);
    copies_issued();
    const uint4 *keys = shared.stages[(tile - begin) % kStages], *values = keys + kTile * kDim / 8;

    float scores[2][4], largest[2] = {-INFINITY, -INFINITY}, base[2];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int first = warp * 16 + n * 8;
      dots8<kDim>(scores[n], q, keys, first, g, quad);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool seen = sight.sees(tile * kTile + first + 2 * quad + i % 2);
        scores[n][i] = seen ? scaled(c.a, scores[n][i]) : -INFINITY;
        largest[i / 2] = fmaxf(largest[i / 2], scores[n][i]);
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      largest[r] = quad_max(largest[r]);
      if (quad == 0) shared.largest[warp][g + 8 * r] = largest[r];
    }
    __syncthreads();
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
#pragma unroll
      for (int r = 0; r < 2; ++r) largest[r] = fmaxf(largest[r], shared.largest[w][g + 8 * r]);
    }
    part.raise(largest, base);
    Weights mine;
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // as in an operand: row g + 8 (i % 2), positions 8 (i / 2) + 2 quad, + 1
      const float b = base[i % 2];
      const float* pair = &scores[i / 2][2 * (i % 2)];
      mine.set(i, exp2_of(__fsub_rn(pair[0], b)), exp2_of(__fsub_rn(pair[1], b)));
      const int row = g + 8 * (i % 2), col = warp * 16 + 8 * (i / 2) + 2 * quad;
      *reinterpret_cast<uint32_t*>(&shared.weights.high[row][col]) = mine.high[i];
      *reinterpret_cast<uint32_t*>(&shared.weights.low[row][col]) = mine.low[i];
    }
    __syncthreads();
#pragma unroll
    for (int step = 0; step < kTile / 16; ++step) {
      Weights w;
      const int row = lane % 16, col = step * 16 + lane / 16 * 8;
      load_matrices(w.high, &shared.weights.high[row][col]);
      load_matrices(w.low, &shared.weights.low[row][col]);
      part.template add<kDim>(w, values, step, warp * kCols, lane);
    }

    if (c.parts != nullptr || (tile + 1 < end && segment_of((tile + 1) * kTile) == segment)) continue;
    segment = segment_of((tile + 1) * kTile);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Blend b = blend(total.top[r], part.top[r]);
      total.top[r] = b.top;
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        total.mass[i] = blended(b, total.mass[i], part.mass[i]);
#pragma unroll
        for (int n = 0; n < kCols / 8; ++n) total.values[n][i] = blended(b, total.values[n][i], part.values[n][i]);
      }
    }
    part.clear();
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (g + 8 * r >= heads) continue;
    if (c.parts != nullptr) {
      store_part<kDim>(c, part, s, head + g + 8 * r, blockIdx.z, r, warp * kCols, lane);
      continue;
    }
    const float share = share_of(c, head + g + 8 * r, total.top[r], total.mass[2 * r]);
    float* out = c.out.row(t) + static_cast<int64_t>(head + g + 8 * r) * kDim + warp * kCols + 2 * quad;
#pragma unroll
    for (int n = 0; n < kCols / 8; ++n) {
      *reinterpret_cast<float2*>(out + n * 8) =
          make_float2(__fmul_rn(total.values[n][2 * r], share), __fmul_rn(total.values[n][2 * r + 1], share));
    }
  }
}

// ---- merging the segments of one token and head ----

constexpr int kMergeCols = 32;      // of a block
constexpr int kMergeSegments = 64;  // whose parts are in shared memory at once

// grid: (H, S, kDim / kMergeCols). The factors of all segments are known from their largest scores; lane i then adds
// its column's values in order.
template <int kDim>
__global__ void __launch_bounds__(kThreads) merge_kernel(Call c) {
  __shared__ float values[kMergeSegments][kMergeCols], mass[kMergeSegments], tops[kMergeSegments];
  let_next_start();
  wait_for_inputs();
  const int head = blockIdx.x, s = blockIdx.y, col = blockIdx.z * kMergeCols, t = c.q_start[s];
  if (c.q_start[s + 1] != t + 1) return;
  const Sight sight(c, s, t);
  const int begin = segment_of(sight.first), end = segment_of(sight.last) + 1;
  const float* parts = c.parts + (static_cast<int64_t>(s) * c.a.heads + head) * c.segments * (kDim + 4);
  float top = -INFINITY, sum_mass = 0.0f, sum = 0.0f;
  for (int first = begin; first < end; first += kMergeSegments) {
    const int n = min(kMergeSegments, end - first);
    __syncthreads();  // the last values are used up
#pragma unroll
    for (int i = 0; i < kMergeSegments * kMergeCols / 4 / kThreads; ++i) {
      const int at = threadIdx.x + i * kThreads, segment = at / (kMergeCols / 4), four = at % (kMergeCols / 4) * 4;
      if (segment >= n) break;
      *reinterpret_cast<float4*>(&values[segment][four]) =
          *reinterpret_cast<const float4*>(parts + static_cast<int64_t>(first + segment) * (kDim + 4) + col + four);
    }
    if (threadIdx.x < n) {
      const float* part = parts + static_cast<int64_t>(first + threadIdx.x) * (kDim + 4) + kDim;
      tops[threadIdx.x] = part[0];
      mass[threadIdx.x] = part[1];
    }
    __syncthreads();
    if (threadIdx.x >= kMergeCols) continue;
    for (int i = 0; i < n; ++i) {
      const Blend b = blend(top, tops[i]);
      top = b.top;
      sum_mass = blended(b, sum_mass, mass[i]);
      sum = blended(b, sum, values[i][threadIdx.x]);
    }
  }
  if (threadIdx.x >= kMergeCols) return;
  c.out.row(t)[head * kDim + col + threadIdx.x] = __fmul_rn(sum, share_of(c, head, top, sum_mass));
}

// ---- many tokens: a warp has 16 rows of its own ----

constexpr int kManyStages = 2;

template <int kDim>
struct ManyShared {
  uint4 stages[kManyStages][2 * kTile * kDim / 8];
  float totals[kDim / 2 + 4][kThreads];  // of each thread: values, masses
};

// The sequence and its first token of block `tile`, when each sequence with several tokens has blocks of `per_block`
// tokens of its own; -1: none.
__device__ __forceinline__ int find_tokens(const Call& c, int tile, int per_block, int& first_token) {
  for (int s = 0; s < c.n_seqs; ++s) {
    const int n = c.q_start[s + 1] - c.q_start[s], tiles = n > 1 ? (n + per_block - 1) / per_block : 0;
    if (tile < tiles) {
      first_token = c.q_start[s] + tile * per_block;
      return s;
    }
    tile -= tiles;
  }
  return -1;
}

// grid: (chunks of heads, blocks of tokens). Rows: head by head of a token, then the next token. The last blocks of a
// sequence, which see most, come first.
template <int kDim>
__global__ void __launch_bounds__(kThreads) many_kernel(Call c) {
  extern __shared__ __align__(128) std::byte memory[];
  auto& shared = *reinterpret_cast<ManyShared<kDim>*>(memory);
  let_next_start();
  wait_for_inputs();
  const int per_block = kWarps * kRows / c.chunk_heads;
  int first_token = 0;
  const int s = find_tokens(c, gridDim.y - 1 - blockIdx.y, per_block, first_token);
  if (s < 0) return;
  const int last_token = min(first_token + per_block, c.q_start[s + 1]) - 1;
  const int group = c.a.heads / c.a.kv_heads, kv_head = blockIdx.x / c.chunks_per_group;
  const int chunk = blockIdx.x % c.chunks_per_group * c.chunk_heads;
  const int head = kv_head * group + chunk, heads = min(c.chunk_heads, group - chunk);
  const int32_t* table = c.block_table + static_cast<int64_t>(s) * c.table_stride;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, quad = lane % 4;
  const int last = c.seq_lens[s] - 1;
  const int begin = Sight(c, s, first_token).first / kTile, end = Sight(c, s, last_token).last / kTile + 1;

  fetch_tile<kDim>(c, table, kv_head, begin, last, shared.stages[0]);
  copies_issued();
  Sight sights[2];
  const float* rows[2] = {};
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = warp * kRows + g + 8 * r, t = first_token + row / c.chunk_heads, h = row % c.chunk_heads;
    if (row >= per_block * c.chunk_heads || t > last_token || h >= heads) continue;
    sights[r] = Sight(c, s, t);
    rows[r] = c.q.row(t) + static_cast<int64_t>(head + h) * kDim;
  }
  Queries<kDim> q;
  q.load(rows[0], rows[1], quad);

  Sums<kDim> part;
  part.clear();
  float total_top[2] = {-INFINITY, -INFINITY};
#pragma unroll
  for (int i = 0; i < kDim / 2 + 4; ++i) shared.totals[i][threadIdx.x] = 0.0f;
  int segment = segment_of(begin * kTile);
  for (int tile = begin; tile < end; ++tile) {
    copies_arrived<0>();
    __syncthreads();  // this tile is there for all, and the last one is used up
    if (tile + 1 < end) {
      fetch_tile<kDim>(c, table, kv_head, tile + 1, last, shared.stages[(tile + 1 - begin) % kManyStages]);
    }
    copies_issued();
    const uint4 *keys = shared.stages[(tile - begin) % kManyStages], *values = keys + kTile * kDim / 8;

    float scores[kTile / 8][4], largest[2] = {-INFINITY, -INFINITY}, base[2];
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
      dots8<kDim>(scores[n], q, keys, n * 8, g, quad);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool seen = sights[i / 2].sees(tile * kTile + n * 8 + 2 * quad + i % 2);
        scores[n][i] = seen ? scaled(c.a, scores[n][i]) : -INFINITY;
        largest[i / 2] = fmaxf(largest[i / 2], scores[n][i]);
      }
    }
    largest[0] = quad_max(largest[0]);
    largest[1] = quad_max(largest[1]);
    part.raise(largest, base);
#pragma unroll
    for (int step = 0; step < kTile / 16; ++step) {
      Weights w;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float b = base[i % 2];
        const float* pair = &scores[2 * step + i / 2][2 * (i % 2)];
        w.set(i, exp2_of(__fsub_rn(pair[0], b)), exp2_of(__fsub_rn(pair[1], b)));
      }
      part.template add<kDim>(w, values, step, 0, lane);
    }

    if (tile + 1 < end && segment_of((tile + 1) * kTile) == segment) continue;
    segment = segment_of((tile + 1) * kTile);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const Blend b = blend(total_top[r], part.top[r]);
      total_top[r] = b.top;
      float& mass = shared.totals[kDim / 2 + r][threadIdx.x];
      mass = blended(b, mass, part.mass[2 * r]);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
        for (int i = 2 * r; i < 2 * r + 2; ++i) {
          float& sum = shared.totals[n * 4 + i][threadIdx.x];
          sum = blended(b, sum, part.values[n][i]);
        }
      }
    }
    part.clear();
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (sights[r].last < 0) continue;
    const int row = warp * kRows + g + 8 * r, t = first_token + row / c.chunk_heads, h = head + row % c.chunk_heads;
    const float share = share_of(c, h, total_top[r], shared.totals[kDim / 2 + r][threadIdx.x]);
    float* out = c.out.row(t) + static_cast<int64_t>(h) * kDim + 2 * quad;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      *reinterpret_cast<float2*>(out + n * 8) =
          make_float2(__fmul_rn(shared.totals[n * 4 + 2 * r][threadIdx.x], share),
                      __fmul_rn(shared.totals[n * 4 + 2 * r + 1][threadIdx.x], share));
    }
  }
}

template <int kDim, int kStages>
void start_few(const Call& c, dim3 grid, cudaStream_t stream) {
  constexpr size_t kBytes = sizeof(FewShared<kDim, kStages>);
  static const cudaError_t kAllowed =
      cudaFuncSetAttribute(few_kernel<kDim, kStages>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  (void)kAllowed;
  launch(few_kernel<kDim, kStages>, grid, kThreads, kBytes, stream, c);
}

template <int kDim>
void start(Call c, const Operands& o) {
  const auto stream = stream_of(o);
  const auto chunks = static_cast<unsigned>(c.a.kv_heads * c.chunks_per_group), seqs = static_cast<unsigned>(c.n_seqs);
  const int64_t tokens = c.q.rows;
  c.segments = segment_of(c.table_stride * kTile - 1) + 1;
  const int64_t part_bytes = int64_t{c.n_seqs} * c.a.heads * c.segments * (kDim + 4) * 4;
  const bool split = c.segments > 1 && part_bytes <= kMaxPartsBytes;
  if (split) c.parts = reinterpret_cast<float*>(o.scratch);
  if (tokens > c.n_seqs) {
    constexpr size_t kBytes = sizeof(ManyShared<kDim>);
    static const cudaError_t kAllowed =
        cudaFuncSetAttribute(many_kernel<kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
    (void)kAllowed;
    const int per_block = kWarps * kRows / c.chunk_heads;
    const dim3 grid(chunks, static_cast<unsigned>(tokens / per_block) + seqs);
    launch(many_kernel<kDim>, grid, kThreads, kBytes, stream, c);
    if (c.n_seqs == 1) return;
  }
  const dim3 grid(chunks, seqs, split ? static_cast<unsigned>(c.segments) : 1u);
  if (tuning.stages == 2) start_few<kDim, 2>(c, grid, stream);
  if (tuning.stages == 3) start_few<kDim, 3>(c, grid, stream);
  if (tuning.stages == 4) start_few<kDim, 4>(c, grid, stream);
  if (split) {
    const dim3 merges(static_cast<unsigned>(c.a.heads), seqs, kDim / kMergeCols);
    launch(merge_kernel<kDim>, merges, kThreads, 0, stream, c);
  }
}

}  // namespace

bool attends_on_tensor_cores(const AttendArgs& a, const Operands& o) {
  const auto aligned = [](const TensorView& v) {
    return reinterpret_cast<uintptr_t>(v.data) % 8 == 0 && v.row_stride % 2 == 0;
  };
  return tuning.tensor_attention && o.kv.policy.raw == DType::bf16 && o.kv.tokens_per_block == kTile && !a.v_in_k &&
         a.k_dim == a.v_dim && (a.k_dim == 64 || a.k_dim == 128) && aligned(o.reads[0]) && aligned(o.writes[0]);
}

void attend_on_tensor_cores(const AttendArgs& a, const Operands& o) {
  const GroupInputs& inputs = o.step->groups[a.group];
  const int group = a.heads / a.kv_heads, chunks_per_group = (group + kRows - 1) / kRows;
  Call c{.a = a,
         .kv = o.kv,
         .q = Rows(o.reads[0]),
         .out = Rows(o.writes[0]),
         .sinks = a.sinks ? static_cast<const float*>(o.weights[0].data) : nullptr,
         .positions = o.step->positions,
         .q_start = o.step->q_start,
         .seq_lens = o.step->seq_lens,
         .block_table = inputs.block_table,
         .table_stride = inputs.table_stride,
         .n_seqs = o.step->n_seqs,
         .chunk_heads = (group + chunks_per_group - 1) / chunks_per_group,
         .chunks_per_group = chunks_per_group};
  if (c.q.rows == 0) return;
  if (a.k_dim == 64) {
    start<64>(c, o);
  } else {
    start<128>(c, o);
  }
}

}  // namespace arc::cuda
