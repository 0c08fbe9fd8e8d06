// What the operations of generic/*.inl (but the products, see pack.h) need besides their operands.
#pragma once

#include <cstdint>

#include "kernels/api/kernel.h"

namespace arc::cpu {

// How the attention kernel cuts its work. Results depend on kSplitTokens and the cache's tile only, and through them on
// positions alone; the others are a matter of speed.
constexpr int64_t kSplitTokens = 512;                 // positions that are summed up on their own, then merged in order
constexpr int64_t kRowTile = 32;                      // query heads of one key head that share a pass over its keys
constexpr int64_t kPartialFloats = int64_t{2} << 20;  // of sums that wait to be merged

constexpr int64_t kMaxTiledDim = 576;  // of heads whose cache is packed in tiles (quant/codebook.h)

// Where one thread's scratch for attention lies, in floats.
struct AttendScratch {
  int64_t k = 0, v = 0;          // dims, padded to whole vectors
  int64_t queries = 0;           // [kRowTile, k], scaled
  int64_t keys = 0, values = 0;  // [tile, k], [tile, v]: widened
  int64_t scores = 0;            // [kRowTile, tile]
  int64_t packed = 0;      // [kRowTile, packed_row]: of tiled caches, queries in bytes (generic/attend_packed.inl)
  int64_t packed_row = 0;  // floats of one
  int64_t key_stride = 0;  // bytes of a packed key whose codes are looked up: whole vectors of 128 coordinates
  int64_t sums = 0, totals = 0;  // [kRowTile, v + 16]: weighted values, behind them mass and largest score
  int64_t size = 0;
};
AttendScratch attend_scratch(const AttendArgs& a);

// Bytes of Operands::scratch for a stage on a team of `threads`. Rotations want their table there instead.
int64_t op_scratch_bytes(const Args& args, int32_t threads);

// One token's row of a rotation's table, [pairs] cosines and then [pairs] sines, times `factor`.
void rope_row(const double* frequencies, int32_t pairs, double factor, int32_t position, float* row);

}  // namespace arc::cpu
