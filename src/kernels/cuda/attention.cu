// Attention over the paged cache on the device, any codec, head size, group size, window, soft cap, sinks.
//
// The context of a query is walked in segments of kSegment positions, aligned to position 0. A segment gives a largest
// score, a mass and weighted values; segments are merged in ascending order. That order is the same whether one block
// walks all of them (many queries) or each has a block of its own (few queries, long context), so the bits are too.
#include <climits>

#include "kernels/cuda/attention_call.cuh"
#include "kernels/cuda/attention_mma.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/limits.h"

namespace arc::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kTile = 32;                              // positions whose weights are in shared memory at once
constexpr int kChunk = 4;                              // query heads of a block; they share one key/value head
constexpr int kMaxPerThread = kMaxHeadDim / kThreads;  // value coordinates of a thread

using Call = AttendCall;  // parts: [T, chunks, segments, kChunk, v_dim + 2]

// What one block has found for its query heads: thread i holds value coordinates i, i + kThreads, ...
struct State {
  float largest[kChunk];
  float mass[kChunk];
  float values[kChunk][kMaxPerThread];

  __device__ void clear() {
#pragma unroll
    for (int h = 0; h < kChunk; ++h) {
      largest[h] = -INFINITY;
      mass[h] = 0.0f;
#pragma unroll
      for (int i = 0; i < kMaxPerThread; ++i) values[h][i] = 0.0f;
    }
  }
};

// this <- this and then `part`. Fused operations are written out: the bits must not depend on where this is inlined.
__device__ __forceinline__ void merge(float& largest, float& mass, float* values, int n, float part_largest,
                                      float part_mass, const float* part_values) {
  if (part_largest == -INFINITY) return;
  const float top = fmaxf(largest, part_largest);
  const float keep = __expf(largest - top), take = __expf(part_largest - top);
  largest = top;
  mass = fmaf(part_mass, take, mass * keep);
#pragma unroll
  for (int i = 0; i < kMaxPerThread; ++i) {
    if (i < n) values[i] = fmaf(part_values[i], take, values[i] * keep);
  }
}

struct Shared {
  float weights[kChunk][kTile];
  float scale[kChunk];  // of what was summed before this tile
};

// The sequence of token row t.
__device__ int sequence_of(const Call& c, int t) {
  int s = 0;
  while (s + 1 < c.n_seqs && c.q_start[s + 1] <= t) ++s;
  return s;
}

// The cache as one query sees it. kRaw: every tile is raw.
template <bool kRaw>
struct Seen {
  const Call& c;
  const int32_t *table, *open_table;
  int open_from, kv_head;  // the first tile that is read open

  __device__ Seen(const Call& call, int s, int position, int kv_head)
      : c(call),
        table(call.block_table + static_cast<int64_t>(s) * call.table_stride),
        open_table(call.open_table + static_cast<int64_t>(s) * call.open_stride),
        open_from(call.open_table != nullptr ? position / kTileTokens - call.kv.policy.recent : INT_MAX),
        kv_head(kv_head) {}

  // One position's place. Its keys and values: key(d), value(d).
  struct Place {
    const Call& c;
    const std::byte* head;
    int token;
    bool open;

    __device__ float key(int d) const {
      if constexpr (kRaw) return load_as_float(head, c.k.raw, static_cast<int64_t>(token) * c.k.dim + d);
      return kv_element(open ? c.open_k : c.k, head, token, d);
    }
    __device__ float value(int d) const {
      if constexpr (kRaw)
        return load_as_float(head + c.v.data_bytes, c.v.raw, static_cast<int64_t>(token) * c.v.dim + d);
      return kv_element(open ? c.open_v : c.v, head, token, d);
    }
  };
  __device__ Place at(int position) const {
    const int tile = position / kTileTokens;
    const bool open = !kRaw && tile >= open_from;
    const KvView& kv = open ? c.open : c.kv;
    const int64_t block = (open ? open_table : table)[tile];
    return {c, kv.data + block * kv.block_bytes + kv_head * kv.head_bytes, position % kTileTokens, open};
  }
};

