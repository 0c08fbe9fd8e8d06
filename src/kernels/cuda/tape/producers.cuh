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
                                            : (stage.product.n_in + kTileColumns - 1) / kTileColumns;
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
  static constexpr uint32_t kSliceElements = kTileColumns / kMapColumns;

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
    if (view.experts_in_rows()) {
      barrier_wait(&shared_.choice_made, n_choices_++ & 1, "choice of experts");
    }
    for (uint32_t pass = 0; pass < view.n_passes; ++pass) {
      const uint32_t begin = view.pass_begin(pass), end = view.pass_end(pass);
      for (uint32_t slice = 0; slice < view.n_slices; ++slice) {
        for (uint32_t i = begin; i < end; ++i) {
          const Box box = box_of(view, slice, i);
          const Place place = open_tile();
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
    const uint32_t row = view.group(i) * (view.gated() ? kTileRows / 2 : kTileRows);
    if (view.experts_in_rows()) {
      const uint32_t part = row / view.stage.experts.hidden;
      return {slice * kSliceElements, row - part * view.stage.experts.hidden, 2 * shared_.choice.ids[part]};
    }
    if (view.experts_in_columns()) {
      const uint32_t part = slice / view.part_slices();
      return {(slice - part * view.part_slices()) * kSliceElements, row, shared_.choice.ids[part]};
    }
    return {slice * kSliceElements, row, 0};
  }

  __device__ __forceinline__ void stream_cache(const StageView& view) {
    const IndexedRef& cache = view.stage.cache;
    const uint32_t n_splits = view.stage.attend.n_splits, block_rows = cache.block_bytes / kRowBytes;
    const uint32_t n_tiles = attend_share(view, shared_.step.position).n_tiles;
    const uint32_t head_row = cache.first_row + view.kv_head * (kHeadBytes / kRowBytes);
    uint32_t granule = view.split;
    for (uint32_t i = 0; i < n_tiles; ++i, granule += n_splits) {
      const uint32_t block = __ldg(launch_.block_table + granule / kBlockGranules);
      const uint32_t row = head_row + block * block_rows + granule % kBlockGranules * kGranuleTokens;
      const Place place = open_tile();
#pragma unroll
      for (uint32_t part = 0; part < 4; ++part)
        copy_box(place.tile + part * kHalfBytes, launch_.cache_map, part % 2 * kHalfColumns,
                 row + part / 2 * kBlockTokens, place.full, policy_);
    }
  }

  struct Place {
    uint8_t* tile;
    uint64_t* full;
  };
  __device__ __forceinline__ Place open_tile() {
    const Cursor<kTiles> tile = next_;
    next_.advance(1);
    uint64_t* full = &shared_.tile_full[tile.index()];
    barrier_wait(&shared_.tile_empty[tile.index()], tile.parity() ^ 1, "tile");
    barrier_expect(full, kTileBytes);
    return {shared_.tiles[tile.index()], full};
  }

  Shared& shared_;
  const LaunchArgs& launch_;
  const uint64_t policy_;
  Cursor<kTiles> next_;
  uint32_t n_choices_ = 0;
};

}  // namespace arc::tape
