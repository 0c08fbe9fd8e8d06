// Attention in products of bytes for sequences with several tokens in a step: a warp has 16 rows of its own, pairs of a
// token and a query head, and walks all tiles.
#include "kernels/cuda/attention_bytes.cuh"
#include "kernels/cuda/attention_rows.cuh"

namespace arc::cuda::attention {
namespace {

constexpr int kGroups = 2;  // of eight rows of a warp
constexpr int kBlockRows = kWarps * kGroups * kByteRows;

template <int kDim>
struct Shared {
  ByteQueries<kDim> q[kWarps][kGroups];
  float totals[kBlockRows][kDim + 4];
  float tops[kBlockRows], masses[kBlockRows];
};

// What a lane knows of its two rows.
struct Rows2 {
  int t[kGroups];  // the token; -1: no row
  Reach reach[kGroups];
  int open_from[kGroups];  // tile

  __device__ __forceinline__ Window window(int r, int tile, bool open) const {
    if ((tile >= open_from[r]) != open) return {kTile, -1};
    return {reach[r].first - tile * kTile, reach[r].last - tile * kTile};
  }
};

template <int kDim>
struct Walker {
  static constexpr int kTiles = kDim / 8;
  const Call& c;
  Shared<kDim>& shared;
  std::byte* stages;
  int64_t stage_bytes;
  const TokenBlock& block;
  Rows2 rows;
  int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  ByteSums<kTiles> part[kGroups];
  float total_top[kGroups], total_mass[kGroups];

  __device__ __forceinline__ int row_of(int r) const { return (warp * kGroups + r) * kByteRows + lane / 4; }

  template <Form kKeys, Form kValues>
  __device__ __forceinline__ void add(const KvSide& k, const KvSide& v, const std::byte* tile, int index, bool open) {
    Positions x[kGroups];
    Window windows[kGroups];
    Blend b[kGroups];
#pragma unroll
    for (int r = 0; r < kGroups; ++r) windows[r] = rows.window(r, index, open);
    tile_scores<kDim, kKeys>(x, c, k, shared.q[warp], tile, windows, lane);
#pragma unroll
    for (int r = 0; r < kGroups; ++r) {
      float top, mass;
      to_weights(x[r], top, mass);
      b[r] = part[r].raise(top, mass);
    }
    uint4 operands[kGroups][kTile / 32];
    float units[kGroups];
    const Factors<kDim, kValues> factors(v, tile, lane);
#pragma unroll
    for (int n = 0; n < kTiles; n += 4) {
      if (n == 0 || kValues == Form::blocks) {
#pragma unroll
        for (int r = 0; r < kGroups; ++r) {
          units[r] =
              __fmul_rn(weight_bytes(operands[r], x[r], factors, n / 4, windows[r], lane), value_step<kValues>(v));
        }
      }
      int sums[kGroups][4][4] = {};
      const auto operand = [&](int step, int r) { return operands[r][step]; };
      if constexpr (kValues == Form::codes) {
        switch (v.bits) {
          case 1:
            tile_sums<kDim, kValues, 1>(sums, v, tile, n, operand, lane);
            break;
          case 2:
            tile_sums<kDim, kValues, 2>(sums, v, tile, n, operand, lane);
            break;
          case 3:
            tile_sums<kDim, kValues, 3>(sums, v, tile, n, operand, lane);
            break;
          default:
            tile_sums<kDim, kValues, 4>(sums, v, tile, n, operand, lane);
        }
      } else {
        tile_sums<kDim, kValues, 0>(sums, v, tile, n, operand, lane);
      }
#pragma unroll
      for (int r = 0; r < kGroups; ++r) part[r].add(b[r], units[r], sums[r], n);
    }
  }

  template <Form kValues>
  __device__ __forceinline__ void unit_ended() {
#pragma unroll
    for (int r = 0; r < kGroups; ++r) {
      const Blend b = blend(total_top[r], part[r].top);
      total_top[r] = b.top;
      total_mass[r] = blended(b, total_mass[r], part[r].mass);
      float* totals = shared.totals[row_of(r)];
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& sum = totals[coordinate_of_tile<kValues>(n, lane % 4, e)];
          sum = blended(b, sum, part[r].values[n][e]);
        }
      }
      part[r].clear();
    }
    __syncwarp();
  }

  template <Form kKeys, Form kValues>
  __device__ __forceinline__ void walk(const Span& span, const KvView& kv, const KvSide& k, const KvSide& v,
                                       const int32_t* table, bool open) {
    const std::byte* head = kv.data + block.heads.kv_head * kv.head_bytes;
    const auto ask = [&](int tile, int stage) {
      if (tile < span.end) {
        std::byte* to = stages + stage * stage_bytes;
        const std::byte* from = head + table[tile] * kv.block_bytes;
        if constexpr (kValues == Form::blocks) {
          fetch_blocks<kDim>(to, from, kv, threadIdx.x);
        } else {
          for (int i = threadIdx.x * 16; i < kv.head_bytes; i += kThreads * 16) copy_async16(to + i, from + i, true);
        }
      }
      copies_issued();
    };
    __syncthreads();
    ask(span.begin, 0);
    for (int tile = span.begin, stage = 0; tile < span.end; ++tile, stage ^= 1) {
      copies_arrived<0>();
      __syncthreads();  // this tile is there for all, and the last one is used up
      ask(tile + 1, stage ^ 1);
      add<kKeys, kValues>(k, v, stages + stage * stage_bytes, tile, open);
      if (tile + 1 == span.end || segment_at(tile + 1) != segment_at(tile)) unit_ended<kValues>();
    }
  }

