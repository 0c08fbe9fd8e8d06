// The roles that run ahead: one warp loads stage records, one streams weight tiles and cache granules through the ring.
// They never wait for an activation, so the stream crosses every dependency point.
#pragma once

#include "kernels/cuda/tape/block.cuh"

namespace arc::tape {

// ---- loader
__device__ __forceinline__ void complete_view(StageView& view, const LaunchArgs& launch) {
  const TapeStage& stage = view.stage;
  const uint32_t sm = blockIdx.x;
  if (stage.op == Op::attend) {
    view.kv_head = sm % stage.attend.n_kv_heads;
    view.split = sm / stage.attend.n_kv_heads;
    return;
  }
  const DealShare share = launch.deals[stage.product.deal * gridDim.x + sm];
  view.n_groups = share.n_rounds + share.n_tail;
  view.n_rounds = share.n_rounds;
  view.first_tail = share.first_tail;
  if (stage.op == Op::embed) return;
  prefetch_map(stage.weights[kMatrix].address);
  view.n_slices = view.experts_in_columns() ? stage.experts.top_k * view.part_slices()
                                            : (stage.product.n_in + stage.product.columns - 1) / stage.product.columns;
  view.n_passes = (view.n_groups + stage.product.pass_groups - 1) / stage.product.pass_groups;
  view.holds_vector = view.n_passes > 1 && view.n_slices <= kSlots;
}

__device__ __forceinline__ void load_stages(Shared& shared, const LaunchArgs& launch) {
  constexpr uint32_t kChunks = sizeof(TapeStage) / 16;
  static_assert(kChunks <= 32);
  if (lane_id() == 0) prefetch_map(launch.cache_map);
  Cursor<kStageSlots> cursor;
  for (uint32_t i = 0; i < launch.n_stages; ++i, cursor.advance(1)) {
    uint4 chunk{};
    if (lane_id() < kChunks) chunk = __ldg(reinterpret_cast<const uint4*>(launch.stages + i) + lane_id());
    StageView& view = shared.stages[cursor.index()];
    barrier_wait(&shared.stage_empty[cursor.index()], cursor.parity() ^ 1, "loader");
    if (lane_id() < kChunks) reinterpret_cast<uint4*>(&view.stage)[lane_id()] = chunk;
    __syncwarp();
    if (lane_id() == 0) complete_view(view, launch);
    warp_arrive(&shared.stage_full[cursor.index()]);
  }
}

// ---- tiles. One lane. Tiles come in the order in which the consumers take them: stage, pass, column slice, group.
class TileProducer {
 public:
  __device__ __forceinline__ TileProducer(Shared& shared, const LaunchArgs& launch)
      : shared_(shared), launch_(launch), policy_(evict_first_policy()) {}

  __device__ __forceinline__ void run() {
    Cursor<kStageSlots> cursor;
    for (uint32_t i = 0; i < launch_.n_stages; ++i, cursor.advance(1)) {
      barrier_wait(&shared_.stage_full[cursor.index()], cursor.parity(), "tile stage");
      const StageView& view = shared_.stages[cursor.index()];
      if (view.stage.op == Op::product) stream_matrix(view);
      if (view.stage.op == Op::attend) stream_cache(view);
      barrier_arrive(&shared_.stage_empty[cursor.index()]);
    }
  }

 private:
  __device__ __forceinline__ void stream_matrix(const StageView& view) {
    const uint64_t map = view.stage.weights[kMatrix].address;
    const uint32_t tile_bytes = view.stage.product.columns * kTileRows * 2;
    if (view.experts_in_rows()) {
      barrier_wait(&shared_.choice_made, n_choices_++ & 1, "choice of experts");
    }
    for (uint32_t pass = 0; pass < view.n_passes; ++pass) {
      const uint32_t begin = view.pass_begin(pass), end = view.pass_end(pass);
      for (uint32_t slice = 0; slice < view.n_slices; ++slice) {
        for (uint32_t i = begin; i < end; ++i) {
          const Box box = box_of(view, slice, i);
          const Place place = open_tile(tile_bytes);
          copy_box(place.tile, map, box.x, box.y, box.z, place.full, policy_);
        }
      }
    }
  }

  struct Box {
    uint32_t x, y, z;
  };
  // Tile of a column slice and the i-th group of this SM.
  __device__ __forceinline__ Box box_of(const StageView& view, uint32_t slice, uint32_t i) const {
    const uint32_t slice_elements = view.stage.product.columns / kMapColumns;
    const uint32_t row = view.group(i) * (view.gated() ? kTileRows / 2 : kTileRows);
    if (view.experts_in_rows()) {
      const uint32_t part = row / view.stage.experts.hidden;
      return {slice * slice_elements, row - part * view.stage.experts.hidden, 2 * shared_.choice.ids[part]};
    }
    if (view.experts_in_columns()) {
      const uint32_t part = slice / view.part_slices();
      return {(slice - part * view.part_slices()) * slice_elements, row, shared_.choice.ids[part]};
    }
    return {slice * slice_elements, row, 0};
  }

