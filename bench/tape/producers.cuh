// The roles that run ahead: one warp loads stage records, one streams weight tiles and cache granules
// through the ring.
// They never wait for an activation, so the stream crosses every dependency point.
#pragma once

#include "block.cuh"

namespace arc::tape {

// Waits for a barrier; false if the loop has been told to stop instead.
__device__ __forceinline__ bool wait_unless_stopped(Shared& shared, uint64_t* barrier, uint32_t parity,
                                                    const char* where) {
  if (barrier_done(barrier, parity)) return true;
  const Watchdog watchdog(where);
  while (!barrier_done(barrier, parity)) {
    if (shared.stop) return false;
    watchdog.check(parity);
  }
  return true;
}

// ---- loader
__device__ __forceinline__ void complete_view(StageView& view, const LaunchArgs& launch, uint32_t index) {
  const TapeStage& stage = view.stage;
  const uint32_t sm = blockIdx.x;
  view.index = index;
  if (stage.op == Op::attend) {
    view.kv_head = sm % stage.attend.n_kv_heads;
    view.split = sm / stage.attend.n_kv_heads;
  } else if (stage.op != Op::argmax) {
    const DealShare share = launch.deals[stage.product.deal * gridDim.x + sm];
    view.n_groups = share.n_rounds + share.n_tail;
    view.n_rounds = share.n_rounds;
    view.first_tail = share.first_tail;
  }
  if (stage.op == Op::product) {
    view.n_slices = (stage.product.n_in + kTileColumns - 1) / kTileColumns;
    view.n_passes = (view.n_groups + stage.product.pass_groups - 1) / stage.product.pass_groups;
    view.holds_vector = view.n_passes > 1 && view.n_slices <= kSlots;
  }
}

// Meanwhile the loader does what takes long and is waited for by nobody soon: it makes appended rows visible to the
// copy engine. The consumers' count comes after their writes, the producers' count after the fence.
__device__ __forceinline__ bool wait_for_room(Shared& shared, uint64_t* empty, uint32_t parity) {
  const Watchdog watchdog("loader");
  while (true) {
    const uint32_t attended = shared.attended;
    if (attended != shared.appended) {
      __threadfence_block();
      fence_copies();
      __syncwarp();
      if (lane_id() == 0) shared.appended = attended;
      __syncwarp();
    }
    if (__all_sync(kAllLanes, barrier_done(empty, parity))) return true;
    if (__any_sync(kAllLanes, shared.stop)) return false;
    watchdog.check(parity);
  }
}

__device__ __forceinline__ void load_stages(Shared& shared, const LaunchArgs& launch) {
  constexpr uint32_t kChunks = sizeof(TapeStage) / 16;
  static_assert(kChunks <= 32);
  Cursor<kStageSlots> cursor;
  for (uint32_t k = 0; k < launch.n_steps; ++k) {
    for (uint32_t i = 0; i < launch.n_stages; ++i, cursor.advance(1)) {
      uint4 chunk{};
      if (lane_id() < kChunks) chunk = __ldg(reinterpret_cast<const uint4*>(launch.stages + i) + lane_id());
      StageView& view = shared.stages[cursor.index()];
      if (!wait_for_room(shared, &shared.stage_empty[cursor.index()], cursor.parity() ^ 1)) return;
      if (lane_id() < kChunks) reinterpret_cast<uint4*>(&view.stage)[lane_id()] = chunk;
      __syncwarp();
      if (lane_id() == 0) complete_view(view, launch, i);
      warp_arrive(&shared.stage_full[cursor.index()]);
    }
  }
}

// ---- tiles. One lane. Tiles come in the order in which the consumers take them: stage, pass, column slice, group;
// tile t of the stream belongs to producer t mod kWeightWarps.
template <bool kProbe>
class TileProducer {
 public:
  __device__ __forceinline__ TileProducer(Shared& shared, const LaunchArgs& launch, uint32_t which)
      : shared_(shared), launch_(launch), which_(which), policy_(evict_first_policy()) {}

  __device__ __forceinline__ void run() {
    if (!stream_all()) drain();
  }

