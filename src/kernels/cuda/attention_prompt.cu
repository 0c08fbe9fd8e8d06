// Attention of a prompt's tokens over a raw bf16 cache: copies of tiles by a warp that does nothing else, products by
// two warpgroups, each with 64 tokens of one query head.
//
// Queries and weights are rounded to bf16. A row's sums run over spans of kSpan positions, in ascending order. Segments
// of kSegmentSpans spans have sums of their own, which are joined in ascending order: the same bits whether one block
// walks all segments, or each has a block (few tokens, long context). All are aligned to position 0, whatever else the
// step computes.
#include "kernels/cuda/attention_call.cuh"
#include "kernels/cuda/attention_mma.h"
#include "kernels/cuda/hopper.cuh"

namespace arc::cuda {
namespace {

constexpr int kTokens = 128;  // of a block
constexpr int kSpan = 128;    // positions whose scores are there at once: kPages tiles of the cache
constexpr int kPages = kSpan / kTileTokens;
constexpr int kSegmentSpans = 16;
constexpr int64_t kFewBlocks = 264;  // fewer than this: each segment has its own
constexpr int kMultipliers = 2;      // warpgroups
constexpr int kThreads = (1 + kMultipliers) * kWarpgroup;
constexpr int kFeederRegisters = 40, kMultiplierRegisters = 232;
constexpr int kStages = 2;
constexpr float kLog2e = 1.4426950408889634f;

// The `n_prompts` sequences behind those of `a`, which has all rows; theirs are the last `n_rows`.
struct PromptAttendCall {
  AttendCall a;
  int32_t n_prompts = 0;
  int64_t n_rows = 0;
  bool rounded = false;  // their rows of a.out hold bf16
};

// c.a.parts: [segments, rows, heads, kDim + 2]: sums, largest, mass. Null: one block walks all segments.
struct Call : PromptAttendCall {
  CUtensorMap cache;  // [rows, 64 columns, halves]: all of the layer's memory
};

// Rows of 64 columns, half after half; pieces swapped as copies do it.
template <int kDim>
struct Stage {
  __nv_bfloat16 keys[kDim / 64][kSpan * 64], values[kDim / 64][kSpan * 64];
};

template <int kDim>
struct Shared {
  alignas(1024) __nv_bfloat16 queries[kMultipliers][kDim / 64][64 * 64];
  Stage<kDim> stages[kStages];
  float totals[kDim / 2][kMultipliers * kWarpgroup];  // of each thread
  uint64_t keys_full[kStages], keys_empty[kStages], values_full[kStages], values_empty[kStages];
};

struct Cursor {
  int at = 0;
  uint32_t parity = 0;

  __device__ __forceinline__ void next() {
    if (++at == kStages) at = 0, parity ^= 1;
  }
};

// Which tokens a block has, and the spans that they see.
struct Block {
  int s = -1, first_token = 0, n_tokens = 0;
  int begin = 0, end = 0;                 // spans
  int first_position = 0, last_tile = 0;  // where pages begin that are still there; the sequence's last tile