// Scores of positions [begin, begin + kTile) for the chunk's heads, into shared.weights. One warp per position.
template <bool kRaw>
__device__ void score_tile(const Seen<kRaw>& seen, const float* q, int heads, int begin, int first, int last,
                           Shared& shared) {
  const Call& c = seen.c;
  const int lane = threadIdx.x % kWarp;
  for (int j = threadIdx.x / kWarp; j < kTile; j += kWarps) {
    const int position = begin + j;
    const bool visible = position >= first && position <= last;
    float dots[kChunk] = {};
    if (visible) {
      const auto place = seen.at(position);
      for (int d = lane; d < c.a.k_dim; d += kWarp) {
        const float k = place.key(d);
#pragma unroll
        for (int h = 0; h < kChunk; ++h) dots[h] += h < heads ? q[h * c.a.k_dim + d] * k : 0.0f;
      }
    }
#pragma unroll
    for (int h = 0; h < kChunk; ++h) {
      float score = warp_sum(dots[h]) * c.a.scale;
      if (c.a.softcap > 0) score = c.a.softcap * tanhf(score / c.a.softcap);
      if (lane == 0) shared.weights[h][j] = visible ? score : -INFINITY;
    }
  }
}

// Scores become weights relative to the new largest; warp h does head h.
__device__ void softmax_tile(State& state, Shared& shared) {
  const int lane = threadIdx.x % kWarp;
  for (int h = threadIdx.x / kWarp; h < kChunk; h += kWarps) {
    const float score = shared.weights[h][lane];
    const float top = fmaxf(state.largest[h], warp_max(score));
    shared.weights[h][lane] = score == -INFINITY ? 0.0f : __expf(score - top);
    if (lane == 0) shared.scale[h] = top;
  }
}

template <bool kRaw>
__device__ void add_values(const Seen<kRaw>& seen, int begin, int first, int last, State& state, const Shared& shared) {
  const int low = max(begin, first), high = min(begin + kTile - 1, last);
  for (int position = low; position <= high; ++position) {
    const auto place = seen.at(position);
#pragma unroll
    for (int i = 0; i < kMaxPerThread; ++i) {
      const int d = threadIdx.x + i * kThreads;
      if (d >= seen.c.a.v_dim) break;
      const float v = place.value(d);
#pragma unroll
      for (int h = 0; h < kChunk; ++h) state.values[h][i] += shared.weights[h][position - begin] * v;
    }
  }
}

template <bool kRaw>
__device__ void walk_segment(const Seen<kRaw>& seen, const float* q, int heads, int segment, int first, int last,
                             State& state, Shared& shared) {
  state.clear();
  const int end = min((segment + 1) * kSegment, last + 1);
  for (int begin = max(segment * kSegment, first / kTile * kTile); begin < end; begin += kTile) {
    __syncthreads();  // the last tile's weights have been used
    score_tile(seen, q, heads, begin, first, last, shared);
    __syncthreads();
    softmax_tile(state, shared);
    __syncthreads();
#pragma unroll
    for (int h = 0; h < kChunk; ++h) {
      const float top = shared.scale[h], keep = __expf(state.largest[h] - top);
      if (top == -INFINITY) continue;
      float mass = 0.0f;
      for (int j = 0; j < kTile; ++j) mass += shared.weights[h][j];
      state.mass[h] = state.mass[h] * keep + mass;
      state.largest[h] = top;
#pragma unroll
      for (int i = 0; i < kMaxPerThread; ++i) state.values[h][i] *= keep;
    }
    add_values(seen, begin, first, last, state, shared);
  }
}

