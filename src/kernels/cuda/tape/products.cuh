// Products: each consumer warp multiplies its tiles, 8 rows by up to 1024 columns, with the slice of the vector in a
// slot.
#pragma once

#include "kernels/cuda/tape/block.cuh"

namespace arc::tape {

// Sums of 8 rows over the lanes; lane l returns the sum of row l / 4.
__device__ __forceinline__ float sum_rows(const float (&row)[8], uint32_t lane) {
  float a[4], b[2];
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const float keep = lane & 16 ? row[r + 4] : row[r], give = lane & 16 ? row[r] : row[r + 4];
    a[r] = keep + __shfl_xor_sync(kAllLanes, give, 16);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float keep = lane & 8 ? a[r + 2] : a[r], give = lane & 8 ? a[r] : a[r + 2];
    b[r] = keep + __shfl_xor_sync(kAllLanes, give, 8);
  }
  const float keep = lane & 4 ? b[1] : b[0], give = lane & 4 ? b[0] : b[1];
  float v = keep + __shfl_xor_sync(kAllLanes, give, 4);
  v += __shfl_xor_sync(kAllLanes, v, 2);
  return v + __shfl_xor_sync(kAllLanes, v, 1);
}

// 256 columns of 8 rows of a tile of kColumns.
template <uint32_t kColumns>
__device__ __forceinline__ void multiply_columns(float (&sum)[8], const uint4* tile, const uint4* x) {
  const uint4 v = *x;
  const float f[8] = {low_bf16(v.x), high_bf16(v.x), low_bf16(v.y), high_bf16(v.y),
                      low_bf16(v.z), high_bf16(v.z), low_bf16(v.w), high_bf16(v.w)};
#pragma unroll
  for (uint32_t r = 0; r < kTileRows; ++r) {
    const uint4 w = tile[r * (kColumns / 8)];
    sum[r] = fmaf(low_bf16(w.x), f[0], sum[r]);
    sum[r] = fmaf(high_bf16(w.x), f[1], sum[r]);
    sum[r] = fmaf(low_bf16(w.y), f[2], sum[r]);
    sum[r] = fmaf(high_bf16(w.y), f[3], sum[r]);
    sum[r] = fmaf(low_bf16(w.z), f[4], sum[r]);
    sum[r] = fmaf(high_bf16(w.z), f[5], sum[r]);
    sum[r] = fmaf(low_bf16(w.w), f[6], sum[r]);
    sum[r] = fmaf(high_bf16(w.w), f[7], sum[r]);
  }
}

// Of the next tiles of the ring, the first that is the warp's; every kTiles-th after it is too.
__device__ __forceinline__ uint32_t first_tile(const Cursor<kTiles>& tiles, uint32_t warp) {
  const uint32_t index = tiles.index();
  return warp >= index ? warp - index : warp + kTiles - index;
}

// One consumer warp and its places in the rings.
struct ConsumerWarp {
  Shared& shared;
  const uint32_t warp, lane;
  Cursor<kTiles> tiles{};
  Cursor<kSlots> slots{};
  Cursor<kRegions> regions{};

  // Leaves what a stage of attention used.
  __device__ __forceinline__ void skip_attend(const StageView& view) {
    const AttendShare share = attend_share(view, shared.step.position);
    if (share.n_tiles == 0) return;
    slots.advance(share.owns_newest ? 2 : 1);
    tiles.advance(share.n_tiles % (2 * kTiles));
  }
  __device__ __forceinline__ uint32_t first_tile() const { return tape::first_tile(tiles, warp); }
};

template <uint32_t kColumns>
__device__ __forceinline__ void multiply_rows(float (&sum)[8], const uint4* w, const uint4* x, uint32_t n_columns) {
  if (n_columns == kColumns) {
#pragma unroll
    for (uint32_t c = 0; c < kColumns / 8; c += 32) multiply_columns<kColumns>(sum, w + c, x + c);
  } else {
    for (uint32_t c = 0; c * 8 < n_columns; c += 32) multiply_columns<kColumns>(sum, w + c, x + c);
  }
}

// Row sums of one tile; lane l returns row l / 4. Frees the tile.
__device__ __forceinline__ float multiply_tile(ConsumerWarp& me, const Cursor<kTiles>& tile, const uint4* x,
                                               uint32_t n_columns, bool narrow) {
  barrier_wait(&me.shared.tile_full[me.warp], tile.parity(), "tile of a matrix");
  const uint4* w = reinterpret_cast<const uint4*>(me.shared.tiles[me.warp]) + me.lane;
  float sum[8] = {};
  if (narrow) {
    multiply_rows<kNarrowColumns>(sum, w, x, n_columns);
  } else {
    multiply_rows<kTileColumns>(sum, w, x, n_columns);
  }
  warp_arrive(&me.shared.tile_empty[me.warp]);
  return sum_rows(sum, me.lane);
}

// All passes of a product: slices outside, row groups inside, so that a pass starts with the slices that are ready.
__device__ __forceinline__ void multiply(ConsumerWarp& me, const StageView& view) {
  Shared& shared = me.shared;
  const bool narrow = view.stage.product.columns == kNarrowColumns;
  for (uint32_t pass = 0; pass < view.n_passes; ++pass, me.regions.advance(1)) {
    const bool release = !view.holds_vector || pass + 1 == view.n_passes;
    const uint32_t n_groups = view.pass_end(pass) - view.pass_begin(pass);
    float* sums = shared.sums[me.regions.index()];
    barrier_wait(&shared.region_empty[me.regions.index()], me.regions.parity() ^ 1, "region");
    for (uint32_t slice = 0; slice < view.n_slices; ++slice) {
      const Cursor<kSlots> slot = me.slots.plus(slice);
      barrier_wait(&shared.slot_full[slot.index()], slot.parity(), "vector");
      const uint4* x = reinterpret_cast<const uint4*>(shared.slots[slot.index()]) + me.lane;
      const uint32_t n_columns = view.slice_columns(slice);
      for (uint32_t i = me.first_tile(); i < n_groups; i += kTiles) {
        const float v = multiply_tile(me, me.tiles.plus(i), x, n_columns, narrow);
        if (me.lane % 4 == 0) sums[(slice * n_groups + i) * kTileRows + me.lane / 4] = v;
      }
      me.tiles.advance(n_groups);
      if (release) warp_arrive(&shared.slot_empty[slot.index()]);
    }
    if (release) me.slots.advance(view.n_slices);
    warp_arrive(&shared.region_full[me.regions.index()]);
  }
}

}  // namespace arc::tape
