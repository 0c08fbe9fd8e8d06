// Attention of one kv head over the granules of one split. A consumer warp takes whole granules: scores, a running
// softmax and the weighted values stay in its registers. The warps' results meet once per stage, in the memory of their
// last tiles.
#pragma once

#include "kernels/cuda/tape/products.cuh"

namespace arc::tape {

// Running softmax of 8 heads over 32 tokens at a time. In fragments, lane = 4 g + c holds heads 2 c, 2 c + 1.
struct HeadState {
  float out[8][4] = {};  // [16 dims][dim g of head 2c, of 2c + 1; dim g + 8 of both], not yet divided by the sum
  float largest[2] = {-INFINITY, -INFINITY};  // log2 units
  float sum[2] = {0, 0};                      // over the tokens of this lane only
};

// A warp's result as others see it: out [8][kOutStride], then largest [8], then sum [8].
constexpr uint32_t kOutStride = 132;  // floats; spreads the heads over the banks
struct WarpResult {
  float out[8][kOutStride], largest[8], sum[8];
};
static_assert(sizeof(WarpResult) <= kSideBytes, "must leave the values of the tile alone");

__device__ __forceinline__ void sync_consumers() {
  asm volatile("bar.sync 1, %0;" ::"n"(32 * kConsumerWarps) : "memory");
}

// Where 16-byte chunks lie: of head `row` in a slot, and of token `row` in one side of a granule.
__device__ __forceinline__ uint32_t chunk_in_slot(uint32_t row, uint32_t chunk) {
  return row * kRowBytes + ((chunk ^ (row & 7)) << 4);
}
__device__ __forceinline__ uint32_t chunk_offset(uint32_t row, uint32_t chunk) {
  return chunk / 8 * kHalfBytes + row * (kHalfColumns * 2) + (((chunk ^ row) & 7) << 4);
}

// Queries as a B fragment: dims 8 chunk .. + 7 of the lane's head; zero for heads that do not exist.
__device__ __forceinline__ uint32_t load_query(const uint8_t* slot, uint32_t n_queries, uint32_t chunk, uint32_t lane) {
  const uint32_t head = lane / 4;
  return head < n_queries ? *reinterpret_cast<const uint32_t*>(slot + chunk_in_slot(head, chunk) + lane % 4 * 4) : 0;
}

// Puts the new key and value (256 + 256 bytes in the slot) into the tile and into the cache, and zeroes the values of
// tokens to come: their weight is 0, but 0 times an unwritten NaN is not.
__device__ __forceinline__ void append(uint8_t* tile, const uint8_t* slot, const StageView& view,
                                       const int32_t* block_table, uint32_t position, uint32_t lane) {
  const IndexedRef& cache = view.stage.cache;
  const uint32_t block = __ldg(block_table + position / kBlockTokens), side = lane / 16,
                 row = position % kGranuleTokens;
  uint8_t* head = at<uint8_t>(cache.address + uint64_t(block) * cache.block_bytes + view.kv_head * kHeadBytes);
  const uint4 chunk = reinterpret_cast<const uint4*>(slot)[lane];
  *reinterpret_cast<uint4*>(tile + side * kSideBytes + chunk_offset(row, lane % 16)) = chunk;
  reinterpret_cast<uint4*>(head + (side * kBlockTokens + position % kBlockTokens) * kRowBytes)[lane % 16] = chunk;
  for (uint32_t half = 0; half < 2; ++half) {
    uint4* values = reinterpret_cast<uint4*>(tile + kSideBytes + half * kHalfBytes);
    for (uint32_t i = (row + 1) * 8 + lane; i < kGranuleTokens * 8; i += 32) values[i] = make_uint4(0, 0, 0, 0);
  }
  __syncwarp();
}

// Scores of 32 tokens in log2 units: s[t][..] for tokens 16 t + g and 16 t + g + 8; -inf past the position.
__device__ __forceinline__ void score_tokens(float (&s)[2][4], uint32_t keys, const uint8_t* queries,
                                             uint32_t n_queries, float scale, uint32_t n_valid, uint32_t lane) {
  constexpr uint32_t kAtOnce = 4;  // fragments are loaded in groups, so that one latency covers a group
#pragma unroll
  for (uint32_t first = 0; first < 8; first += kAtOnce) {
    uint32_t a[kAtOnce][2][4], q[kAtOnce][2];
#pragma unroll
    for (uint32_t i = 0; i < kAtOnce; ++i)
#pragma unroll
      for (uint32_t t = 0; t < 2; ++t) {
        q[i][t] = load_query(queries, n_queries, 2 * (first + i) + t, lane);
        load_fragment(a[i][t], keys + chunk_offset(16 * t + lane % 16, 2 * (first + i) + lane / 16));
      }
#pragma unroll
    for (uint32_t i = 0; i < kAtOnce; ++i)
#pragma unroll
      for (uint32_t t = 0; t < 2; ++t) multiply_add(s[t], a[i][t], q[i][0], q[i][1]);
  }
#pragma unroll
  for (uint32_t t = 0; t < 2; ++t) {
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) {
      const uint32_t token = 16 * t + lane / 4 + (j / 2) * 8;
      s[t][j] = token < n_valid ? s[t][j] * scale : -INFINITY;
    }
  }
}