  __device__ Block(const Call& call, int tile) {
    const AttendCall& c = call.a;
    for (int i = c.n_seqs; i < c.n_seqs + call.n_prompts; ++i) {
      const int n = c.q_start[i + 1] - c.q_start[i], tiles = (n + kTokens - 1) / kTokens;
      if (tile >= tiles) {
        tile -= tiles;
        continue;
      }
      s = i;
      // The last tokens, which see most, come first.
      first_token = c.q_start[i] + (tiles - 1 - tile) * kTokens;
      n_tokens = min(kTokens, c.q_start[i + 1] - first_token);
      const Reach first(c, i, c.positions[first_token]), last(c, i, c.positions[first_token + n_tokens - 1]);
      begin = first.first / kSpan, end = last.last / kSpan + 1;
      if (c.parts != nullptr) {
        const int segment = static_cast<int>(blockIdx.z) * kSegmentSpans;
        begin = max(begin, segment), end = min(end, segment + kSegmentSpans);
      }
      first_position = first.first / kTileTokens * kTileTokens;
      last_tile = (c.seq_lens[i] - 1) / kTileTokens;
      return;
    }
  }
};

template <int kDim>
__device__ __forceinline__ void feed(const Call& call, const Block& block, int kv_head, Shared<kDim>& shared) {
  const AttendCall& c = call.a;
  const int32_t* table = c.block_table + static_cast<int64_t>(block.s) * c.table_stride;
  constexpr int kRowBytes = kDim * 2, kBytes = kSpan * kRowBytes;
  const auto copy = [&](int span, __nv_bfloat16(&to)[kDim / 64][kSpan * 64], int64_t offset, uint64_t* full) {
    barrier_expect(full, kBytes);
#pragma unroll
    for (int page = 0; page < kPages; ++page) {
      const int64_t at =
          table[min(span * kPages + page, block.last_tile)] * c.kv.block_bytes + kv_head * c.kv.head_bytes + offset;
      const auto row = static_cast<int32_t>(at / kRowBytes);
#pragma unroll
      for (int half = 0; half < kDim / 64; ++half)
        copy_tile(to[half] + page * kTileTokens * 64, call.cache, 0, half, row, full);
    }
  };
  Cursor cursor;
  for (int span = block.begin; span < block.end; ++span, cursor.next()) {
    barrier_wait(&shared.keys_empty[cursor.at], cursor.parity ^ 1);
    copy(span, shared.stages[cursor.at].keys, 0, &shared.keys_full[cursor.at]);
    barrier_wait(&shared.values_empty[cursor.at], cursor.parity ^ 1);
    copy(span, shared.stages[cursor.at].values, c.kv.v_offset_bytes, &shared.values_full[cursor.at]);
  }
}

// The warps of a warpgroup meet.
__device__ __forceinline__ void meet(int mine) {
  asm volatile("bar.sync %0, 128;" ::"r"(mine + 1) : "memory");
}

__device__ __forceinline__ float quad_sum(float v) {
  v += __shfl_xor_sync(kAllLanes, v, 1);
  return v + __shfl_xor_sync(kAllLanes, v, 2);
}

// How totals and a segment that joins them are weighted.
struct Blend {
  float top, keep, take;

