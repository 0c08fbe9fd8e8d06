// The gather warps: they poll the tagged words that a stage reads and leave them in a slot, ready to use. Vectors come
// by ordinary loads: a bulk copy would queue behind the weights in the copy engine.
#pragma once

#include "kernels/cuda/tape/block.cuh"
#include "kernels/cuda/tape/products.cuh"
#include "kernels/cuda/tape/turned_rows.cuh"

namespace arc::tape {

constexpr uint32_t kChunkWords = 128;  // what a warp loads at once, 16 bytes a lane

class Gather {
 public:
  __device__ __forceinline__ Gather(Shared& shared, const LaunchArgs& launch, uint32_t which)
      : shared_(shared), launch_(launch), which_(which), lane_(lane_id()) {}

  __device__ __forceinline__ void visit(const StageView& view) {
    if (view.stage.op == Op::product) gather_slices(view);
    if (view.stage.op == Op::attend) {
      if (view.stage.attend.form == CacheForm::bf16) {
        gather_heads(view);
      } else {
        gather_bytes(view);
      }
      merge_parts(view);
    }
  }

 private:
  // Slot uses are numbered; use u belongs to gather warp u mod kGatherWarps.
  __device__ __forceinline__ bool mine(const Cursor<kSlots>& slot) const { return slot.at % kGatherWarps == which_; }
  __device__ __forceinline__ uint8_t* open_slot(const Cursor<kSlots>& slot) {
    barrier_wait(&shared_.slot_empty[slot.index()], slot.parity() ^ 1, "slot");
    return shared_.slots[slot.index()];
  }
  __device__ __forceinline__ void close_slot(const Cursor<kSlots>& slot) {
    warp_arrive(&shared_.slot_full[slot.index()]);
  }

  // Loads `n` chunks until all carry the tag: words[x] of a lane are the four from x * stride + 4 lane on, but none
  // from behind `last`. While nothing is there it watches one word, which costs one sector a poll, unless it is eager;
  // then it asks for what is missing.
  template <uint32_t kMax>
  __device__ __forceinline__ void load_fresh(uint4 (&words)[kMax], uint32_t n, const uint32_t* from, uint32_t stride,
                                             uint32_t last, uint32_t tag, bool eager) {
    const Watchdog watchdog("gather");
    const uint32_t all = (1u << n) - 1;
    uint32_t stale = all;  // bit x: the lane's words[x]
    while (true) {
#pragma unroll
      for (uint32_t x = 0; x < kMax; ++x)
        if (stale >> x & 1) words[x] = load_words4(from + min(x * stride + 4 * lane_, last));
      uint32_t still = 0;
#pragma unroll
      for (uint32_t x = 0; x < kMax; ++x) {
        const uint4 w = words[x];
        if ((stale >> x & 1) && (((w.x ^ tag) | (w.y ^ tag) | (w.z ^ tag) | (w.w ^ tag)) & 0xffff)) still |= 1u << x;
      }
      stale = still;
      if (!__any_sync(kAllLanes, stale)) return;
      if (!eager && __all_sync(kAllLanes, stale == all)) {
        while ((load_word(from + last) ^ tag) & 0xffff) watchdog.check(tag);
      }
      watchdog.check(tag);
    }
  }

  __device__ __forceinline__ static uint2 to_bf16(const uint4& w) {
    return make_uint2(__byte_perm(w.x, w.y, 0x7632), __byte_perm(w.z, w.w, 0x7632));
  }