// Adds one granule of 32 tokens, of which the first n_valid count.
__device__ __forceinline__ void add_granule(HeadState& state, const uint8_t* tile, const uint8_t* queries,
                                            uint32_t n_queries, float scale, uint32_t n_valid, uint32_t lane) {
  const uint32_t keys = shared_address(tile), values = keys + kSideBytes;
  float s[2][4] = {};
  score_tokens(s, keys, queries, n_queries, scale, n_valid, lane);
  float decay[2];
#pragma unroll
  for (uint32_t h = 0; h < 2; ++h) {
    float largest = fmaxf(fmaxf(s[0][h], s[0][h + 2]), fmaxf(s[1][h], s[1][h + 2]));
    for (uint32_t lanes = 4; lanes < 32; lanes *= 2)
      largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, lanes));
    largest = fmaxf(largest, state.largest[h]);
    decay[h] = exp2_fast(state.largest[h] - largest);
    state.largest[h] = largest;
    state.sum[h] *= decay[h];
  }
#pragma unroll
  for (uint32_t i = 0; i < 8; ++i)
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) state.out[i][j] *= decay[j % 2];
#pragma unroll
  for (uint32_t t = 0; t < 2; ++t) {
    float p[4];
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) {
      p[j] = exp2_fast(s[t][j] - state.largest[j % 2]);
      state.sum[j % 2] += p[j];
    }
    const uint32_t b0 = transpose8x8(pack_bf16(p[0], p[1])), b1 = transpose8x8(pack_bf16(p[2], p[3]));
    const uint32_t row = 16 * t + lane % 8 + lane / 16 * 8;
#pragma unroll
    for (uint32_t first = 0; first < 8; first += 4) {
      uint32_t a[4][4];
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i)
        load_fragment_transposed(a[i], values + chunk_offset(row, 2 * (first + i) + lane / 8 % 2));
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) multiply_add(state.out[first + i], a[i], b0, b1);
    }
  }
}

__device__ __forceinline__ void store_result(WarpResult& result, HeadState& state, uint32_t lane) {
  const uint32_t g = lane / 4, head = lane % 4 * 2;
#pragma unroll
  for (uint32_t h = 0; h < 2; ++h)
    for (uint32_t lanes = 4; lanes < 32; lanes *= 2) state.sum[h] += __shfl_xor_sync(kAllLanes, state.sum[h], lanes);
  __syncwarp();
#pragma unroll
  for (uint32_t i = 0; i < 8; ++i)
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j) result.out[head + j % 2][16 * i + g + j / 2 * 8] = state.out[i][j];
  if (g == 0) {
#pragma unroll
    for (uint32_t h = 0; h < 2; ++h) {
      result.largest[head + h] = state.largest[h];
      result.sum[head + h] = state.sum[h];
    }
  }
}

