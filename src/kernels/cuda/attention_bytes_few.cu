// Attention in products of bytes for sequences with one token in a step: eight query heads are the rows. A block has
// four tiles at a time: each warp makes the weights of one of them, then adds a quarter of all columns of all four.
#include "kernels/cuda/attention_bytes.cuh"

namespace arc::cuda::attention {
namespace {

constexpr int kMaxStages = 2;

template <int kDim>
struct Shared {
  ByteQueries<kDim> q;
  float tops[kWarps][kByteRows], masses[kWarps][kByteRows], units[kWarps][kDim / 32][kByteRows];  // of tiles
  Arrival arrivals[kMaxStages];
  int starts[kDealtSeqs + 1];
};

// How a block's memory is shared out: operands of weights, then tiles.
struct Room {
  int32_t stages = 1;       // of kWarps packed tiles
  int32_t block_tiles = 0;  // of int8_block at a time
  int64_t bytes = 0;
};

template <int kDim>
struct Walker {
  static constexpr int kTiles = kDim / 32;  // columns tiles of a warp
  static constexpr int kSetBytes = kTile / 32 * kWarp * 16;
  using Sums = ByteSums<kTiles>;

  const Call& c;
  const Room& room;
  Shared<kDim>& shared;
  std::byte* memory;
  int group;
  int stage = 0;        // that comes next, of packed tiles
  uint32_t parity = 0;  // of its arrival
  int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  Sums part, total;

  // ---- one round: this warp's tile, then its columns of all tiles ----

  __device__ __forceinline__ uint4* weights(int slot, int sets, int set) const {
    return reinterpret_cast<uint4*>(memory + (slot * sets + set) * kSetBytes) + lane;
  }

  template <Form kKeys, Form kValues>
  __device__ __forceinline__ void weigh(const KvSide& k, const KvSide& v, int slot, const std::byte* tile,
                                        const Window& window) {
    constexpr int kSets = kValues == Form::blocks ? kDim / 32 : 1;
    const int g = lane / 4;
    Positions x[1];
    const Window windows[1] = {window};
    tile_scores<kDim, kKeys>(x, c, k, &shared.q, tile, windows, lane);
    float top, mass;
    to_weights(x[0], top, mass);
    if (lane % 4 == 0) shared.tops[slot][g] = top, shared.masses[slot][g] = mass;
    const Factors<kDim, kValues> factors(v, tile, lane);
#pragma unroll
    for (int set = 0; set < kSets; ++set) {
      uint4 bytes[kTile / 32];
      const float unit = weight_bytes(bytes, x[0], factors, set, window, lane);
      if (lane % 4 == 0) shared.units[slot][set][g] = __fmul_rn(unit, value_step<kValues>(v));
#pragma unroll
      for (int step = 0; step < kTile / 32; ++step) weights(slot, kSets, set)[step * kWarp] = bytes[step];
    }
  }

  // Adds the columns of `n` tiles, the first of which is at `tile`. kBits: of codes.
  template <Form kValues, int kBits>
  __device__ __forceinline__ void add(const KvSide& v, int n, const std::byte* tile, int64_t tile_bytes) {
    constexpr int kSets = kValues == Form::blocks ? kDim / 32 : 1;
    const int g = lane / 4, set = kValues == Form::blocks ? warp * kTiles / 4 : 0;
#pragma unroll 2
    for (int slot = 0; slot < n; ++slot) {
      int sums[1][kTiles][4] = {};
      const uint4* operands = weights(slot, kSets, set);
      const auto operand = [&](int step, int) { return operands[step * kWarp]; };
      tile_sums<kDim, kValues, kBits>(sums, v, tile + slot * tile_bytes, warp * kTiles, operand, lane);
      const Blend b = part.raise(shared.tops[slot][g], shared.masses[slot][g]);
      part.add(b, shared.units[slot][set][g], sums[0], 0);
    }
  }
  template <Form kValues>
  __device__ __forceinline__ void add_packed(int n, const std::byte* tile) {
    if constexpr (kValues == Form::codes) {
      switch (c.v.bits) {
        case 1:
          return add<kValues, 1>(c.v, n, tile, c.kv.head_bytes);
        case 2:
          return add<kValues, 2>(c.v, n, tile, c.kv.head_bytes);
        case 3:
          return add<kValues, 3>(c.v, n, tile, c.kv.head_bytes);
        default:
          return add<kValues, 4>(c.v, n, tile, c.kv.head_bytes);
      }
    } else {
      add<kValues, 0>(c.v, n, tile, c.kv.head_bytes);
    }
  }

  // ---- parts ----