  __device__ __forceinline__ void walk_all(const Span& closed, const Span& open) {
    const int32_t* table = c.block_table + static_cast<int64_t>(block.s) * c.table_stride;
    if (c.k.codec == KvPolicy::Codec::int8_block) {
      return walk<Form::blocks, Form::blocks>(closed, c.kv, c.k, c.v, table, false);
    }
    if (c.k.bits == kUniformBits) {
      c.v.bits == kUniformBits ? walk<Form::rows, Form::rows>(closed, c.kv, c.k, c.v, table, false)
                               : walk<Form::rows, Form::codes>(closed, c.kv, c.k, c.v, table, false);
    } else {
      c.v.bits == kUniformBits ? walk<Form::codes, Form::rows>(closed, c.kv, c.k, c.v, table, false)
                               : walk<Form::codes, Form::codes>(closed, c.kv, c.k, c.v, table, false);
    }
    table = c.open_table + static_cast<int64_t>(block.s) * c.open_stride;
    walk<Form::blocks, Form::blocks>(open, c.open, c.open_k, c.open_v, table, true);
  }
};

// grid: (chunks of heads, blocks of tokens). The last blocks of a sequence, which see most, come first.
template <int kDim>
__global__ void __launch_bounds__(kThreads) many_kernel(const __grid_constant__ Call c, int64_t stage_bytes) {
  extern __shared__ __align__(128) std::byte memory[];
  auto& shared = *reinterpret_cast<Shared<kDim>*>(memory);
  const TokenBlock block(c, kBlockRows);
  if (block.s < 0) return;
  constexpr size_t kShared = (sizeof(Shared<kDim>) + 127) / 128 * 128;
  Walker<kDim> walker{.c = c, .shared = shared, .stages = memory + kShared, .stage_bytes = stage_bytes, .block = block};
  const int warp = walker.warp, lane = walker.lane;
  const auto open_from = [&](int t) {
    return c.open_table != nullptr ? c.positions[t] / kTile - c.kv.policy.recent : INT_MAX;
  };
  for (int i = 0; i < kGroups * kByteRows; ++i) {
    const int row = warp * kGroups * kByteRows + i, t = block.token_of(c, row);
    const float* from = t < 0 ? nullptr : c.q.row(t) + static_cast<int64_t>(block.head_of(c, row)) * kDim;
    shared.q[warp][i / kByteRows].set(i % kByteRows, from, c.turn);
    for (int d = lane; d < kDim; d += kWarp) shared.totals[row][d] = 0.0f;
  }
#pragma unroll
  for (int r = 0; r < kGroups; ++r) {
    const int t = block.token_of(c, walker.row_of(r));
    walker.rows.t[r] = t;
    if (t >= 0) walker.rows.reach[r] = Reach(c, block.s, c.positions[t]);
    walker.rows.open_from[r] = t >= 0 ? open_from(t) : INT_MAX;
    walker.part[r].clear();
    walker.total_top[r] = -INFINITY;
    walker.total_mass[r] = 0.0f;
  }
  const Reach first(c, block.s, c.positions[block.first_token]), last(c, block.s, c.positions[block.last_token]);
  const int begin = first.first / kTile, end = last.last / kTile + 1;
  walker.walk_all(Span(begin, min(end, max(begin, open_from(block.last_token)))),
                  Span(max(begin, min(end, open_from(block.first_token))), end));
#pragma unroll
  for (int r = 0; r < kGroups; ++r) {
    shared.tops[walker.row_of(r)] = walker.total_top[r];
    shared.masses[walker.row_of(r)] = walker.total_mass[r];
  }
  __syncwarp();
  for (int i = 0; i < kGroups * kByteRows; ++i) {
    const int row = warp * kGroups * kByteRows + i, t = block.token_of(c, row);
    if (t < 0) continue;
    const int head = block.head_of(c, row);
    const float share = share_of(c, head, shared.tops[row], shared.masses[row]);
    float x[kDim / kWarp];
#pragma unroll
    for (int j = 0; j < kDim / kWarp; ++j) x[j] = __fmul_rn(shared.totals[row][lane + j * kWarp], share);
    if (c.turn_back.dim > 0) rotate_lanes<kDim>(x, c.turn_back);
    float* out = c.out.row(t) + static_cast<int64_t>(head) * kDim + lane;
#pragma unroll
    for (int j = 0; j < kDim / kWarp; ++j) out[j * kWarp] = x[j];
  }
}

}  // namespace

template <int kDim>
void attend_bytes_many(const Call& c, cudaStream_t stream) {
  static const bool kAllowed = allow_shared_memory(many_kernel<kDim>, 220 << 10);
  (void)kAllowed;
  const int64_t stage_bytes = std::max(c.kv.head_bytes, c.open.head_bytes), per_block = kBlockRows / c.chunk_heads;
  constexpr size_t kShared = (sizeof(Shared<kDim>) + 127) / 128 * 128;
  const dim3 grid(static_cast<unsigned>(c.a.kv_heads * c.chunks_per_group),
                  static_cast<unsigned>(c.q.rows / per_block + c.n_seqs));
  many_kernel<kDim><<<grid, kThreads, kShared + 2 * stage_bytes, stream>>>(c, stage_bytes);
}

template void attend_bytes_many<64>(const Call& c, cudaStream_t stream);
template void attend_bytes_many<128>(const Call& c, cudaStream_t stream);

}  // namespace arc::cuda::attention