// Merges one head over the warps' results, in the order of their tiles, and publishes the split's part.
__device__ __forceinline__ void publish_part(const Shared& shared, const Cursor<kTiles>& first, uint32_t n_results,
                                             uint32_t head, uint64_t* part, uint32_t tag, uint32_t lane) {
  const auto result = [&](uint32_t i) -> const WarpResult& {
    return *reinterpret_cast<const WarpResult*>(shared.tiles[first.plus(i).index()]);
  };
  const float own = lane < n_results ? result(lane).largest[head] : -INFINITY;
  const float largest = warp_max(own), weight = exp2_fast(own - largest);
  const float total = warp_sum(lane < n_results ? weight * result(lane).sum[head] : 0.0f);
  float4 out = {0, 0, 0, 0};
  for (uint32_t i = 0; i < n_results; ++i) {
    const float w = __shfl_sync(kAllLanes, weight, i);
    const float4 v = *reinterpret_cast<const float4*>(&result(i).out[head][4 * lane]);
    out.x += w * v.x;
    out.y += w * v.y;
    out.z += w * v.z;
    out.w += w * v.w;
  }
  const float inverse = 1.0f / total;
  store_words2(part + 4 * lane, tagged32(out.x * inverse, tag), tagged32(out.y * inverse, tag));
  store_words2(part + 4 * lane + 2, tagged32(out.z * inverse, tag), tagged32(out.w * inverse, tag));
  if (lane == 0) store_word(part + kHeadDim, tagged32(largest + __log2f(total), tag));
}

// The SM's part of each head, from what the warps left in their last tiles; frees these.
__device__ __forceinline__ void publish_parts(Shared& shared, const StageView& view, uint32_t warp,
                                              const Cursor<kTiles>& tiles, uint32_t n_tiles) {
  const AttendArgs& a = view.stage.attend;
  const BufferRef& parts = view.stage.writes[kParts];
  const uint32_t n_queries = a.n_heads / a.n_kv_heads, n_results = min(n_tiles, kTiles);
  sync_consumers();
  if (warp < n_queries) {
    const uint32_t row = (view.kv_head * a.n_splits + view.split) * n_queries + warp;
    publish_part(shared, tiles.plus(n_tiles - n_results), n_results, warp,
                 at<uint64_t>(parts.address) + row * kPartWords, tag_at(parts, shared.step), lane_id());
  }
  sync_consumers();
  if (first_tile(tiles, warp) < n_tiles) {
    writes_are_seen();
    warp_arrive(&shared.tile_empty[warp]);
  }
}

__device__ __forceinline__ void attend(ConsumerWarp& me, const LaunchArgs& launch, const StageView& view) {
  Shared& shared = me.shared;
  const uint32_t position = shared.step.position;
  const AttendShare share = attend_share(view, position);
  if (share.n_tiles == 0) return;
  const AttendArgs& a = view.stage.attend;
  const uint32_t n_queries = a.n_heads / a.n_kv_heads, newest = share.n_tiles - 1;
  const Cursor<kSlots> q_slot = me.slots, new_slot = me.slots.plus(1);
  me.slots.advance(share.owns_newest ? 2 : 1);

  barrier_wait(&shared.slot_full[q_slot.index()], q_slot.parity(), "queries");
  if (share.owns_newest) barrier_wait(&shared.slot_full[new_slot.index()], new_slot.parity(), "new key");

  HeadState state;
  uint8_t* tile = shared.tiles[me.warp];
  const uint32_t first = me.first_tile();
  for (uint32_t i = first; i < share.n_tiles; i += kTiles) {
    if (i != first) warp_arrive(&shared.tile_empty[me.warp]);
    barrier_wait(&shared.tile_full[me.warp], me.tiles.plus(i).parity(), "tile of the cache");
    const bool is_newest = share.owns_newest && i == newest;
    if (is_newest) append(tile, shared.slots[new_slot.index()], view, launch.block_tables[a.group], position, me.lane);
    add_granule(state, tile, shared.slots[q_slot.index()], n_queries, a.scale_log2,
                is_newest ? position % kGranuleTokens + 1 : kGranuleTokens, me.lane);
  }
  warp_arrive(&shared.slot_empty[q_slot.index()]);
  if (share.owns_newest) warp_arrive(&shared.slot_empty[new_slot.index()]);

  if (first < share.n_tiles) store_result(*reinterpret_cast<WarpResult*>(tile), state, me.lane);
  publish_parts(shared, view, me.warp, me.tiles, share.n_tiles);
  me.tiles.advance(share.n_tiles % (2 * kTiles));
}

}  // namespace arc::tape