  // Slots are filled to a multiple of 256 columns, with zeros behind the vector's end.
  __device__ __forceinline__ void gather_slices(const StageView& view) {
    const BufferRef& from = view.stage.reads[kVector];
    const uint32_t n_fetches = view.holds_vector ? 1 : view.n_passes;
    for (uint32_t fetch = 0; fetch < n_fetches; ++fetch) {
      for (uint32_t slice = 0; slice < view.n_slices; ++slice, next_.advance(1)) {
        if (!mine(next_)) continue;
        uint8_t* slot = open_slot(next_);
        const uint32_t* words = at<const uint32_t>(from.address) + view.slice_begin(slice);
        const uint32_t n_columns = view.slice_columns(slice), n_chunks = (n_columns + 255) / 256 * 2;
        uint4 w[kTileColumns / kChunkWords];
        load_fresh(w, n_chunks, words, kChunkWords, n_columns - 4, tag_at(from, shared_.step), view.stage.eager);
#pragma unroll
        for (uint32_t x = 0; x < kTileColumns / kChunkWords; ++x) {
          const bool inside = x * kChunkWords + 4 * lane_ < n_columns;
          if (x < n_chunks) reinterpret_cast<uint2*>(slot)[x * 32 + lane_] = inside ? to_bf16(w[x]) : make_uint2(0, 0);
        }
        close_slot(next_);
      }
    }
  }

  __device__ __forceinline__ static float4 values_of(const uint4& w) {
    return {high_bf16(w.x), high_bf16(w.y), high_bf16(w.z), high_bf16(w.w)};
  }
  __device__ __forceinline__ static float squares_of(const uint4& w) {
    const float4 v = values_of(w);
    return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  }

  // What RMSNorm and RoPE of a head need; the lane holds dims 4 lane .. + 3.
  struct Rotation {
    float4 gain;
    float4 rope[2];  // cos, sin of the lane's four angles
    float eps;
    bool normed;
  };
  __device__ __forceinline__ Rotation load_rotation(const StageView& view, int norm) {
    const uint64_t gains = view.stage.weights[norm].address;
    turn(view);
    return {gains != 0 ? __ldg(at<const float4>(gains) + lane_) : float4{1, 1, 1, 1},
            {rope_[0], rope_[1]},
            view.stage.attend.eps,
            gains != 0};
  }
  // Angles are kept from layer to layer. Whole turns are taken off in f64: what is left is exact enough for f32.
  __device__ __forceinline__ void turn(const StageView& view) {
    const uint64_t address = view.stage.weights[kRope].address;
    if (address == rope_of_) return;
    rope_of_ = address;
    constexpr double kTurnsPerRadian = 0.15915494309189533577;
    const float factor = view.stage.attend.rope_factor;
    float c[4], s[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      const double frequency = __ldg(at<const double>(address) + 4 * (lane_ & 15) + i);
      const double turns = double(shared_.step.position) * frequency * kTurnsPerRadian;
      sincospif(2.0f * float(turns - rint(turns)), &s[i], &c[i]);
    }
    rope_[0] = {factor * c[0], factor * s[0], factor * c[1], factor * s[1]};
    rope_[1] = {factor * c[2], factor * s[2], factor * c[3], factor * s[3]};
  }
  // One head, given the sum of its squares. The other half of each rotated pair is in lane ^ 16.
  __device__ __forceinline__ float4 rotated(const uint4& w, float squares, const Rotation& r) const {
    const float scale = r.normed ? rsqrtf(squares / kHeadDim + r.eps) : 1.0f, sign = lane_ < 16 ? -1.0f : 1.0f;
    const float4 raw = values_of(w);
    const float4 v = {raw.x * scale * r.gain.x, raw.y * scale * r.gain.y, raw.z * scale * r.gain.z,
                      raw.w * scale * r.gain.w};
    const float4 partner = {__shfl_xor_sync(kAllLanes, v.x, 16), __shfl_xor_sync(kAllLanes, v.y, 16),
                            __shfl_xor_sync(kAllLanes, v.z, 16), __shfl_xor_sync(kAllLanes, v.w, 16)};
    return {v.x * r.rope[0].x + sign * partner.x * r.rope[0].y, v.y * r.rope[0].z + sign * partner.y * r.rope[0].w,
            v.z * r.rope[1].x + sign * partner.z * r.rope[1].y, v.w * r.rope[1].z + sign * partner.w * r.rope[1].w};
  }
  __device__ __forceinline__ uint2 rotate_head(const uint4& w, float squares, const Rotation& r) const {
    const float4 v = rotated(w, squares, r);
    return make_uint2(pack_bf16(v.x, v.y), pack_bf16(v.z, v.w));
  }