__device__ void store_head(const Call& c, int t, int head, float largest, float mass, const float* values) {
  float share = 1.0f / mass;
  if (c.sinks != nullptr) {
    // The sink joins last: exp(sink) in units of exp(largest).
    const float top = fmaxf(largest, c.sinks[head]);
    const float keep = __expf(largest - top);
    share = keep / (mass * keep + __expf(c.sinks[head] - top));
  }
  float* out = c.out.row(t) + head * c.a.v_dim;
#pragma unroll
  for (int i = 0; i < kMaxPerThread; ++i) {
    const int d = threadIdx.x + i * kThreads;
    if (d < c.a.v_dim) out[d] = values[i] * share;
  }
}

// grid: (chunks of heads, T, segments or 1).
template <bool kRaw>
__global__ void __launch_bounds__(kThreads) attend_kernel(const __grid_constant__ Call c) {
  extern __shared__ float q[];  // [kChunk, k_dim]
  __shared__ Shared shared;
  const int group = c.a.heads / c.a.kv_heads, kv_head = blockIdx.x / c.chunks_per_group, t = blockIdx.y;
  const int chunk_first = blockIdx.x % c.chunks_per_group * kChunk;
  const int head = kv_head * group + chunk_first, heads = min(kChunk, group - chunk_first);
  const int s = sequence_of(c, t), position = c.positions[t];
  const auto [first, last] = Reach(c, s, position);
  const Seen<kRaw> seen(c, s, position, kv_head);
  for (int i = threadIdx.x; i < heads * c.a.k_dim; i += kThreads) q[i] = c.q.row(t)[head * c.a.k_dim + i];
  if (!kRaw && c.turn.dim > 0) {
    for (int h = 0; h < heads; ++h) rotate_row<kThreads>(q + h * c.a.k_dim, c.turn);
  }

  State part;
  const int n = c.a.v_dim > static_cast<int>(threadIdx.x) ? (c.a.v_dim - threadIdx.x + kThreads - 1) / kThreads : 0;
  if (c.parts != nullptr) {
    const int segment = blockIdx.z;
    part.clear();
    if (segment >= first / kSegment && segment <= last / kSegment) {
      walk_segment(seen, q, heads, segment, first, last, part, shared);
    }
    float* out = c.parts +
                 ((static_cast<int64_t>(t) * gridDim.x + blockIdx.x) * c.segments + segment) * kChunk * (c.a.v_dim + 2);
#pragma unroll
    for (int h = 0; h < kChunk; ++h, out += c.a.v_dim + 2) {
      if (threadIdx.x == 0) {
        out[0] = part.largest[h];
        out[1] = part.mass[h];
      }
#pragma unroll
      for (int i = 0; i < kMaxPerThread; ++i) {
        if (i < n) out[2 + threadIdx.x + i * kThreads] = part.values[h][i];
      }
    }
    return;
  }
  State total;
  total.clear();
  for (int segment = first / kSegment; segment <= last / kSegment; ++segment) {
    walk_segment(seen, q, heads, segment, first, last, part, shared);
#pragma unroll
    for (int h = 0; h < kChunk; ++h) {
      merge(total.largest[h], total.mass[h], total.values[h], n, part.largest[h], part.mass[h], part.values[h]);
    }
  }
#pragma unroll
  for (int h = 0; h < kChunk; ++h) {
    if (h < heads) store_head(c, t, head + h, total.largest[h], total.mass[h], total.values[h]);
  }
}

