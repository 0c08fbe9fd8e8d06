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

// Row sums of one tile, on the tensor cores; holds_sum() says which lanes return one: that of row lane / 4. Frees the
// tile. The halves of row g are rows g and g + 8 of the first operand. In a step they are blocks of 32 columns, 8 of a
// lane; which of two neighbouring blocks first depends on the row and the half, so that the lanes that load together
// meet all banks. So the second operand has a column for either half of even rows (0, 1) and of odd rows (2, 3).
__device__ __forceinline__ bool holds_sum(uint32_t lane) {
  return lane % 4 == lane / 4 % 2;
}
__device__ __forceinline__ float multiply_tile(ConsumerWarp& me, const Cursor<kTiles>& tile, const uint4* x,
                                               uint32_t tile_columns, uint32_t n_columns) {
  constexpr uint32_t kBlock = 4;  // in units of 8 columns
  const uint32_t row = me.lane / 4, flip = row % 2, half = row % 2, x_flip = (row ^ row / 2) % 2;
  const uint32_t half_blocks = (n_columns + 255) / 256 * 4;
  barrier_wait(&me.shared.tile_full[me.warp], tile.parity(), "tile of a matrix");
  const uint4* top = reinterpret_cast<const uint4*>(me.shared.tiles[me.warp]) + row * (tile_columns / 8) + me.lane % 4;
  const uint4* bottom = top + half_blocks * kBlock;
  x += half * half_blocks * kBlock + me.lane % 4;
  float sums[4][4] = {};
#pragma unroll 2
  for (uint32_t block = 0; block < half_blocks; block += 2) {
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
      const uint4 a = top[(block + (i ^ flip)) * kBlock], b = bottom[(block + (i ^ flip ^ 1)) * kBlock];
      const uint4 v = x[(block + (i ^ x_flip)) * kBlock];
      multiply_add(sums[2 * i], {a.x, b.x, a.y, b.y}, v.x, v.y);
      multiply_add(sums[2 * i + 1], {a.z, b.z, a.w, b.w}, v.z, v.w);
    }
  }
  warp_arrive(&me.shared.tile_empty[me.warp]);
  return sums[0][0] + sums[1][0] + sums[2][0] + sums[3][0] + sums[0][3] + sums[1][3] + sums[2][3] + sums[3][3];
}

// All passes of a product: slices outside, row groups inside, so that a pass starts with the slices that are ready.
__device__ __forceinline__ void multiply(ConsumerWarp& me, const StageView& view) {
  Shared& shared = me.shared;
  for (uint32_t pass = 0; pass < view.n_passes; ++pass, me.regions.advance(1)) {
    const bool release = !view.holds_vector || pass + 1 == view.n_passes;
    const uint32_t n_groups = view.pass_end(pass) - view.pass_begin(pass);
    float* sums = shared.sums[me.regions.index()];
    barrier_wait(&shared.region_empty[me.regions.index()], me.regions.parity() ^ 1, "region");
    for (uint32_t slice = 0; slice < view.n_slices; ++slice) {
      const Cursor<kSlots> slot = me.slots.plus(slice);
      barrier_wait(&shared.slot_full[slot.index()], slot.parity(), "vector");
      const uint4* x = reinterpret_cast<const uint4*>(shared.slots[slot.index()]);
      const uint32_t n_columns = view.slice_columns(slice);
      for (uint32_t i = me.first_tile(); i < n_groups; i += kTiles) {
        const float v = multiply_tile(me, me.tiles.plus(i), x, view.stage.product.columns, n_columns);
        if (holds_sum(me.lane)) sums[(slice * n_groups + i) * kTileRows + me.lane / 4] = v;
      }
      me.tiles.advance(n_groups);
      if (release) warp_arrive(&shared.slot_empty[slot.index()]);
    }
    if (release) me.slots.advance(view.n_slices);
    warp_arrive(&shared.region_full[me.regions.index()]);
  }
}

}  // namespace arc::tape
