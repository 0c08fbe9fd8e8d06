// What one SM holds: the rings in shared memory, who owns which warp, and how a role walks the tape. Roles meet only at
// mbarriers; nothing in a step is a barrier over all SMs.
#pragma once

#include "kernels/cuda/tape/device.cuh"
#include "kernels/cuda/tape/tape.h"
#include "kernels/cuda/tape/walk.h"

namespace arc::tape {

// Consumer warp w owns tile w of the ring: with parity waits a warp must see every use of the tiles that it waits for.
constexpr uint32_t kConsumerWarps = 12, kGatherWarps = 4;
constexpr uint32_t kProducerWarp = kConsumerWarps, kFirstGatherWarp = kProducerWarp + 1;
constexpr uint32_t kEpilogueWarp = kFirstGatherWarp + kGatherWarps, kLoaderWarp = kEpilogueWarp + 1;
constexpr uint32_t kSealWarp = kLoaderWarp + 1;
constexpr uint32_t kThreads = 32 * (kSealWarp + 1);  // 20 warps: the most that get 96 registers
constexpr uint32_t kTapeReaders = kLoaderWarp;       // every warp before the loader

constexpr uint32_t kTiles = kConsumerWarps, kSlots = 8, kRegions = 4, kStageSlots = kMinStages;
constexpr uint32_t kSlotBytes = kTileColumns * 2 + 64;  // a slice of a vector, or the queries of a kv head

// A stage as this SM sees it: the record and what follows from it and the SM's number.
struct StageView {
  TapeStage stage;
  uint32_t n_groups;    // row groups of this SM
  uint32_t n_rounds;    // of them dealt in rounds
  uint32_t first_tail;  // the rest are consecutive from here
  uint32_t n_slices;    // column slices
  uint32_t n_passes;
  uint32_t holds_vector;    // the vector fits in the slots: fetched once, kept for all passes
  uint32_t kv_head, split;  // of attend; split >= n_splits: no part in it

  __device__ __forceinline__ uint32_t group(uint32_t i) const {
    return i < n_rounds ? i * gridDim.x + blockIdx.x : first_tail + (i - n_rounds);
  }
  __device__ __forceinline__ uint32_t pass_begin(uint32_t pass) const { return pass * stage.product.pass_groups; }
  __device__ __forceinline__ uint32_t pass_end(uint32_t pass) const {
    return min(pass_begin(pass) + stage.product.pass_groups, n_groups);
  }

  // Experts stand in rows or in columns. Slices and groups do not cross from one to the next.
  __device__ __forceinline__ bool gated() const { return stage.product.epilogue == Epilogue::silu_mul; }
  __device__ __forceinline__ bool experts_in_rows() const { return stage.experts.top_k > 0 && gated(); }
  __device__ __forceinline__ bool experts_in_columns() const { return stage.experts.top_k > 0 && !gated(); }
  __device__ __forceinline__ uint32_t part_slices() const {
    return experts_in_columns() ? (stage.experts.hidden + stage.product.columns - 1) / stage.product.columns : n_slices;
  }
  __device__ __forceinline__ uint32_t part_columns() const {
    return experts_in_columns() ? stage.experts.hidden : stage.product.n_in;
  }
  __device__ __forceinline__ uint32_t slice_begin(uint32_t slice) const {
    if (!experts_in_columns()) return slice * stage.product.columns;
    return slice / part_slices() * part_columns() + slice % part_slices() * stage.product.columns;
  }
  __device__ __forceinline__ uint32_t slice_columns(uint32_t slice) const {
    if (experts_in_columns()) slice %= part_slices();
    return min(stage.product.columns, part_columns() - slice * stage.product.columns);
  }
};

// What the step is about.
struct Step {
  uint32_t number = 0;  // makes the tags
  int32_t token = 0;
  uint32_t position = 0;
};

// The experts of a layer, the best first.
struct Choice {
  uint32_t ids[kMaxChosen];
  float weights[kMaxChosen];
};

struct Shared {
  alignas(1024) uint8_t tiles[kTiles][kTileBytes];
  alignas(16) uint8_t slots[kSlots][kSlotBytes];
  alignas(16) float sums[kRegions][kRegionFloats];  // [column slice][row of the pass]
  alignas(16) StageView stages[kStageSlots];
  uint64_t tile_full[kTiles], tile_empty[kTiles];
  uint64_t slot_full[kSlots], slot_empty[kSlots];
  uint64_t region_full[kRegions], region_empty[kRegions];
  uint64_t stage_full[kStageSlots], stage_empty[kStageSlots];
  uint64_t choice_made;
  Choice choice;
  Step step;
  uint32_t n_appended;  // attend stages whose new row is in the cache: for the warp that packs full tiles
};
static_assert(sizeof(Shared) <= 227 * 1024);

// Place in a ring of N, with the parity of the current lap.
template <uint32_t N>
struct Cursor {
  uint32_t at = 0;  // in [0, 2N)