  __device__ __forceinline__ Blend(float total_top, float part_top) : top(fmaxf(total_top, part_top)) {
    const float base = top == -INFINITY ? 0.0f : top;
    keep = exp2_of(total_top - base), take = exp2_of(part_top - base);
  }
  __device__ __forceinline__ float of(float total, float part) const { return __fmaf_rn(part, take, total * keep); }
};

// What a row's sums are multiplied with at the end. A sink joins last.
__device__ __forceinline__ float share_of(const AttendCall& c, int head, float top, float mass) {
  if (c.sinks == nullptr) return 1.0f / mass;
  const float sink = c.sinks[head] * kLog2e, both = fmaxf(top, sink), keep = exp2_of(top - both);
  return keep / __fmaf_rn(mass, keep, exp2_of(sink - both));
}

template <int kDim>
__device__ __forceinline__ float* part_of(const AttendCall& c, int64_t segment, int64_t t, int head) {
  return c.parts + ((segment * c.q.rows + t) * c.a.heads + head) * (kDim + 2);
}

// Two rows of a thread, g and g + 8 of its warp's 16: the largest score, in units of log 2, and this thread's part of
// the sum of weights.
struct RowPair {
  float top[2] = {-INFINITY, -INFINITY}, mass[2] = {};
};

__device__ __forceinline__ uint32_t packed(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

template <int kDim>
class Multiplier {
 public:
  __device__ __forceinline__ Multiplier(const Call& call, const Block& block, int head, int mine, Shared<kDim>& shared)
      : c_(call.a), block_(block), shared_(shared), head_(head), mine_(mine), rounded_(call.rounded) {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x % kWarpgroup / kWarp;
    quad_ = lane % 4;
    row_ = mine * 64 + warp * 16 + lane / 4;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (row_ + 8 * r < block.n_tokens) reach_[r] = Reach(c_, block.s, c_.positions[block.first_token + row_ + 8 * r]);
    }
    // What all rows of the warpgroup see needs no mask.
    const int first = min(mine * 64, block.n_tokens - 1), last = min(first + 63, block.n_tokens - 1);
    seen_first_ = Reach(c_, block.s, c_.positions[block.first_token + last]).first;
    seen_last_ = Reach(c_, block.s, c_.positions[block.first_token + first]).last;
    const float unit = c_.a.softcap > 0 ? 1.0f : c_.a.scale;
    to_log2_ = unit * kLog2e;
  }

  __device__ __forceinline__ void run() {
    load_queries();
    Cursor keys, values;
    score(keys);
    products_done<0>();
    settled(scores_);
    release(shared_.keys_empty, keys);
    float keep[2];
    weigh(block_.begin, keep);
    pack();
    for (int span = block_.begin + 1; span < block_.end; ++span) {
      score(keys);
      add(values, span - 1);
      products_done<1>();
      settled(scores_);
      release(shared_.keys_empty, keys);
      const RowPair before = rows_;
      const bool fresh = span % kSegmentSpans == 0;
      if (fresh) rows_ = {};
      weigh(span, keep);
      products_done<0>();
      settled(sums_);
      release(shared_.values_empty, values);
      if (fresh) {
        join(before);
      } else {
        scale(keep);
      }
      pack();
    }
    add(values, block_.end - 1);
    products_done<0>();
    settled(sums_);
    store();
  }

 private:
  static constexpr int kColumns = kSpan / 8;

  // Rounded, where the products look for them.
  __device__ __forceinline__ void load_queries() {
    for (int i = threadIdx.x % kWarpgroup; i < 64 * kDim / 8; i += kWarpgroup) {
      const int row = i / (kDim / 8), chunk = i % (kDim / 8), t = mine_ * 64 + row;
      uint4 piece = {};
      if (t < block_.n_tokens) {
        const float2* from =
            reinterpret_cast<const float2*>(c_.q.row(block_.first_token + t) + static_cast<int64_t>(head_) * kDim) +
            chunk * 4;
        const float2 v[4] = {from[0], from[1], from[2], from[3]};
        piece = {packed(v[0].x, v[0].y), packed(v[1].x, v[1].y), packed(v[2].x, v[2].y), packed(v[3].x, v[3].y)};
      }
      auto* half = reinterpret_cast<uint4*>(shared_.queries[mine_][chunk / 8]);
      half[row * 8 + (chunk % 8 ^ row % 8)] = piece;
    }
    writes_are_seen();
    meet(mine_);
  }

  __device__ __forceinline__ void release(uint64_t* empty, Cursor& cursor) {
    if (threadIdx.x % kWarp == 0) barrier_arrive(&empty[cursor.at]);
    cursor.next();
  }

  // Starts scores_ = queries * keys.
  __device__ __forceinline__ void score(const Cursor& at) {
    barrier_wait(&shared_.keys_full[at.at], at.parity);
    products_begin();
#pragma unroll
    for (int half = 0; half < kDim / 64; ++half) {
      const uint64_t q = tile_descriptor(shared_.queries[mine_][half]);
      const uint64_t k = tile_descriptor(shared_.stages[at.at].keys[half]);
#pragma unroll
      for (int i = 0; i < 4; ++i) multiply_add(scores_, q + 2 * i, k + 2 * i, half > 0 || i > 0);
    }
    products_issued();
  }

  // Starts sums_ += weights * values.
  __device__ __forceinline__ void add(const Cursor& at, int span) {
    barrier_wait(&shared_.values_full[at.at], at.parity);
    clear_unseen(shared_.stages[at.at], span);
    products_begin();
#pragma unroll
    for (int step = 0; step < kSpan / 16; ++step) {
      multiply_add(sums_, weights_[step],
                   rows_descriptor(shared_.stages[at.at].values[0] + step * 16 * 64, kSpan * 128));
    }
    products_issued();
  }

  // A weight of zero times what was never written may be no number: such values become zeros.
  __device__ __forceinline__ void clear_unseen(Stage<kDim>& stage, int span) {
    const int first = block_.first_position - span * kSpan, last = c_.seq_lens[block_.s] - 1 - span * kSpan;
    if (first <= 0 && last >= kSpan - 1) return;
    for (int i = threadIdx.x % kWarpgroup; i < kSpan * kDim / 8; i += kWarpgroup) {
      const int row = i / 8 % kSpan;
      if (row < first || row > last) reinterpret_cast<uint4*>(stage.values)[i] = {};
    }
    writes_are_seen();
    meet(mine_);
  }

  // Scores become weights relative to the largest so far; `keep`: what sums so far are multiplied with.
  __device__ __forceinline__ void weigh(int span, float (&keep)[2]) {
    if (c_.a.softcap > 0) {
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) scores_[n][i] = c_.a.softcap * tanhf(scores_[n][i] * c_.a.scale / c_.a.softcap);
      }
    }
    const int begin = span * kSpan;
    if (begin < seen_first_ || begin + kSpan - 1 > seen_last_) {
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int position = begin + 8 * n + 2 * quad_ + i % 2;
          const Reach& reach = reach_[i / 2];
          if (position < reach.first || position > reach.last) scores_[n][i] = -INFINITY;
        }
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float top = -INFINITY;
#pragma unroll
      for (int n = 0; n < kColumns; ++n) top = fmaxf(top, fmaxf(scores_[n][2 * r], scores_[n][2 * r + 1]));
      top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 1));
      top = fmaxf(top, __shfl_xor_sync(kAllLanes, top, 2));
      top = fmaxf(rows_.top[r], top * to_log2_);
      const float base = top == -INFINITY ? 0.0f : top;
      keep[r] = exp2_of(rows_.top[r] - base);
      rows_.top[r] = top;
      float mass = 0.0f;
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
#pragma unroll
        for (int i = 2 * r; i < 2 * r + 2; ++i) {
          scores_[n][i] = exp2_of(__fmaf_rn(scores_[n][i], to_log2_, -base));
          mass += scores_[n][i];
        }
      }
      rows_.mass[r] = __fmaf_rn(rows_.mass[r], keep[r], mass);
    }
  }

  __device__ __forceinline__ void scale(const float (&keep)[2]) {
    if (__all_sync(kAllLanes, keep[0] == 1.0f && keep[1] == 1.0f)) return;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sums_[n][i] *= keep[i / 2];
    }
  }

  __device__ __forceinline__ void pack() {
#pragma unroll
    for (int step = 0; step < kSpan / 16; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float(&from)[4] = scores_[2 * step + i / 2];
        weights_[step][i] = packed(from[2 * (i % 2)], from[2 * (i % 2) + 1]);
      }
    }
  }

  // A finished segment joins the totals; the next one starts from nothing.
  __device__ __forceinline__ void join(RowPair part) {
    const int thread = static_cast<int>(threadIdx.x) - kWarpgroup;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      part.mass[r] = quad_sum(part.mass[r]);
      const Blend b(total_.top[r], part.top[r]);
      total_.top[r] = b.top;
      total_.mass[r] = b.of(total_.mass[r], part.mass[r]);
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
        for (int i = 2 * r; i < 2 * r + 2; ++i) {
          float& total = shared_.totals[4 * n + i][thread];
          total = b.of(joined_ ? total : 0.0f, sums_[n][i]);
          sums_[n][i] = 0.0f;
        }
      }
    }
    joined_ = true;
  }

  __device__ __forceinline__ void store() {
    if (joined_) {
      join(rows_);
      rows_ = total_;
#pragma unroll
      for (int i = 0; i < kDim / 2; ++i) sums_[i / 4][i % 4] = shared_.totals[i][threadIdx.x - kWarpgroup];
    } else {
      for (float& mass : rows_.mass) mass = quad_sum(mass);
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (row_ + 8 * r >= block_.n_tokens) continue;
      const int64_t t = block_.first_token + row_ + 8 * r;
      float* part = c_.parts != nullptr ? part_of<kDim>(c_, blockIdx.z, t, head_) : nullptr;
      const float share = part != nullptr ? 1.0f : share_of(c_, head_, rows_.top[r], rows_.mass[r]);
      if (part != nullptr && quad_ == 0) part[kDim] = rows_.top[r], part[kDim + 1] = rows_.mass[r];
      const int64_t column = static_cast<int64_t>(head_) * kDim + 2 * quad_;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        const float2 pair = {sums_[n][2 * r] * share, sums_[n][2 * r + 1] * share};
        if (part != nullptr) {
          *reinterpret_cast<float2*>(part + 8 * n + 2 * quad_) = pair;
        } else if (rounded_) {
          *reinterpret_cast<uint32_t*>(c_.out.row<__nv_bfloat16>(2 * t) + column + 8 * n) = packed(pair.x, pair.y);
        } else {
          *reinterpret_cast<float2*>(c_.out.row(t) + column + 8 * n) = pair;
        }
      }
    }
  }

  const AttendCall& c_;
  const Block& block_;
  Shared<kDim>& shared_;
  int head_, mine_, quad_, row_;
  bool rounded_;
  int seen_first_, seen_last_;
  float to_log2_;
  Reach reach_[2];
  RowPair rows_, total_;  // of this segment; of those before
  bool joined_ = false;
  float scores_[kColumns][4], sums_[kDim / 8][4] = {};
  uint32_t weights_[kSpan / 16][4];
};

