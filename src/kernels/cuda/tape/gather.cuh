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
      gather_heads(view);
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

  // Loads the first n of a lane's words until all carry the tag: words[x] are the four from place(x) on. While nothing
  // is there it watches one word of all, which costs one sector a poll; then it asks for what is missing. (To ask for
  // all words each time was slower, even for narrow models.)
  template <uint32_t kMax, class Place>
  __device__ __forceinline__ void load_fresh(uint4 (&words)[kMax], uint32_t n, const Place& place, uint32_t tag) {
    const Watchdog watchdog("gather");
    const uint32_t all = (1u << n) - 1;
    uint32_t stale = all;  // bit x: the lane's words[x]
    while (true) {
#pragma unroll
      for (uint32_t x = 0; x < kMax; ++x)
        if (stale >> x & 1) words[x] = load_words4(place(x));
      uint32_t still = 0;
#pragma unroll
      for (uint32_t x = 0; x < kMax; ++x) {
        const uint4 w = words[x];
        if ((stale >> x & 1) && (((w.x ^ tag) | (w.y ^ tag) | (w.z ^ tag) | (w.w ^ tag)) & 0xffff)) still |= 1u << x;
      }
      stale = still;
      if (!__any_sync(kAllLanes, stale)) return;
      if (__all_sync(kAllLanes, stale == all)) {
        const auto watched = __shfl_sync(kAllLanes, uint64_t(place(n - 1)), 31);
        while ((load_word(at<const uint32_t>(watched)) ^ tag) & 0xffff) watchdog.check(tag);
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
        const auto place = [&](uint32_t x) { return words + min(x * kChunkWords + 4 * lane_, n_columns - 4); };
        load_fresh(w, n_chunks, place, tag_at(from, shared_.step));
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
  __device__ __forceinline__ float4 gains_of(const StageView& view, int norm) const {
    const uint64_t gains = view.stage.weights[norm].address;
    return gains != 0 ? __ldg(at<const float4>(gains) + lane_) : float4{1, 1, 1, 1};
  }
  // RMSNorm and RoPE of one head. The other half of each rotated pair is in lane ^ 16.
  __device__ __forceinline__ float4 rotated(const float4& raw, const float4& gain, bool normed, float eps) const {
    const float squares = warp_sum(raw.x * raw.x + raw.y * raw.y + raw.z * raw.z + raw.w * raw.w);
    const float scale = normed ? rsqrtf(squares / kHeadDim + eps) : 1.0f, sign = lane_ < 16 ? -1.0f : 1.0f;
    const float4 v = {raw.x * scale * gain.x, raw.y * scale * gain.y, raw.z * scale * gain.z, raw.w * scale * gain.w};
    const float4 partner = {__shfl_xor_sync(kAllLanes, v.x, 16), __shfl_xor_sync(kAllLanes, v.y, 16),
                            __shfl_xor_sync(kAllLanes, v.z, 16), __shfl_xor_sync(kAllLanes, v.w, 16)};
    return {v.x * rope_[0].x + sign * partner.x * rope_[0].y, v.y * rope_[0].z + sign * partner.y * rope_[0].w,
            v.z * rope_[1].x + sign * partner.z * rope_[1].y, v.w * rope_[1].z + sign * partner.w * rope_[1].w};
  }

  __device__ __forceinline__ void sync_gatherers() {
    asm volatile("bar.sync 2, %0;" ::"n"(32 * kGatherWarps) : "memory");
  }

  // All gather warps take part, heads in turn. First slot: the queries of this SM's kv head. Second slot, only where
  // the newest granule is: the new key, then the value.
  __device__ __forceinline__ void gather_heads(const StageView& view) {
    const AttendShare share = attend_share(view, shared_.step.position);
    if (share.n_tiles == 0) return;
    turn(view);
    const Cursor<kSlots> q_slot = next_, new_slot = next_.plus(1);
    next_.advance(share.owns_newest ? 2 : 1);
    uint8_t* queries = open_slot(q_slot);
    uint8_t* token = share.owns_newest ? open_slot(new_slot) : nullptr;
    put_heads(view, queries, token);
    sync_gatherers();
    if (mine(q_slot)) close_slot(q_slot);
    if (!share.owns_newest) return;
    if (mine(new_slot)) close_slot(new_slot);
    if (which_ == 0 && lane_ == 0) store_release(&shared_.n_appended, ++n_appended_);
  }

  // The warp's heads, of queries, then of key and value if there is a place for the new token.
  __device__ __forceinline__ void put_heads(const StageView& view, uint8_t* queries, uint8_t* token) {
    constexpr uint32_t kMost = (8 + 2 + kGatherWarps - 1) / kGatherWarps;
    const AttendArgs& a = view.stage.attend;
    const BufferRef& qkv = view.stage.reads[kVector];
    const uint32_t n_queries = a.n_heads / a.n_kv_heads, n_heads = n_queries + (token != nullptr ? 2 : 0);
    if (which_ >= n_heads) return;
    const float4 q_gain = gains_of(view, kQNorm), k_gain = gains_of(view, kKNorm);
    const bool normed = view.stage.weights[kQNorm].address != 0;
    const auto place = [&](uint32_t x) {
      const uint32_t i = which_ + x * kGatherWarps;
      const uint32_t head =
          i < n_queries ? view.kv_head * n_queries + i : a.n_heads + (i - n_queries) * a.n_kv_heads + view.kv_head;
      return at<const uint32_t>(qkv.address) + head * kHeadDim + 4 * lane_;
    };
    const uint32_t n = (n_heads - which_ + kGatherWarps - 1) / kGatherWarps;
    uint4 w[kMost];
    load_fresh(w, n, place, tag_at(qkv, shared_.step));
#pragma unroll 1
    for (uint32_t x = 0; x < n; ++x) {
      const uint32_t i = which_ + x * kGatherWarps;
      float4 v = values_of(x == 0 ? w[0] : x == 1 ? w[1] : w[2]);
      if (i <= n_queries) v = rotated(v, i < n_queries ? q_gain : k_gain, normed, a.eps);
      if (a.form == CacheForm::packed) v = bytes::turned(v, launch_.turn, lane_);
      if (i >= n_queries) {
        put_new(view, token, i - n_queries, v);
      } else if (a.form == CacheForm::bf16) {
        put_bf16(queries + chunk_in_slot(i, lane_ / 2), v);
      } else {
        bytes::put_query(*reinterpret_cast<bytes::Queries*>(queries), i, v, lane_);
      }
    }
  }
  // A lane's half of a chunk.
  __device__ __forceinline__ void put_bf16(uint8_t* chunk, const float4& v) {
    reinterpret_cast<uint2*>(chunk)[lane_ % 2] = make_uint2(pack_bf16(v.x, v.y), pack_bf16(v.z, v.w));
  }

  // The new key (side 0) or value. Rows of bytes go to the cache at once, those of bf16 when their granule is there.
  __device__ __forceinline__ void put_new(const StageView& view, uint8_t* slot, uint32_t side, const float4& v) {
    const AttendArgs& a = view.stage.attend;
    if (a.form == CacheForm::bf16) return put_bf16(slot + side * kRowBytes + lane_ / 2 * 16, v);
    auto& to = *reinterpret_cast<bytes::NewToken*>(slot);
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

    const uint64_t* log_sums = first + min(lane_, n_active - 1) * stride + kHeadDim;
    const uint64_t* values = first + which_ * 32 + lane_;
    await_word(log_sums, tag, "part");
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
