// Blocks of prompt attention: copies of tiles by a warp that does nothing else, products by two warpgroups, each with
// 64 tokens of one query head.
#include "kernels/cuda/attention_prompt.cuh"

namespace arc::cuda::prompt {
namespace {

constexpr int kMultipliers = 2;  // warpgroups
constexpr int kThreads = (1 + kMultipliers) * kWarpgroup;
constexpr int kFeederRegisters = 40, kMultiplierRegisters = 232;
constexpr int kStages = 2;

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

// The spans that a block walks: of closed tiles, then of open ones.
struct Spans {
  int closed_begin = 0, n_closed = 0, open_begin = 0, count = 0;

  __device__ __forceinline__ bool open(int i) const { return i >= n_closed; }
  __device__ __forceinline__ int at(int i) const { return i < n_closed ? closed_begin + i : open_begin + i - n_closed; }
  // Whether a segment starts with span i, which is not the first.
  __device__ __forceinline__ bool fresh(int i) const {
    return i == n_closed || (i < n_closed && (closed_begin + i) % kSegmentSpans == 0);
  }
};

__device__ __forceinline__ int spans_to(int tile) {
  return (tile + kPages - 1) / kPages;
}

// Which tokens a block has, and what they see.
struct Block {
  int s = -1, first_token = 0, n_tokens = 0;
  TilePlace place;  // of the whole prompt
  TileRange tiles;
  Spans spans;

  __device__ static Block find(const Call& call, int tile) {
    const AttendCall& c = call.a;
    int base = 0;
    for (int i = call.unpacked.first_seq; i < call.unpacked.first_seq + call.unpacked.n_seqs; ++i) {
      const int n = c.q_start[i + 1] - c.q_start[i], blocks = (n + kTokens - 1) / kTokens;
      const TilePlace place(c, i, base);
      // The last tokens, which see most, come first.
      if (tile < blocks) return Block(call, i, c.q_start[i] + (blocks - 1 - tile) * kTokens, place);
      tile -= blocks;
      base = place.end();
    }
    return Block(call);
  }