// grid: (query heads, blocks of tokens).
template <int kDim>
__global__ void __launch_bounds__(kThreads, 1) prompt_kernel(const __grid_constant__ Call call) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<Shared<kDim>*>(memory);
  const Block block(call, static_cast<int>(blockIdx.y));
  if (block.begin >= block.end) return;
  const int head = static_cast<int>(blockIdx.x), role = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (threadIdx.x == 0) {
    prefetch_map(call.cache);
    for (int i = 0; i < kStages; ++i) {
      for (uint64_t* full : {shared.keys_full, shared.values_full}) barrier_init(&full[i], 1);
      for (uint64_t* empty : {shared.keys_empty, shared.values_empty})
        barrier_init(&empty[i], kMultipliers * kWarpgroup / kWarp);
    }
    barriers_are_made();
  }
  __syncthreads();
  if (role == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kFeederRegisters));
    if (threadIdx.x == 0) feed<kDim>(call, block, head / (call.a.a.heads / call.a.a.kv_heads), shared);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kMultiplierRegisters));
    Multiplier<kDim>(call, block, head, role - 1, shared).run();
  }
#endif
}

// Joins the segments of a token and head. grid: (heads, tokens of prompts).
template <int kDim>
__global__ void __launch_bounds__(kDim) join_kernel(const __grid_constant__ PromptAttendCall call) {
  const AttendCall& c = call.a;
  const int head = blockIdx.x, d = threadIdx.x;
  const int64_t t = c.q.rows - call.n_rows + blockIdx.y, column = static_cast<int64_t>(head) * kDim + d;
  int s = c.n_seqs;
  while (c.q_start[s + 1] <= t) ++s;
  const Reach reach(c, s, c.positions[t]);
  constexpr int kSegment = kSegmentSpans * kSpan;
  float top = -INFINITY, mass = 0.0f, total = 0.0f;
  for (int segment = reach.first / kSegment; segment <= reach.last / kSegment; ++segment) {
    const float* part = part_of<kDim>(c, segment, t, head);
    const Blend b(top, part[kDim]);
    top = b.top;
    mass = b.of(mass, part[kDim + 1]);
    total = b.of(total, part[d]);
  }
  const float result = total * share_of(c, head, top, mass);
  if (call.rounded) {
    c.out.row<__nv_bfloat16>(2 * t)[column] = __float2bfloat16(result);
  } else {
    c.out.row(t)[column] = result;
  }
}