// Merges the segments of one token and head. grid: (heads, T).
__global__ void __launch_bounds__(kThreads) merge_kernel(const __grid_constant__ Call c) {
  const int group = c.a.heads / c.a.kv_heads, chunks_per_group = c.chunks_per_group;
  const int head = blockIdx.x, t = blockIdx.y;
  const int chunk = head / group * chunks_per_group + head % group / kChunk, h = head % group % kChunk;
  const int n_chunks = c.a.kv_heads * chunks_per_group;
  const int n = c.a.v_dim > static_cast<int>(threadIdx.x) ? (c.a.v_dim - threadIdx.x + kThreads - 1) / kThreads : 0;
  float largest = -INFINITY, mass = 0.0f, values[kMaxPerThread] = {};
  for (int segment = 0; segment < c.segments; ++segment) {
    const float* part = c.parts + (((static_cast<int64_t>(t) * n_chunks + chunk) * c.segments + segment) * kChunk + h) *
                                      (c.a.v_dim + 2);
    float part_values[kMaxPerThread];
#pragma unroll
    for (int i = 0; i < kMaxPerThread; ++i) part_values[i] = i < n ? part[2 + threadIdx.x + i * kThreads] : 0.0f;
    merge(largest, mass, values, n, part[0], part[1], part_values);
  }
  store_head(c, t, head, largest, mass, values);
}

// grid: (heads, T).
__global__ void __launch_bounds__(kThreads) turn_kernel(Rows from, Rows to, const __grid_constant__ Turn turn) {
  __shared__ float x[kMaxTurboDim];
  const int64_t t = blockIdx.y, head = static_cast<int64_t>(blockIdx.x) * turn.dim;
  for (int i = threadIdx.x; i < turn.dim; i += kThreads) x[i] = from.row(t)[head + i];
  rotate_row<kThreads>(x, turn);
  for (int i = threadIdx.x; i < turn.dim; i += kThreads) to.row(t)[head + i] = x[i];
}

}  // namespace

void turn_heads(const Rows& from, const Rows& to, int32_t heads, const Turn& turn, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(heads), static_cast<unsigned>(from.rows));
  turn_kernel<<<grid, kThreads, 0, stream>>>(from, to, turn);
}

namespace {

void attend(const AttendArgs& a, const Operands& o) {
  // Tensor cores know no trellis.
  if (!o.kv.policy.trellis() && attends_on_tensor_cores(a, o)) return attend_on_tensor_cores(a, o);
  Call c = attend_call(a, o, kChunk);
  const int64_t tokens = c.q.rows;
  if (tokens == 0) return;
  const auto chunks = static_cast<unsigned>(a.kv_heads * c.chunks_per_group);
  c.segments = blocks_for(static_cast<int64_t>(c.table_stride) * kTileTokens, kSegment);
  const int64_t part_bytes = attend_parts_bytes(a, tokens, c.segments);
  const bool split = c.segments > 1 && tokens * chunks < kFewBlocks && part_bytes <= kMaxPartsBytes;
  if (split) c.parts = reinterpret_cast<float*>(o.scratch);
  const dim3 grid(chunks, static_cast<unsigned>(tokens), split ? static_cast<unsigned>(c.segments) : 1u);
  const auto kernel = o.kv.policy.is_raw() ? attend_kernel<true> : attend_kernel<false>;
  kernel<<<grid, kThreads, kChunk * a.k_dim * sizeof(float), stream_of(o)>>>(c);
  if (split) {
    const dim3 heads(static_cast<unsigned>(a.heads), static_cast<unsigned>(tokens));
    merge_kernel<<<heads, kThreads, 0, stream_of(o)>>>(c);
  }
  if (a.open_group >= 0) turn_heads(c.out, c.out, a.heads, turn_of(o.kv.v_turbo), stream_of(o));
}

}  // namespace

// Prompts, then what the step has besides.
void run(const AttendArgs& a, const Operands& o) noexcept {
  if (o.n_prompt == 0 || !attends_prompts(a, o)) return attend(a, o);
  StepInputs step = *o.step;
  step.n_seqs -= step.n_prompts;
  TensorView q = o.reads[0], out = o.writes[0];
  q.rows = out.rows = q.rows - o.n_prompt;
  Operands others = o;
  others.step = &step, others.reads = &q, others.writes = &out;
  attend_prompts(a, o);
  if (q.rows > 0) attend(a, others);
}

}  // namespace arc::cuda
