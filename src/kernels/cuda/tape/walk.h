// The persistent kernel that walks a tape, as its callers see it. Host code may include this header.
#pragma once

#include <cstdint>

#include "kernels/cuda/tape/tape.h"

namespace arc::tape {

// All pointers are device memory.
struct LaunchArgs {
  const TapeStage* stages = nullptr;  // [n_stages], at least kMinStages
  const DealShare* deals = nullptr;   // [deal][n_sms]
  uint32_t n_stages = 0;
  uint32_t* step = nullptr;        // steps since the buffers were cleared; makes the tags, one more after each launch
  const int32_t* token = nullptr;  // of the step
  const int32_t* position = nullptr;
  const int32_t* block_table = nullptr;
  uint64_t cache_map = 0;  // the tensor map of all layers' keys and values
};

// One step on `stream`, over n_sms blocks that are all resident. Can be captured. Returns a cudaError_t.
int walk(const LaunchArgs& args, uint32_t n_sms, void* stream) noexcept;

// So that nothing has to be loaded while a graph is captured. Returns a cudaError_t.
int load_walk() noexcept;

// ---- tensor maps: kMapBytes each, to be copied to device memory, aligned to 64

// Of `count` bf16 matrices [parts * rows, n_in], row by row, whose tiles have kTileRows / parts rows of each part.
// Returns false when the driver makes none.
bool matrix_map(void* map, uint64_t data, uint32_t count, uint32_t parts, uint32_t rows, uint32_t n_in) noexcept;
// Of n_rows rows of the cache.
bool cache_map(void* map, uint64_t data, uint64_t n_rows) noexcept;

}  // namespace arc::tape