 private:
  // This and the functions below return false if the loop has been told to stop.
  __device__ __forceinline__ bool stream_all() {
    Cursor<kStageSlots> cursor;
    for (uint32_t k = 0; k < launch_.n_steps; ++k) {
      for (uint32_t i = 0; i < launch_.n_stages; ++i, cursor.advance(1)) {
        if (!wait_unless_stopped(shared_, &shared_.stage_full[cursor.index()], cursor.parity(), "tile stage"))
          return false;
        const StageView& view = shared_.stages[cursor.index()];
        if (view.stage.op == Op::product && !stream_matrix(view)) return false;
        if (view.stage.op == Op::attend && !stream_cache(view, k)) return false;
        barrier_arrive(&shared_.stage_empty[cursor.index()]);
      }
    }
    return true;
  }

  __device__ __forceinline__ bool stream_matrix(const StageView& view) {
    const uint64_t matrix = view.stage.weights[kMatrix].address;
    for (uint32_t pass = 0; pass < view.n_passes; ++pass) {
      const uint32_t begin = view.pass_begin(pass), end = view.pass_end(pass);
      for (uint32_t slice = 0; slice < view.n_slices; ++slice) {
        const uint64_t offset = uint64_t(slice) * view.stage.product.n_groups * kTileBytes;
        const uint32_t n_bytes = view.slice_columns(slice) * kTileRows * 2;
        for (uint32_t i = begin; i < end; ++i) {
          uint64_t from = offset + uint64_t(view.group(i)) * n_bytes;
          if (kProbe) from &= launch_.probe.weight_mask;
          if (!issue(matrix + from, n_bytes)) return false;
        }
      }
    }
    return true;
  }

  // A granule may hold tokens that this SM appended one step ago; wait until they can be copied.
  __device__ __forceinline__ bool stream_cache(const StageView& view, uint32_t k) {
    ++n_attends_;
    const Watchdog watchdog("append");
    while (int32_t(shared_.appended + launch_.n_attends - n_attends_) < 0) {
      if (shared_.stop) return false;
      watchdog.check(n_attends_, shared_.appended);
    }
    const IndexedRef& cache = view.stage.cache;
    const uint32_t n_splits = view.stage.attend.n_splits;
    const uint32_t per_block = view.stage.attend.block_tokens / kGranuleTokens;
    const uint32_t n_tiles = attend_share(view, shared_.start.position + k).n_tiles;
    uint32_t granule = view.split;
    for (uint32_t i = 0; i < n_tiles; ++i, granule += n_splits) {
      const uint32_t block = __ldg(at<const uint32_t>(cache.table) + granule / per_block);
      const uint64_t from = cache.address + uint64_t(block) * cache.block_bytes +
                            uint64_t(view.kv_head) * cache.head_bytes + uint64_t(granule % per_block) * kTileBytes;
      if (!issue(from, kTileBytes)) return false;
    }
    return true;
  }

  __device__ __forceinline__ bool issue(uint64_t from, uint32_t n_bytes) {
    const Cursor<kTiles> tile = next_;
    next_.advance(1);
    if (tile.at % kWeightWarps != which_) return true;
    uint64_t* full = &shared_.tile_full[tile.index()];
    if (!wait_unless_stopped(shared_, &shared_.tile_empty[tile.index()], tile.parity() ^ 1, "tile")) return false;
    barrier_expect(full, n_bytes);
    bulk_copy(shared_.tiles[tile.index()], from, n_bytes, full, policy_);
    last_ = tile;
    ++n_issued_;
    return true;
  }

  // Copies in flight must land before the block ends.
  __device__ __forceinline__ void drain() {
    const uint32_t n = min(n_issued_, kTiles / kWeightWarps);
    for (uint32_t i = 0; i < n; ++i) {
      const Cursor<kTiles> tile = last_.plus(2 * kTiles - i * kWeightWarps);
      barrier_wait(&shared_.tile_full[tile.index()], tile.parity(), "drain");
    }
  }

  Shared& shared_;
  const LaunchArgs& launch_;
  const uint32_t which_;
  const uint64_t policy_;
  Cursor<kTiles> next_, last_;
  uint32_t n_issued_ = 0, n_attends_ = 0;
};

}  // namespace arc::tape
