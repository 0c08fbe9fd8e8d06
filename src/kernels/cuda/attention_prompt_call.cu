// Prompt attention of a step: tiles made bf16 where they are not, blocks of tokens dealt, segments joined.
#include <algorithm>

#include "kernels/cuda/attention_mma.h"
#include "kernels/cuda/attention_prompt.cuh"

namespace arc::cuda {
namespace prompt {
namespace {

constexpr int64_t kFewBlocks = 264;  // fewer than this: each segment has its own

// rotate_lanes() of a block's row, of which this thread has one coordinate.
template <int kDim>
__device__ __forceinline__ float turned_back(float x, const Turn& turn, float* row) {
  row[threadIdx.x] = x;
  __syncthreads();
  if (threadIdx.x < kWarp) {
    float y[kDim / kWarp];
#pragma unroll
    for (int j = 0; j < kDim / kWarp; ++j) y[j] = row[threadIdx.x + j * kWarp];
    rotate_lanes<kDim>(y, turn);
#pragma unroll
    for (int j = 0; j < kDim / kWarp; ++j) row[threadIdx.x + j * kWarp] = y[j];
  }
  __syncthreads();
  return row[threadIdx.x];
}

// Joins the segments of a token and head. grid: (heads, tokens of prompts).
template <int kDim>
__global__ void __launch_bounds__(kDim) join_kernel(const __grid_constant__ Call call) {
  __shared__ float turned[kDim];
  const AttendCall& c = call.a;
  const int head = call.first_head + blockIdx.x, d = threadIdx.x;
  const int64_t t = c.q.rows - call.n_rows + blockIdx.y;
  const int first = call.unpacked.first_seq, end = first + call.unpacked.n_seqs;
  if (t < c.q_start[first] || t >= c.q_start[end]) return;
  int s = first;
  while (c.q_start[s + 1] <= t) ++s;
  const int position = c.positions[t];
  const Reach reach(c, s, position);
  constexpr int kSegment = kSegmentSpans * kSpan;
  float top = -INFINITY, mass = 0.0f, total = 0.0f;
  const auto join = [&](int segment) {
    const float* part = part_of<kDim>(c, segment, t, head);
    const Blend b(top, part[kDim]);
    top = b.top;
    mass = b.of(mass, part[kDim + 1]);
    total = b.of(total, part[d]);
  };
  const bool opens = c.open_table != nullptr;
  const int last = opens ? min(reach.last, max(0, TileRange::open_from(c, position)) * kTileTokens - 1) : reach.last;
  for (int segment = reach.first / kSegment; reach.first <= last && segment <= last / kSegment; ++segment)
    join(segment);
  if (opens) join(call.n_segments);
  float result = total * share_of(c, head, top, mass);
  if (c.turn_back.dim > 0) result = turned_back<kDim>(result, c.turn_back, turned);
  const int64_t column = static_cast<int64_t>(head) * kDim + d;
  if (call.rounded) {
    c.out.row<__nv_bfloat16>(2 * t)[column] = __float2bfloat16(result);
  } else {
    c.out.row(t)[column] = result;
  }
}

// Describes all rows of keys and values from `data` on, and what lies behind: only rows of tiles are asked for.
template <int kDim>
void describe(CUtensorMap& map, std::byte* data) {
  constexpr cuuint64_t kRows = uint64_t{1} << 31;
  const cuuint64_t size[3] = {64, kDim / 64, kRows}, apart[2] = {128, kDim * 2};
  const cuuint32_t box[3] = {64, 1, kTileTokens}, step[3] = {1, 1, 1};
  tile_encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, data, size, apart, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
                 CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

// The prompts that call.unpacked names; `parts`: room for kMaxPartsBytes.
template <int kDim>
void start(Call call, std::byte* parts, cudaStream_t stream) {
  const AttendCall& c = call.a;
  describe<kDim>(call.cache, call.unpacked.data != nullptr ? call.unpacked.data : c.kv.data);
  const int64_t blocks = call.n_rows / kTokens + call.unpacked.n_seqs;
  call.n_segments = blocks_for(c.table_stride, kPages * kSegmentSpans);
  const int segments = call.n_segments + (c.open_table != nullptr ? 1 : 0);
  const bool split = segments > 1 && blocks * call.n_heads < kFewBlocks &&
                     segments * c.q.rows * c.a.heads * (kDim + 2) * 4 <= kMaxPartsBytes;
  call.a.parts = split ? reinterpret_cast<float*>(parts) : nullptr;
  const auto heads = static_cast<unsigned>(call.n_heads);
  const dim3 grid(heads, static_cast<unsigned>(blocks), split ? static_cast<unsigned>(segments) : 1u);
  attend_blocks<kDim>(call, grid, stream);
  if (!split) return;
  const dim3 rows(heads, static_cast<unsigned>(call.n_rows));
  join_kernel<kDim><<<rows, kDim, 0, stream>>>(call);
}

// As many prompts and heads at a time as there is room for: all prompts, or one.
template <int kDim>
void start_unpacked(Call call, const Operands& o) {
  const AttendCall& c = call.a;
  const int32_t n_prompts = call.unpacked.n_seqs, end = call.unpacked.first_seq + n_prompts;
  constexpr int64_t kTileBytes = unpacked_tile_bytes(kDim);
  int64_t tiles = unpacked_tiles(c, o.n_prompt_tiles, call.n_rows, n_prompts);
  const bool together = tiles * kTileBytes <= kPromptBytes;
  if (!together) {
    tiles = std::min(tiles, unpacked_tiles(c, std::min<int64_t>(o.n_prompt_tiles, c.table_stride), call.n_rows, 1));
    call.unpacked.n_seqs = 1;
  }
  const auto room = static_cast<int32_t>(std::max<int64_t>(1, kPromptBytes / (tiles * kTileBytes)));
  const int32_t kv_heads = c.a.kv_heads, group = c.a.heads / kv_heads;
  const int32_t at_once = blocks_for(kv_heads, blocks_for(kv_heads, room));
  call.unpacked.data = o.scratch + kMaxPartsBytes;
  for (; call.unpacked.first_seq < end; call.unpacked.first_seq += call.unpacked.n_seqs) {
    for (int32_t head = 0; head < kv_heads; head += at_once) {
      call.unpacked.first_head = head;
      call.unpacked.n_heads = std::min(at_once, kv_heads - head);
      call.first_head = head * group, call.n_heads = call.unpacked.n_heads * group;
      unpack_tiles(c, call.unpacked, tiles, stream_of(o));
      start<kDim>(call, o.scratch, stream_of(o));
    }
  }
}

template <int kDim>
void start(const Call& call, const Operands& o) {
  if (!o.kv.policy.is_raw()) return start_unpacked<kDim>(call, o);
  start<kDim>(call, o.scratch, stream_of(o));
}

}  // namespace
}  // namespace prompt

bool has_prompt_attention() {
  return is_hopper();
}

void attend_prompts(const AttendArgs& a, const Operands& o) {
  const int32_t n_prompts = o.step->n_prompts;
  const prompt::Call call{.a = attend_call(a, o, a.heads),
                          .unpacked = {.first_seq = o.step->n_seqs - n_prompts, .n_seqs = n_prompts},
                          .n_rows = o.n_prompt,
                          .n_heads = a.heads,
                          .rounded = o.rounded_out};
  a.k_dim == 64 ? prompt::start<64>(call, o) : prompt::start<128>(call, o);
}

}  // namespace arc::cuda