template <int kDim>
void start(const PromptAttendCall& prompts, std::byte* scratch, cudaStream_t stream) {
  Call call{prompts};
  const AttendCall& c = call.a;
  const int64_t blocks = call.n_rows / kTokens + call.n_prompts;
  const int segments = blocks_for(c.table_stride, kPages * kSegmentSpans);
  const bool split = segments > 1 && blocks * c.a.heads < kFewBlocks &&
                     segments * c.q.rows * c.a.heads * (kDim + 2) * 4 <= kMaxPartsBytes;
  call.a.parts = split ? reinterpret_cast<float*>(scratch) : nullptr;
  // Every row of the layer, and what lies behind: only rows of blocks are asked for.
  constexpr cuuint64_t kRows = uint64_t{1} << 31;
  const cuuint64_t size[3] = {64, kDim / 64, kRows}, apart[2] = {128, kDim * 2};
  const cuuint32_t box[3] = {64, 1, kTileTokens}, step[3] = {1, 1, 1};
  tile_encoder()(&call.cache, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, c.kv.data, size, apart, box, step,
                 CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  constexpr int kBytes = sizeof(Shared<kDim>);
  static const cudaError_t kAllowed =
      cudaFuncSetAttribute(prompt_kernel<kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  (void)kAllowed;
  const auto heads = static_cast<unsigned>(c.a.heads);
  const dim3 grid(heads, static_cast<unsigned>(blocks), split ? static_cast<unsigned>(segments) : 1u);
  prompt_kernel<kDim><<<grid, kThreads, kBytes, stream>>>(call);
  if (!split) return;
  const dim3 rows(heads, static_cast<unsigned>(call.n_rows));
  join_kernel<kDim><<<rows, kDim, 0, stream>>>(call);
}

}  // namespace

bool has_prompt_attention() {
  return is_hopper();
}

void attend_prompts(const AttendArgs& a, const Operands& o) {
  PromptAttendCall c{
      .a = attend_call(a, o, a.heads), .n_prompts = o.step->n_prompts, .n_rows = o.n_prompt, .rounded = o.rounded_out};
  c.a.n_seqs -= c.n_prompts;
  if (a.k_dim == 64) return start<64>(c, o.scratch, stream_of(o));
  start<128>(c, o.scratch, stream_of(o));
}

}  // namespace arc::cuda
