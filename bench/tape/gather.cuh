// The gather warps: they poll the tagged words that a stage reads and leave them in a slot, ready to use. Vectors come
// by ordinary loads: a bulk copy would queue behind the weights in the copy engine.
#pragma once

#include "block.cuh"
#include "products.cuh"

namespace arc::tape {

constexpr uint32_t kChunkWords = 128;  // what a warp loads at once, 16 bytes a lane

template <bool kProbe>
class Gather {
 public:
  __device__ __forceinline__ Gather(Shared& shared, const LaunchArgs& launch, uint32_t which)
      : shared_(shared), launch_(launch), which_(which), lane_(lane_id()) {}

  __device__ __forceinline__ void visit(const StageView& view, uint32_t k) {
    const uint32_t step = shared_.start.step + k;
    if (view.stage.op == Op::product) gather_slices(view, step);
    if (view.stage.op == Op::attend) {
      const uint32_t position = shared_.start.position + k;
      gather_heads(view, step, position);
      if (which_ == 0) note_now<kProbe>(launch_, view, Mark::parts_begin);
      merge_parts(view, step, position);
      if (which_ == 0) note_now<kProbe>(launch_, view, Mark::merged);
    }
  }

 private:
  __device__ __forceinline__ static bool waits_for(const StageView& view, uint8_t bit) {
    return !kProbe || !(view.stage.skip_waits & bit);
  }

  // Slot uses are numbered; use u belongs to gather warp u mod kGatherWarps.
  __device__ __forceinline__ bool mine(const Cursor<kSlots>& slot) const { return slot.at % kGatherWarps == which_; }
  __device__ __forceinline__ uint8_t* open_slot(const Cursor<kSlots>& slot) {
    barrier_wait(&shared_.slot_empty[slot.index()], slot.parity() ^ 1, "slot");
    return shared_.slots[slot.index()];
  }
  __device__ __forceinline__ void close_slot(const Cursor<kSlots>& slot) {
    warp_arrive(&shared_.slot_full[slot.index()]);
  }

  // Loads chunks, chunk x at address(x), until all carry the tag; words[x] of a lane holds words 4 lane .. + 3. Chunks
  // past n_chunks repeat the last. Between full tries it watches one word that was stale: waiting costs one sector a
  // poll.
  template <uint32_t kMax, class Address>
  __device__ __forceinline__ void load_fresh(uint4 (&words)[kMax], uint32_t n_chunks, uint32_t tag, bool waits,
                                             Address address) {
    const Watchdog watchdog("gather");
    while (true) {
#pragma unroll
      for (uint32_t x = 0; x < kMax; ++x) words[x] = load_words4(address(min(x, n_chunks - 1)) + 4 * lane_);
      if (!waits) return;
      uint32_t stale = kMax;
#pragma unroll
      for (uint32_t x = 0; x < kMax; ++x) {
        const uint4 w = words[x];
        if (((w.x ^ tag) | (w.y ^ tag) | (w.z ^ tag) | (w.w ^ tag)) & 0xffff) stale = x;
      }
      const uint32_t lanes = __ballot_sync(kAllLanes, stale < kMax);
      if (lanes == 0) return;
      const uint32_t lane = __ffs(lanes) - 1;
      const uint32_t chunk = min(__shfl_sync(kAllLanes, stale, lane), n_chunks - 1);
      const uint32_t* watched = address(chunk) + 4 * lane;
      do watchdog.check(tag, chunk);
      while ((load_word(watched) ^ tag) & 0xffff);
    }
  }

  __device__ __forceinline__ static uint2 to_bf16(const uint4& w) {
    return make_uint2(__byte_perm(w.x, w.y, 0x7632), __byte_perm(w.z, w.w, 0x7632));
  }