  __device__ __forceinline__ void stream_cache(const StageView& view) {
    const AttendArgs& a = view.stage.attend;
    const Context context(a, shared_.step.position);
    const uint32_t n_tiles = attend_share(view, shared_.step.position).n_tiles;
    uint32_t tile = view.split;
    for (uint32_t i = 0; i < n_tiles; ++i, tile += a.n_splits) {
      if (tile < context.n_packed) {
        stream_packed(view, tile);
      } else if (a.form == CacheForm::bf16) {
        stream_bf16(view, context.granule(tile));
      } else {
        stream_int8(view, context.granule(tile));
      }
    }
  }

  // The first row of a granule's keys.
  __device__ __forceinline__ uint32_t row_of(const StageView& view, uint32_t block, uint32_t granule,
                                             uint32_t head_bytes, uint32_t row_bytes) const {
    const IndexedRef& cache = view.stage.cache;
    return cache.first_row + block * (cache.block_bytes / row_bytes) + view.kv_head * (head_bytes / row_bytes) +
           granule % kBlockGranules * kGranuleTokens;
  }
  __device__ __forceinline__ uint32_t block_of(uint32_t group, uint32_t tile) const {
    return __ldg(launch_.block_tables[group] + tile);
  }

  __device__ __forceinline__ void stream_bf16(const StageView& view, uint32_t granule) {
    const uint32_t block = block_of(view.stage.attend.group, granule / kBlockGranules);
    const uint32_t row = row_of(view, block, granule, kHeadBytes, kRowBytes);
    const Place place = open_tile();
#pragma unroll
    for (uint32_t part = 0; part < 4; ++part)
      copy_box(place.tile + part * kHalfBytes, launch_.cache_map, part % 2 * kHalfColumns,
               row + part / 2 * kBlockTokens, place.full, policy_);
  }

  __device__ __forceinline__ void stream_int8(const StageView& view, uint32_t granule) {
    const IndexedRef& cache = view.stage.cache;
    const uint32_t block = block_of(view.stage.attend.group, granule / kBlockGranules);
    const uint32_t row = row_of(view, block, granule, kInt8HeadBytes, kInt8RowBytes);
    const auto* scales =
        at<const uint8_t>(cache.address + uint64_t(block) * cache.block_bytes + view.kv_head * kInt8HeadBytes +
                          2 * kInt8SideBytes + granule % kBlockGranules * kGranuleScaleBytes);
    const Place place = open_tile(2 * (kInt8GranuleBytes + kGranuleScaleBytes));
#pragma unroll
    for (uint32_t side = 0; side < 2; ++side) {
      copy_box(place.tile + side * kInt8GranuleBytes, launch_.cache_map, 0, row + side * kBlockTokens, place.full,
               policy_);
      copy_bytes(place.tile + 2 * kInt8GranuleBytes + side * kGranuleScaleBytes, scales + side * kSideScaleBytes,
                 kGranuleScaleBytes, place.full, policy_);
    }
  }

  __device__ __forceinline__ void stream_packed(const StageView& view, uint32_t tile) {
    const IndexedRef& packed = view.stage.packed;
    const uint32_t block = block_of(view.stage.attend.packed_group, tile),
                   n_bytes = launch_.codecs[view.stage.attend.codec].head_bytes;
    const Place place = open_tile(n_bytes);
    copy_bytes(place.tile,
               at<const uint8_t>(packed.address + uint64_t(block) * packed.block_bytes + view.kv_head * n_bytes),
               n_bytes, place.full, policy_);
  }

  struct Place {
    uint8_t* tile;
    uint64_t* full;
  };
  __device__ __forceinline__ Place open_tile(uint32_t n_bytes = kTileBytes) {
    const Cursor<kTiles> tile = next_;
    next_.advance(1);
    uint64_t* full = &shared_.tile_full[tile.index()];
    barrier_wait(&shared_.tile_empty[tile.index()], tile.parity() ^ 1, "tile");
    barrier_expect(full, n_bytes);
    return {shared_.tiles[tile.index()], full};
  }

  Shared& shared_;
  const LaunchArgs& launch_;
  const uint64_t policy_;
  Cursor<kTiles> next_;
  uint32_t n_choices_ = 0;
};

}  // namespace arc::tape