  __device__ __forceinline__ uint32_t index() const { return at < N ? at : at - N; }
  __device__ __forceinline__ uint32_t parity() const { return at < N ? 0 : 1; }
  __device__ __forceinline__ Cursor plus(uint32_t n) const { return {(at + n) % (2 * N)}; }
  __device__ __forceinline__ void advance(uint32_t n) { at = (at + n) % (2 * N); }
};

__device__ __forceinline__ uint32_t lane_id() {
  return threadIdx.x & 31;
}

__device__ __forceinline__ uint32_t tag_at(const BufferRef& ref, const Step& step) {
  return step.number * ref.per_step + ref.version;
}

// What a kv head's attention reads, in tiles of the ring: first packed tiles, then granules of rows.
struct Context {
  uint32_t n_packed = 0, n_tiles = 0;

  __device__ __forceinline__ Context(const AttendArgs& a, uint32_t position) {
    const uint32_t own = position / kBlockTokens;
    if (a.form == CacheForm::packed && own > a.n_recent) n_packed = own - a.n_recent;
    n_tiles = n_packed + position / kGranuleTokens + 1 - n_packed * kBlockGranules;
  }
  // The granule that tile `tile` is, counted from position 0.
  __device__ __forceinline__ uint32_t granule(uint32_t tile) const {
    return n_packed * kBlockGranules + (tile - n_packed);
  }
};

// Polls one word: who waits for many watches one of them first, since polls of all would hold up who writes them.
__device__ __forceinline__ void await_word(const uint64_t* from, uint32_t tag, const char* where) {
  const Watchdog watchdog(where);
  while (tag_of(load_word(from)) != tag) watchdog.check(tag);
}

// This SM's part in one attend stage: tiles split, split + n_splits, ... of its kv head.
struct AttendShare {
  uint32_t n_tiles = 0;
  bool owns_newest = false;  // its last tile holds the token of this step
};
__device__ __forceinline__ AttendShare attend_share(const AttendArgs& a, uint32_t split, uint32_t position) {
  const uint32_t newest = Context(a, position).n_tiles - 1;
  if (split >= a.n_splits || split > newest) return {};
  const uint32_t n_tiles = (newest - split) / a.n_splits + 1;
  return {n_tiles, split + (n_tiles - 1) * a.n_splits == newest};
}
__device__ __forceinline__ AttendShare attend_share(const StageView& view, uint32_t position) {
  return attend_share(view.stage.attend, view.split, position);
}

// A warp arrives once, after all its lanes are done.
__device__ __forceinline__ void warp_arrive(uint64_t* barrier) {
  __syncwarp();
  if (lane_id() == 0) barrier_arrive(barrier);
}

// Calls visit(view) for every stage.
template <class Visit>
__device__ __forceinline__ void visit_stages(Shared& shared, const LaunchArgs& launch, Visit&& visit) {
  Cursor<kStageSlots> cursor;
  for (uint32_t i = 0; i < launch.n_stages; ++i, cursor.advance(1)) {
    barrier_wait(&shared.stage_full[cursor.index()], cursor.parity(), "stage");
    visit(shared.stages[cursor.index()]);
    warp_arrive(&shared.stage_empty[cursor.index()]);
  }
}

}  // namespace arc::tape