  // First slot: the rotated queries of this SM's kv head, rows of 256 bytes, 16-byte chunks of row r permuted by xor
  // with r. Second slot, only where the newest granule is: the rotated key, then the value.
  __device__ __forceinline__ void gather_heads(const StageView& view) {
    const AttendShare share = attend_share(view, shared_.step.position);
    if (share.n_tiles == 0) return;
    if (mine(next_)) gather_queries(view);
    next_.advance(1);
    if (!share.owns_newest) return;
    if (mine(next_)) gather_new_token(view);
    next_.advance(1);
  }

  __device__ __forceinline__ void gather_queries(const StageView& view) {
    const BufferRef& qkv = view.stage.reads[kVector];
    const uint32_t n_queries = view.stage.attend.n_heads / view.stage.attend.n_kv_heads;
    const uint32_t* q = at<const uint32_t>(qkv.address) + view.kv_head * n_queries * kHeadDim;
    const Rotation rotation = load_rotation(view, kQNorm);
    uint8_t* slot = open_slot(next_);
    uint4 w[8];
    load_fresh(w, n_queries, q, kHeadDim, n_queries * kHeadDim - 4, tag_at(qkv, shared_.step), view.stage.eager);
    float squares[8];
#pragma unroll
    for (uint32_t x = 0; x < 8; ++x) squares[x] = x < n_queries ? squares_of(w[x]) : 0;
    const float sum = sum_rows(squares, lane_);  // of head lane / 4
#pragma unroll
    for (uint32_t x = 0; x < 8; ++x) {
      if (x >= n_queries) break;
      const uint32_t offset = x * kRowBytes + (((lane_ >> 1) ^ x) << 4) + (lane_ & 1) * 8;
      *reinterpret_cast<uint2*>(slot + offset) = rotate_head(w[x], __shfl_sync(kAllLanes, sum, 4 * x), rotation);
    }
    close_slot(next_);
  }

  __device__ __forceinline__ void gather_new_token(const StageView& view) {
    const BufferRef& qkv = view.stage.reads[kVector];
    const AttendArgs& a = view.stage.attend;
    const uint32_t* key = at<const uint32_t>(qkv.address) + (a.n_heads + view.kv_head) * kHeadDim;
    const uint32_t to_value = a.n_kv_heads * kHeadDim;
    const Rotation rotation = load_rotation(view, kKNorm);
    uint8_t* slot = open_slot(next_);
    uint4 w[2];
    load_fresh(w, 2, key, to_value, to_value + kHeadDim - 4, tag_at(qkv, shared_.step), view.stage.eager);
    reinterpret_cast<uint2*>(slot)[lane_] = rotate_head(w[0], warp_sum(squares_of(w[0])), rotation);
    reinterpret_cast<uint2*>(slot)[32 + lane_] = to_bf16(w[1]);
    close_slot(next_);
  }

  __device__ __forceinline__ void sync_gatherers() {
    asm volatile("bar.sync 2, %0;" ::"n"(32 * kGatherWarps) : "memory");
  }

  // The same for caches of bytes: all gather warps take part, heads in turn. First slot: the queries, turned if the
  // cache is, as whole numbers. Second slot, only where the newest granule is: the new token's rows.
  __device__ __forceinline__ void gather_bytes(const StageView& view) {
    const AttendShare share = attend_share(view, shared_.step.position);
    if (share.n_tiles == 0) return;
    const Cursor<kSlots> q_slot = next_, new_slot = next_.plus(1);
    next_.advance(share.owns_newest ? 2 : 1);
    put_queries(view, *reinterpret_cast<bytes::Queries*>(open_slot(q_slot)));
    if (share.owns_newest) put_new_token(view, *reinterpret_cast<bytes::NewToken*>(open_slot(new_slot)));
    sync_gatherers();
    if (mine(q_slot)) close_slot(q_slot);
    if (!share.owns_newest) return;
    if (mine(new_slot)) close_slot(new_slot);
    if (which_ == 0 && lane_ == 0) store_release(&shared_.n_appended, ++n_appended_);
  }