 private:
  __device__ explicit Block(const Call& call) : place(call.a, 0, 0), tiles(call.a, 0, 0, 0) {}
  __device__ Block(const Call& call, int s, int first_token, const TilePlace& place)
      : s(s),
        first_token(first_token),
        n_tokens(min(kTokens, call.a.q_start[s + 1] - first_token)),
        place(place),
        tiles(call.a, s, call.a.positions[first_token], call.a.positions[first_token + n_tokens - 1]) {
    int begin = tiles.begin / kPages, end = tiles.split > tiles.begin ? spans_to(tiles.split) : begin;
    int open_end = tiles.end > tiles.open ? spans_to(tiles.end) : tiles.open / kPages;
    if (call.a.parts != nullptr) {
      const int segment = static_cast<int>(blockIdx.z);
      begin = max(begin, segment * kSegmentSpans), end = min(end, (segment + 1) * kSegmentSpans);
      if (segment < call.n_segments) open_end = 0;
    }
    const int n_closed = max(0, end - begin), open_begin = tiles.open / kPages;
    spans = {begin, n_closed, open_begin, n_closed + max(0, open_end - open_begin)};
  }
};

template <int kDim>
__device__ __forceinline__ void feed(const Call& call, const Block& block, int kv_head, Shared<kDim>& shared) {
  const AttendCall& c = call.a;
  const int32_t* table = c.block_table + static_cast<int64_t>(block.s) * c.table_stride;
  constexpr int kRowBytes = kDim * 2, kBytes = kSpan * kRowBytes;
  // The first row of a tile's keys; of tiles at a span's edge that nothing sees, that of another.
  const auto row_of = [&](int tile, bool open) {
    if (call.unpacked.data == nullptr) {
      const int64_t at = table[min(tile, block.tiles.end - 1)] * c.kv.block_bytes + kv_head * c.kv.head_bytes;
      return static_cast<int32_t>(at / kRowBytes);
    }
    const TileRange& range = block.tiles;
    const int there = open ? max(range.open, min(tile, range.end - 1)) + block.place.open
                           : max(range.begin, min(tile, range.split - 1));
    return call.unpacked.row_of(block.place.base + there, kv_head);
  };
  const int values = call.unpacked.data == nullptr ? static_cast<int>(c.kv.v_offset_bytes / kRowBytes) : kTileTokens;
  const auto copy = [&](int i, __nv_bfloat16(&to)[kDim / 64][kSpan * 64], int further, uint64_t* full) {
    barrier_expect(full, kBytes);
#pragma unroll
    for (int page = 0; page < kPages; ++page) {
      const int row = row_of(block.spans.at(i) * kPages + page, block.spans.open(i)) + further;
#pragma unroll
      for (int half = 0; half < kDim / 64; ++half)
        copy_tile(to[half] + page * kTileTokens * 64, call.cache, 0, half, row, full);
    }
  };
  Cursor cursor;
  for (int i = 0; i < block.spans.count; ++i, cursor.next(kStages)) {
    barrier_wait(&shared.keys_empty[cursor.at], cursor.parity ^ 1);
    copy(i, shared.stages[cursor.at].keys, 0, &shared.keys_full[cursor.at]);
    barrier_wait(&shared.values_empty[cursor.at], cursor.parity ^ 1);
    copy(i, shared.stages[cursor.at].values, values, &shared.values_full[cursor.at]);
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
      : c_(call.a),
        block_(block),
        shared_(shared),
        head_(head),
        mine_(mine),
        rounded_(call.rounded),
        unpacked_(call.unpacked.data != nullptr) {
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x % kWarpgroup / kWarp;
    quad_ = lane % 4;
    row_ = mine * 64 + warp * 16 + lane / 4;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (row_ + 8 * r < block.n_tokens) views_[r] = View(c_, block, row_ + 8 * r);
    }
    // What all rows of the warpgroup see needs no mask.
    const int first = min(mine * 64, block.n_tokens - 1), last = min(first + 63, block.n_tokens - 1);
    const View low(c_, block, first), high(c_, block, last);
    whole_.reach.first = high.reach.first, whole_.reach.last = low.reach.last;
    whole_.closed_end = low.closed_end, whole_.open_begin = high.open_begin;
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
    const Spans& spans = block_.spans;
    weigh(0, keep);
    pack();
    for (int i = 1; i < spans.count; ++i) {
      score(keys);
      add(values, i - 1);
      products_done<1>();
      settled(scores_);
      release(shared_.keys_empty, keys);
      const RowPair before = rows_;
      const bool fresh = spans.fresh(i);
      if (fresh) rows_ = {};
      weigh(i, keep);
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
    add(values, spans.count - 1);
    products_done<0>();
    settled(sums_);
    store();
  }

 private:
  static constexpr int kColumns = kSpan / 8;

  // What a row sees: of closed tiles what lies in front of `split`, of open ones what lies behind.
  struct View {
    Reach reach;
    int closed_end = INT_MAX, open_begin = 0;

    __device__ __forceinline__ View() {}
    __device__ __forceinline__ View(const AttendCall& c, const Block& block, int row) {
      const int position = c.positions[block.first_token + row];
      reach = Reach(c, block.s, position);
      if (c.open_table == nullptr) return;
      closed_end = open_begin = max(0, TileRange::open_from(c, position)) * kTileTokens;
    }
    __device__ __forceinline__ Reach of(bool open) const {
      Reach out = reach;
      if (open) out.first = max(out.first, open_begin);
      if (!open) out.last = min(out.last, closed_end - 1);
      return out;
    }
  };

  // Rounded, where the products look for them.
  __device__ __forceinline__ void load_queries() {
    if (c_.turn.dim > 0) {
      load_turned();
    } else {
      load_plain();
    }
    writes_are_seen();
    meet(mine_);
  }
  __device__ __forceinline__ void load_turned() {
    const int warp = threadIdx.x % kWarpgroup / kWarp, lane = threadIdx.x % kWarp;
    for (int row = warp * 16; row < warp * 16 + 16; ++row) {
      const int t = mine_ * 64 + row;
      float x[kDim / kWarp] = {};
      if (t < block_.n_tokens) {
        const float* from = c_.q.row(block_.first_token + t) + static_cast<int64_t>(head_) * kDim + lane;
#pragma unroll
        for (int j = 0; j < kDim / kWarp; ++j) x[j] = from[j * kWarp];
      }
      rotate_lanes<kDim>(x, c_.turn);
#pragma unroll
      for (int j = 0; j < kDim / kWarp; ++j) {
        const int d = lane + j * kWarp, chunk = d % 64 / 8 ^ row % 8;
        shared_.queries[mine_][d / 64][row * 64 + chunk * 8 + d % 8] = __float2bfloat16(x[j]);
      }
    }
  }
  __device__ __forceinline__ void load_plain() {
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
  }

  __device__ __forceinline__ void release(uint64_t* empty, Cursor& cursor) {
    if (threadIdx.x % kWarp == 0) barrier_arrive(&empty[cursor.at]);
    cursor.next(kStages);
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
  __device__ __forceinline__ void add(const Cursor& at, int i) {
    barrier_wait(&shared_.values_full[at.at], at.parity);
    if (!unpacked_) clear_unseen(shared_.stages[at.at], block_.spans.at(i));
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
    const int first = block_.tiles.begin * kTileTokens - span * kSpan, last = c_.seq_lens[block_.s] - 1 - span * kSpan;
    if (first <= 0 && last >= kSpan - 1) return;
    for (int i = threadIdx.x % kWarpgroup; i < kSpan * kDim / 8; i += kWarpgroup) {
      const int row = i / 8 % kSpan;
      if (row < first || row > last) reinterpret_cast<uint4*>(stage.values)[i] = {};
    }
    writes_are_seen();
    meet(mine_);
  }

  // Scores become weights relative to the largest so far; `keep`: what sums so far are multiplied with.
  __device__ __forceinline__ void weigh(int i_span, float (&keep)[2]) {
    if (c_.a.softcap > 0) {
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) scores_[n][i] = c_.a.softcap * tanhf(scores_[n][i] * c_.a.scale / c_.a.softcap);
      }
    }
    const int begin = block_.spans.at(i_span) * kSpan;
    const bool open = block_.spans.open(i_span);
    const Reach whole = whole_.of(open);
    if (begin < whole.first || begin + kSpan - 1 > whole.last) {
      const Reach seen[2] = {views_[0].of(open), views_[1].of(open)};
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int position = begin + 8 * n + 2 * quad_ + i % 2;
          const Reach& reach = seen[i / 2];
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
    const bool split = c_.parts != nullptr;
    if (!split) {
      const float shares[2] = {share_of(c_, head_, rows_.top[0], rows_.mass[0]),
                               share_of(c_, head_, rows_.top[1], rows_.mass[1])};
#pragma unroll
      for (int i = 0; i < kDim / 2; ++i) sums_[i / 4][i % 4] *= shares[i % 4 / 2];
      if (c_.turn_back.dim > 0) turn_back();
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (row_ + 8 * r >= block_.n_tokens) continue;
      const int64_t t = block_.first_token + row_ + 8 * r;
      float* part = split ? part_of<kDim>(c_, blockIdx.z, t, head_) : nullptr;
      if (part != nullptr && quad_ == 0) part[kDim] = rows_.top[r], part[kDim + 1] = rows_.mass[r];
      const int64_t column = static_cast<int64_t>(head_) * kDim + 2 * quad_;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        const float2 pair = {sums_[n][2 * r], sums_[n][2 * r + 1]};
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

  // rotate_lanes() of both rows: column 8 n + 2 quad + i lies in sums_[n][i], and [n][2 + i].
  __device__ __forceinline__ void turn_back() {
    const Turn& turn = c_.turn_back;
    const auto sign = [&](int i) { return turn.sign(i / 4 * 8 + 2 * quad_ + i % 2); };
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) sums_[i / 4][i % 4] *= sign(i);
#pragma unroll
    for (int i = 0; i < kDim / 2; i += 2) butterfly(sums_[i / 4][i % 4], sums_[i / 4][i % 4 + 1]);
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
#pragma unroll
      for (int i = 0; i < kDim / 2; ++i) {
        float& x = sums_[i / 4][i % 4];
        const float other = __shfl_xor_sync(kAllLanes, x, step);
        x = (quad_ & step) != 0 ? __fsub_rn(other, x) : __fadd_rn(x, other);
      }
    }
#pragma unroll
    for (int step = 1; step < kDim / 8; step *= 2) {
#pragma unroll
      for (int i = 0; i < kDim / 2; ++i) {
        if ((i / 4 & step) == 0) butterfly(sums_[i / 4][i % 4], sums_[i / 4 + step][i % 4]);
      }
    }
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) sums_[i / 4][i % 4] = __fmul_rn(turn.hartley[0], sums_[i / 4][i % 4]) * sign(i);
  }
  static __device__ __forceinline__ void butterfly(float& a, float& b) {
    const float sum = __fadd_rn(a, b);
    b = __fsub_rn(a, b);
    a = sum;
  }

  const AttendCall& c_;
  const Block& block_;
  Shared<kDim>& shared_;
  int head_, mine_, quad_, row_;
  bool rounded_, unpacked_;
  float to_log2_;
  View views_[2], whole_;
  RowPair rows_, total_;  // of this segment; of those before
  bool joined_ = false;
  float scores_[kColumns][4], sums_[kDim / 8][4] = {};
  uint32_t weights_[kSpan / 16][4];
};

// grid: (query heads, blocks of tokens, segments or 1).
template <int kDim>
__global__ void __launch_bounds__(kThreads, 1) prompt_kernel(const __grid_constant__ Call call) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) std::byte memory[];
  auto& shared = *reinterpret_cast<Shared<kDim>*>(memory);
  const Block block = Block::find(call, static_cast<int>(blockIdx.y));
  if (block.s < 0 || block.spans.count == 0) return;
  const int head = call.first_head + static_cast<int>(blockIdx.x), role = static_cast<int>(threadIdx.x) / kWarpgroup;
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

}  // namespace

template <int kDim>
void attend_blocks(const Call& call, const dim3& grid, cudaStream_t stream) {
  constexpr int kBytes = sizeof(Shared<kDim>);
  static const cudaError_t kAllowed =
      cudaFuncSetAttribute(prompt_kernel<kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  (void)kAllowed;
  prompt_kernel<kDim><<<grid, kThreads, kBytes, stream>>>(call);
}

template void attend_blocks<64>(const Call& call, const dim3& grid, cudaStream_t stream);
template void attend_blocks<128>(const Call& call, const dim3& grid, cudaStream_t stream);

}  // namespace arc::cuda::prompt
