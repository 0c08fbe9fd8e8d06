// The persistent kernel that walks a tape, as its callers see it. Host code may include this header.
#pragma once

#include <cstdint>

#include "kernels/cuda/tape/tape.h"
#include "quant/kv_layout.h"

namespace arc::tape {

// How the keys or the values of packed tiles are coded: see TurboTable and TurboCodec.
struct CacheSide {
  int32_t bits = 0;
  float step = 1.0f, offset = 0.0f;
  uint32_t data_bytes = 0, scales_bytes = 0;  // behind the start of a head's part of a block
  uint64_t entries[2] = {};
  float levels[16] = {}, borders[16] = {};
};
struct CacheCodec {
  uint32_t head_bytes = 0;
  CacheSide sides[2];  // keys, values
};

// The turn of what packed caches hold, one of all layers (quant/rotation.h).
struct CacheTurn {
  uint32_t negative[kHeadDim / 32] = {};  // signs, a bit for each coordinate
  float factor = 0;
};

// All pointers are device memory.
struct LaunchArgs {
  const TapeStage* stages = nullptr;  // [n_stages], at least kMinStages
  const DealShare* deals = nullptr;   // [deal][n_sms]
  uint32_t n_stages = 0;
  uint32_t* step = nullptr;        // steps since the buffers were cleared; makes the tags, one more after each launch
  const int32_t* token = nullptr;  // of the step
  const int32_t* position = nullptr;
  const int32_t* block_tables[kMaxCacheGroups] = {};
  uint64_t cache_map = 0;  // the tensor map of all layers' rows of keys and values
  CacheTurn turn;
  CacheCodec codecs[kMaxCodecs];
};

CacheCodec cache_codec(const KvView& packed) noexcept;
CacheTurn cache_turn(const TurboCodec& codec) noexcept;

// One step on `stream`, over n_sms blocks that are all resident. Can be captured. Returns a cudaError_t.
int walk(const LaunchArgs& args, uint32_t n_sms, void* stream) noexcept;

// So that nothing has to be loaded while a graph is captured. Returns a cudaError_t.
int load_walk() noexcept;

// ---- tensor maps: kMapBytes each, to be copied to device memory, aligned to 64

// Of `count` bf16 matrices [parts * rows, n_in], row by row, whose tiles have kTileRows / parts rows of each part and
// `columns` columns. Returns false when the driver makes none.
bool matrix_map(void* map, uint64_t data, uint32_t count, uint32_t parts, uint32_t rows, uint32_t n_in,
                uint32_t columns) noexcept;
// Of the rows of all layers' caches, of bf16 or int8; the scales of int8 count as rows.
bool cache_map(void* map, uint64_t data, uint64_t n_bytes, CacheForm form) noexcept;

}  // namespace arc::tape