  __device__ __forceinline__ void put_queries(const StageView& view, bytes::Queries& to) {
    constexpr uint32_t kMost = 2;  // heads of a warp
    static_assert(kMost * kGatherWarps == 8);
    const AttendArgs& a = view.stage.attend;
    const BufferRef& qkv = view.stage.reads[kVector];
    const uint32_t n_queries = a.n_heads / a.n_kv_heads;
    const uint32_t* q = at<const uint32_t>(qkv.address) + view.kv_head * n_queries * kHeadDim;
    if (which_ >= n_queries) return;
    const Rotation rotation = load_rotation(view, kQNorm);
    uint4 w[kMost];
    const uint32_t n = which_ + kGatherWarps < n_queries ? 2 : 1;
    load_fresh(w, n, q + which_ * kHeadDim, kGatherWarps * kHeadDim, (n_queries - which_) * kHeadDim - 4,
               tag_at(qkv, shared_.step), view.stage.eager);
#pragma unroll
    for (uint32_t x = 0; x < kMost; ++x) {
      const uint32_t row = which_ + x * kGatherWarps;
      if (row >= n_queries) break;
      float4 v = rotated(w[x], warp_sum(squares_of(w[x])), rotation);
      if (a.form == CacheForm::packed) v = bytes::turned(v, launch_.turn, lane_);
      bytes::put_query(to, row, v, lane_);
    }
  }

  // The key by one warp, the value by another.
  __device__ __forceinline__ void put_new_token(const StageView& view, bytes::NewToken& to) {
    const BufferRef& qkv = view.stage.reads[kVector];
    const AttendArgs& a = view.stage.attend;
    const uint32_t side = kGatherWarps - 1 - which_;
    if (side > 1) return;
    uint4 w[1];
    const uint32_t source = a.n_heads + side * a.n_kv_heads + view.kv_head;
    const Rotation rotation = load_rotation(view, kKNorm);
    load_fresh(w, 1, at<const uint32_t>(qkv.address) + source * kHeadDim, 0, kHeadDim - 4, tag_at(qkv, shared_.step),
               view.stage.eager);
    float4 v = side == 0 ? rotated(w[0], warp_sum(squares_of(w[0])), rotation) : values_of(w[0]);
    if (a.form == CacheForm::packed) v = bytes::turned(v, launch_.turn, lane_);
    const bytes::Int8 row(v);
    row.store(to.rows[side], to.scales[side], lane_);

    const uint32_t position = shared_.step.position, token = position % kBlockTokens;
    const uint32_t block = __ldg(launch_.block_tables[a.group] + position / kBlockTokens);
    auto* head = at<uint8_t>(view.stage.cache.address + uint64_t(block) * view.stage.cache.block_bytes +
                             view.kv_head * kInt8HeadBytes);
    row.store(head + side * kInt8SideBytes + token * kInt8RowBytes,
              head + 2 * kInt8SideBytes + side * kSideScaleBytes + token * kRowScaleBytes, lane_);
  }

  // Merges the splits' parts of a head, in order of split, and publishes them: each warp 32 of its dims.
  __device__ __forceinline__ void merge_parts(const StageView& view) {
    static_assert(kGatherWarps * 32 == kHeadDim);
    for (uint32_t head = blockIdx.x; head < view.stage.attend.n_heads; head += gridDim.x) {
      float out = merged(view, head);
      if (view.stage.attend.form == CacheForm::packed) out = turned_back(out);
      const BufferRef& attended = view.stage.writes[kVector];
      store_word(at<uint32_t>(attended.address) + head * kHeadDim + which_ * 32 + lane_,
                 tagged16(out, tag_at(attended, shared_.step)));
    }
  }