  template <Form kValues>
  __device__ __forceinline__ void store(const Sums& sums, const Run& run, int item, int next) const {
    const int head = lane / 4;
    if (head >= Heads(c, run.chunk).count) return;
    float* out = part_at<kDim>(c, group, item, head);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) out[coordinate_of_tile<kValues>(warp * kTiles + n, lane % 4, e)] = sums.values[n][e];
    }
    if (warp > 0 || lane % 4 > 0) return;
    out[kDim + kPartMass] = sums.mass;
    out[kDim + kPartTop] = sums.top;
    out[kDim + kPartNext] = __int_as_float(next);
  }

  // Units that start with the row's first are merged here.
  struct Joined {
    bool from_first;
    int item, n = 0;
  };
  template <Form kValues>
  __device__ __forceinline__ void unit_ended(Joined& joined, const Run& run) {
    if (joined.from_first) {
      total.join(part);
    } else {
      store<kValues>(part, run, joined.item + joined.n, 1);
    }
    ++joined.n;
    part.clear();
  }
  template <Form kValues>
  __device__ __forceinline__ void span_ended(const Joined& joined, const Run& run, bool one_item) const {
    if (joined.from_first) store<kValues>(total, run, joined.item, one_item ? 1 : joined.n);
  }

  // ---- rows ----

  __device__ __forceinline__ Window window_of(const Run& run, int tile) const {
    return {run.row.reach.first - tile * kTile, run.row.reach.last - tile * kTile};
  }

  __device__ __forceinline__ void set_queries(const Run& run) const {
    const Heads heads(c, run.chunk);
    const float* from = c.q.row(run.row.t) + static_cast<int64_t>(heads.first) * kDim;
    for (int i = warp; i < kByteRows; i += kWarps) {
      shared.q.set(i, i < heads.count ? from + i * kDim : nullptr, c.turn);
    }
    __syncthreads();
  }

  // How many packed tiles come together from `tile` on.
  __device__ __forceinline__ static int together(const Run& run, int tile) {
    return min(kWarps - tile % kWarps, run.closed.end - tile);
  }
  // The block of this warp's tile, of those that come together from `tile` on.
  __device__ __forceinline__ int64_t block_of(const Run& run, int tile) const {
    return warp < together(run, tile) ? c.block_table[static_cast<int64_t>(run.s) * c.table_stride + tile + warp] : 0;
  }
  // Asks for the packed tiles from `tile` on into stage `to`, a warp for its own; how many.
  __device__ __forceinline__ int ask(const Run& run, int tile, int to, int64_t block) const {
    const int n = together(run, tile), bytes = static_cast<int>(c.kv.head_bytes);
    if (threadIdx.x == 0) expect_bytes(&shared.arrivals[to], static_cast<uint32_t>(n * bytes));
    if (lane == 0 && warp < n) {
      const std::byte* head = c.kv.data + run.chunk / c.chunks_per_group * c.kv.head_bytes;
      copy_bulk(packed(to, warp), head + block * c.kv.block_bytes, static_cast<uint32_t>(bytes), &shared.arrivals[to]);
    }
    __syncwarp();
    return n;
  }
  __device__ __forceinline__ std::byte* packed(int stage, int slot) const {
    return memory + kWarps * kSetBytes + (stage * kWarps + slot) * c.kv.head_bytes;
  }

  // Packed tiles. Queries are set when the first tiles are on their way.
  template <Form kKeys, Form kValues>
  __device__ __forceinline__ void walk_packed(const Run& run) {
    int asked = run.closed.begin;
    for (int i = 0; i < room.stages && asked < run.closed.end; ++i) {
      asked += ask(run, asked, room.stages > 1 ? stage ^ i : 0, block_of(run, asked));
    }
    set_queries(run);
    Joined joined{.from_first = run.first, .item = run.item};
    for (int tile = run.closed.begin; tile < run.closed.end;) {
      const int n = together(run, tile);
      const bool more = asked < run.closed.end;
      const int64_t next_block = more ? block_of(run, asked) : 0;
      await_bytes(&shared.arrivals[stage], parity);
      if (warp < n) weigh<kKeys, kValues>(c.k, c.v, warp, packed(stage, warp), window_of(run, tile + warp));
      __syncthreads();
      add_packed<kValues>(n, packed(stage, 0));
      __syncthreads();
      if (more) asked += ask(run, asked, stage, next_block);
      stage = stage + 1 == room.stages ? 0 : stage + 1;
      parity ^= stage == 0 ? 1 : 0;
      const int last = segment_at(tile);
      tile += n;
      if (tile == run.closed.end || segment_at(tile) != last) unit_ended<kValues>(joined, run);
    }
    span_ended<kValues>(joined, run, run.whole);
  }