  __device__ __forceinline__ void gather_slices(const StageView& view, uint32_t step) {
    const BufferRef& from = view.stage.reads[kVector];
    const uint32_t n_fetches = view.holds_vector ? 1 : view.n_passes;
    for (uint32_t fetch = 0; fetch < n_fetches; ++fetch) {
      for (uint32_t slice = 0; slice < view.n_slices; ++slice, next_.advance(1)) {
        if (!mine(next_)) continue;
        uint8_t* slot = open_slot(next_);
        const uint32_t* words = at<const uint32_t>(from.address) + slice * kTileColumns;
        const uint32_t n_chunks = view.slice_columns(slice) / kChunkWords;
        uint4 w[kTileColumns / kChunkWords];
        if (waits_for(view, kSkipLoads))
          load_fresh(w, n_chunks, tag_at(from, step), waits_for(view, kSkipVector),
                     [=](uint32_t x) { return words + x * kChunkWords; });
#pragma unroll
        for (uint32_t x = 0; x < kTileColumns / kChunkWords; ++x)
          if (x < n_chunks) reinterpret_cast<uint2*>(slot)[x * 32 + lane_] = to_bf16(w[x]);
        close_slot(next_);
        if (slice == 0 && fetch == 0) note_now<kProbe>(launch_, view, Mark::gathered);
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
  };
  __device__ __forceinline__ Rotation load_rotation(const StageView& view, int norm, uint32_t position) const {
    const float4* rope = at<const float4>(view.stage.weights[kRope].address) + position * (kHeadDim / 4);
    return {__ldg(at<const float4>(view.stage.weights[norm].address) + lane_),
            {__ldg(rope + 2 * (lane_ & 15)), __ldg(rope + 2 * (lane_ & 15) + 1)},
            view.stage.attend.eps};
  }
  // One head, given the sum of its squares. The other half of each rotated pair is in lane ^ 16.
  __device__ __forceinline__ uint2 rotate_head(const uint4& w, float squares, const Rotation& r) const {
    const float scale = rsqrtf(squares / kHeadDim + r.eps), sign = lane_ < 16 ? -1.0f : 1.0f;
    const float4 raw = values_of(w);
    const float4 v = {raw.x * scale * r.gain.x, raw.y * scale * r.gain.y, raw.z * scale * r.gain.z,
                      raw.w * scale * r.gain.w};
    const float4 partner = {__shfl_xor_sync(kAllLanes, v.x, 16), __shfl_xor_sync(kAllLanes, v.y, 16),
                            __shfl_xor_sync(kAllLanes, v.z, 16), __shfl_xor_sync(kAllLanes, v.w, 16)};
    return make_uint2(pack_bf16(v.x * r.rope[0].x + sign * partner.x * r.rope[0].y,
                                v.y * r.rope[0].z + sign * partner.y * r.rope[0].w),
                      pack_bf16(v.z * r.rope[1].x + sign * partner.z * r.rope[1].y,
                                v.w * r.rope[1].z + sign * partner.w * r.rope[1].w));
  }

  // First slot: the rotated queries of this SM's kv head, rows of 256 bytes, 16-byte chunks of row r permuted by xor
  // with r. Second slot, only where the newest granule is: the rotated key, then the value.
  __device__ __forceinline__ void gather_heads(const StageView& view, uint32_t step, uint32_t position) {
    const AttendShare share = attend_share(view, position);
    if (share.n_tiles == 0) return;
    if (mine(next_)) gather_queries(view, step, position);
    next_.advance(1);
    if (!share.owns_newest) return;
    if (mine(next_)) gather_new_token(view, step, position);
    next_.advance(1);
  }

  __device__ __forceinline__ void gather_queries(const StageView& view, uint32_t step, uint32_t position) {
    const BufferRef& qkv = view.stage.reads[kVector];
    const uint32_t n_queries = view.stage.attend.n_heads / view.stage.attend.n_kv_heads;
    const uint32_t* q = at<const uint32_t>(qkv.address) + view.kv_head * n_queries * kHeadDim;
    const Rotation rotation = load_rotation(view, kQNorm, position);
    uint8_t* slot = open_slot(next_);
    uint4 w[8];
    load_fresh(w, n_queries, tag_at(qkv, step), waits_for(view, kSkipVector),
               [=](uint32_t x) { return q + x * kHeadDim; });
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
    note_now<kProbe>(launch_, view, Mark::gathered);
  }

  __device__ __forceinline__ void gather_new_token(const StageView& view, uint32_t step, uint32_t position) {
    const BufferRef& qkv = view.stage.reads[kVector];
    const AttendArgs& a = view.stage.attend;
    const uint32_t* key = at<const uint32_t>(qkv.address) + (a.n_heads + view.kv_head) * kHeadDim;
    const uint32_t to_value = a.n_kv_heads * kHeadDim;
    const Rotation rotation = load_rotation(view, kKNorm, position);
    uint8_t* slot = open_slot(next_);
    uint4 w[2];
    load_fresh(w, 2, tag_at(qkv, step), waits_for(view, kSkipVector), [=](uint32_t x) { return key + x * to_value; });
    reinterpret_cast<uint2*>(slot)[lane_] = rotate_head(w[0], warp_sum(squares_of(w[0])), rotation);
    reinterpret_cast<uint2*>(slot)[32 + lane_] = to_bf16(w[1]);
    close_slot(next_);
  }

  // Merges the splits' parts of 32 dims of one head at a time, in order of split, and publishes them.
  __device__ __forceinline__ void merge_parts(const StageView& view, uint32_t step, uint32_t position) {
    constexpr uint32_t kQuarters = kHeadDim / 32;
    const uint32_t n_units = view.stage.attend.n_heads * kQuarters;
    for (uint32_t unit = which_ * gridDim.x + blockIdx.x; unit < n_units; unit += kGatherWarps * gridDim.x)
      merge_unit(view, step, position, unit / kQuarters, unit % kQuarters);
  }

  __device__ __forceinline__ void merge_unit(const StageView& view, uint32_t step, uint32_t position, uint32_t head,
                                             uint32_t quarter) {
    constexpr uint32_t kBatch = 16;  // splits whose words are in flight together
    const AttendArgs& a = view.stage.attend;
    const uint32_t n_queries = a.n_heads / a.n_kv_heads, stride = n_queries * kPartWords;
    const uint32_t n_active = min(a.n_splits, position / kGranuleTokens + 1);
    const BufferRef &parts = view.stage.writes[kParts], &attended = view.stage.writes[kVector];
    const uint32_t tag = tag_at(parts, step);
    const bool waits = waits_for(view, kSkipParts);
    const uint64_t* first =
        at<const uint64_t>(parts.address) + (head / n_queries * a.n_splits * n_queries + head % n_queries) * kPartWords;

    float log_sum = -INFINITY;
    if (lane_ < n_active) log_sum = value_of(fresh_word(first + lane_ * stride + kHeadDim, tag, waits));
    __syncwarp();
    note_now<kProbe>(launch_, view, Mark::parts_fresh);
    const float weight = exp2_fast(log_sum - warp_max(log_sum)), total = warp_sum(weight);
    float out = 0;
    for (uint32_t begin = 0; begin < n_active; begin += kBatch) {
      uint64_t words[kBatch];
      load_batch(words, first + begin * stride + quarter * 32 + lane_, stride, n_active - begin, tag, waits);
#pragma unroll
      for (uint32_t i = 0; i < kBatch; ++i) {
        out += __shfl_sync(kAllLanes, weight, begin + i) * value_of(words[i]);
      }
    }
    store_word(at<uint32_t>(attended.address) + head * kHeadDim + quarter * 32 + lane_,
               tagged16(out / total, tag_at(attended, step)));
  }

  __device__ __forceinline__ uint64_t fresh_word(const uint64_t* from, uint32_t tag, bool waits) {
    uint64_t word = load_word(from);
    const Watchdog watchdog("part");
    while (waits && tag_of(word) != tag) {
      watchdog.check(tag);
      word = load_word(from);
    }
    return word;
  }

  // words[i] = word of split i for i < n, else a copy of the last (its weight is 0). All loads are in flight before the
  // first is looked at.
  template <uint32_t kBatch>
  __device__ __forceinline__ void load_batch(uint64_t (&words)[kBatch], const uint64_t* from, uint32_t stride,
                                             uint32_t n, uint32_t tag, bool waits) {
    const Watchdog watchdog("parts");
    bool stale = true;
    while (stale) {
      const uint64_t* next = from;
#pragma unroll
      for (uint32_t i = 0; i < kBatch; ++i) {
        words[i] = load_word(next);
        if (i + 1 < n) next += stride;
      }
      stale = false;
#pragma unroll
      for (uint32_t i = 0; i < kBatch; ++i) stale |= waits && tag_of(words[i]) != tag;
      watchdog.check(tag);
    }
  }

  Shared& shared_;
  const LaunchArgs& launch_;
  const uint32_t which_, lane_;
  Cursor<kSlots> next_;
};

}  // namespace arc::tape