  // One coordinate of a head that lies over all gather warps. They meet in the slot that they fill next.
  __device__ __forceinline__ float turned_back(float x) {
    auto* row = reinterpret_cast<float*>(open_slot(next_));
    x = bytes::turned_quarter(x, launch_.turn, which_ * 32 + lane_, lane_);
    row[which_ * 32 + lane_] = x;
    sync_gatherers();
    x = bytes::joined_quarters(row, launch_.turn, which_, lane_);
    sync_gatherers();  // before others write there again
    return x;
  }

  // The warp's dims of a head.
  __device__ __forceinline__ float merged(const StageView& view, uint32_t head) {
    constexpr uint32_t kBatch = 16;  // splits whose words are in flight together
    const AttendArgs& a = view.stage.attend;
    const uint32_t n_queries = a.n_heads / a.n_kv_heads, stride = n_queries * kPartWords;
    const uint32_t n_active = min(a.n_splits, Context(a, shared_.step.position).n_tiles);
    const BufferRef& parts = view.stage.writes[kParts];
    const uint32_t tag = tag_at(parts, shared_.step);
    const uint64_t* first =
        at<const uint64_t>(parts.address) + (head / n_queries * a.n_splits * n_queries + head % n_queries) * kPartWords;

    // Eager, it asks for the first values together with the sums.
    const uint64_t* log_sums = first + min(lane_, n_active - 1) * stride + kHeadDim;
    const uint64_t* values = first + which_ * 32 + lane_;
    if (!view.stage.eager) await_word(log_sums, tag);
    __syncwarp();
    uint64_t words[kBatch];
    const uint64_t log_word = load_batch(words, log_sums, values, stride, n_active, tag);
    __syncwarp();
    const float log_sum = lane_ < n_active ? value_of(log_word) : -INFINITY;
    const float weight = exp2_fast(log_sum - warp_max(log_sum)), total = warp_sum(weight);
    float out = 0;
    for (uint32_t begin = 0;;) {
#pragma unroll
      for (uint32_t i = 0; i < kBatch; ++i) out += __shfl_sync(kAllLanes, weight, begin + i) * value_of(words[i]);
      begin += kBatch;
      if (begin >= n_active) break;
      load_batch(words, log_sums, values + begin * stride, stride, n_active - begin, tag);
      __syncwarp();
    }
    return out / total;
  }

  __device__ __forceinline__ void await_word(const uint64_t* from, uint32_t tag) {
    const Watchdog watchdog("part");
    while (tag_of(load_word(from)) != tag) watchdog.check(tag);
  }

  // words[i] = word of split i for i < n, else a copy of the last (its weight is 0); returns *other. All loads are in
  // flight before the first is looked at.
  template <uint32_t kBatch>
  __device__ __forceinline__ uint64_t load_batch(uint64_t (&words)[kBatch], const uint64_t* other, const uint64_t* from,
                                                 uint32_t stride, uint32_t n, uint32_t tag) {
    const Watchdog watchdog("parts");
    while (true) {
      const uint64_t* next = from;
      const uint64_t other_word = load_word(other);
#pragma unroll
      for (uint32_t i = 0; i < kBatch; ++i) {
        words[i] = load_word(next);
        if (i + 1 < n) next += stride;
      }
      bool stale = tag_of(other_word) != tag;
#pragma unroll
      for (uint32_t i = 0; i < kBatch; ++i) stale |= tag_of(words[i]) != tag;
      if (!stale) return other_word;
      watchdog.check(tag);
    }
  }

  Shared& shared_;
  const LaunchArgs& launch_;
  const uint32_t which_, lane_;
  Cursor<kSlots> next_;
  uint32_t n_appended_ = 0;
  uint64_t rope_of_ = 0;
  float4 rope_[2] = {};
};

}  // namespace arc::tape