  // Tiles of int8_block.
  __device__ __forceinline__ void walk_blocks(const Run& run, const Span& span, const KvView& kv, const KvSide& k,
                                              const KvSide& v, const int32_t* table, Joined joined) {
    constexpr int kTileBytes = kDim / 32 * kSetBytes;
    std::byte* tiles = memory + room.block_tiles * kTileBytes;
    const std::byte* head = kv.data + run.chunk / c.chunks_per_group * kv.head_bytes;
    for (int tile = span.begin; tile < span.end;) {
      const int segment = segment_at(tile);
      const int n = min(room.block_tiles, min(span.end, segment_begin(segment + 1) / kTile) - tile);
      for (int slot = 0; slot < n; ++slot) {
        fetch_blocks<kDim>(tiles + slot * kv.head_bytes, head + table[tile + slot] * kv.block_bytes, kv, threadIdx.x);
      }
      copies_issued();
      copies_arrived<0>();
      __syncthreads();
      if (warp < n) {
        weigh<Form::blocks, Form::blocks>(k, v, warp, tiles + warp * kv.head_bytes, window_of(run, tile + warp));
      }
      __syncthreads();
      add<Form::blocks, 0>(v, n, tiles, kv.head_bytes);
      __syncthreads();
      tile += n;
      if (tile == span.end || segment_at(tile) != segment) unit_ended<Form::blocks>(joined, run);
    }
    span_ended<Form::blocks>(joined, run, run.whole);
  }

  __device__ __forceinline__ void operator()(const Run& run) {
    part.clear();
    total.clear();
    if (c.k.codec == KvPolicy::Codec::int8_block) {
      set_queries(run);
      const int32_t* table = c.block_table + static_cast<int64_t>(run.s) * c.table_stride;
      return walk_blocks(run, run.closed, c.kv, c.k, c.v, table, {.from_first = run.first, .item = run.item});
    }
    if (run.closed.units == 0) {
      set_queries(run);
    } else if (c.k.bits == kUniformBits) {
      c.v.bits == kUniformBits ? walk_packed<Form::rows, Form::rows>(run) : walk_packed<Form::rows, Form::codes>(run);
    } else {
      c.v.bits == kUniformBits ? walk_packed<Form::codes, Form::rows>(run) : walk_packed<Form::codes, Form::codes>(run);
    }
    if (run.open.units == 0) return;
    const int32_t* table = c.open_table + static_cast<int64_t>(run.s) * c.open_stride;
    walk_blocks(run, run.open, c.open, c.open_k, c.open_v, table, {.from_first = false, .item = run.open_item()});
  }
};

// grid: (blocks that share the work, groups of kDealtSeqs sequences).
template <int kDim>
__global__ void __launch_bounds__(kThreads, 3)
    few_kernel(const __grid_constant__ Call c, const __grid_constant__ Room room) {
  extern __shared__ __align__(128) std::byte memory[];
  auto& shared = *reinterpret_cast<Shared<kDim>*>(memory);
  if (threadIdx.x == 0) set_arrivals(shared.arrivals, kMaxStages);
  const int group = static_cast<int>(blockIdx.y);
  const Deal deal(c, group, shared.starts);
  constexpr size_t kShared = (sizeof(Shared<kDim>) + 127) / 128 * 128;
  Walker<kDim> walker{.c = c, .room = room, .shared = shared, .memory = memory + kShared, .group = group};
  for_runs(c, deal, shared.starts, walker);
}

// Three blocks of a processor share its memory, if two stages of packed tiles allow it.
template <int kDim>
Room room_for(const Call& c) {
  constexpr int64_t kShared = (sizeof(Shared<kDim>) + 127) / 128 * 128, kMost = 74 << 10;
  constexpr int64_t kSet = Walker<kDim>::kSetBytes;
  const bool packed = c.kv.policy.tiled();
  Room room;
  const int64_t tiles = kWarps * c.kv.head_bytes, weights = kWarps * kSet;
  if (packed) {
    room.stages = kShared + weights + 2 * tiles <= kMost ? 2 : 1;
    room.bytes = kShared + weights + room.stages * tiles;
  }
  const int64_t block_tile = (packed ? c.open : c.kv).head_bytes + kDim / 32 * kSet;
  if (!packed) room.bytes = kMost;
  room.bytes = std::max(room.bytes, kShared + block_tile);
  room.block_tiles = static_cast<int32_t>(std::min<int64_t>(kWarps, (room.bytes - kShared) / block_tile));
  if (!packed) room.bytes = kShared + room.block_tiles * block_tile;
  return room;
}

}  // namespace

template <int kDim>
void attend_bytes_few(const Call& c, int processors, cudaStream_t stream) {
  static const bool kAllowed = allow_shared_memory(few_kernel<kDim>, 220 << 10);
  (void)kAllowed;
  const Room room = room_for<kDim>(c);
  const dim3 grid(static_cast<unsigned>(3 * processors), static_cast<unsigned>(blocks_for(c.n_seqs, kDealtSeqs)));
  few_kernel<kDim><<<grid, kThreads, room.bytes, stream>>>(c, room);
}

template void attend_bytes_few<64>(const Call& c, int processors, cudaStream_t stream);
template void attend_bytes_few<128>(const Call& c, int processors, cudaStream_t stream);

}  // namespace arc::cuda::attention
