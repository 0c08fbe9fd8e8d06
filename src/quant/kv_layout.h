// Where keys and values lie in a cache block, and how rows get there and back, for every policy.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/kv_policy.h"
#include "quant/trellis.h"

namespace arc {

class TurboCodec;

// One head's part of a block: offsets in bytes of values, scales of keys and scales of values behind the keys. A scale
// is an f16: one for each 32 coordinates of a row (int8_block), or one per row in the order of norm_place() (tiled).
struct KvLayout {
  int64_t v_offset = 0, k_scales = 0, v_scales = 0, head_bytes = 0;
};
// `v_dim` 0: no values.
KvLayout kv_layout(const KvPolicy& policy, int32_t k_dim, int32_t v_dim);

// What a kernel sees of one layer's keys and values. Block b, head h: k at data + b * block_bytes + h * head_bytes,
// v_offset_bytes behind it v; raw rows are [tokens_per_block, dim] of `policy.raw`.
struct KvView {
  KvPolicy policy;
  std::byte* data = nullptr;
  int64_t block_bytes = 0, head_bytes = 0, v_offset_bytes = 0;
  int32_t tokens_per_block = 0;
  int64_t k_scales_bytes = 0, v_scales_bytes = 0;           // offsets, where a side has scales
  const TurboCodec *k_turbo = nullptr, *v_turbo = nullptr;  // of tiled policies; host memory
};

// The keys or the values of one head in one block: kTileTokens rows of `dim`.
struct KvTile {
  KvPolicy::Codec codec = KvPolicy::Codec::raw;
  DType raw = DType::f32;
  int32_t dim = 0;
  std::byte* data = nullptr;
  uint16_t* scales = nullptr;
  const TurboCodec* turbo = nullptr;
};
KvTile kv_tile(const KvView& kv, int64_t block, int32_t head, int32_t dim, KvRole role);

// What integer kernels look codes up in: a coordinate is (entry - offset) * step * norm. Keys' entries have 128 added,
// so that they are unsigned; a key's 4-bit code is held as magnitude and sign in bit 3.
struct TurboTable {
  int32_t bits = 0;
  float step = 1.0f, offset = 0.0f;
  uint8_t entries[16] = {};          // by the code as it is held; of values int8; with 8 bits codes are what is wanted
  const uint8_t* windows = nullptr;  // of a trellis: entries [kWindows] by window
  const float* signs = nullptr;      // [dim], of the rotation
};
const TurboTable& turbo_table(const TurboCodec& codec);

// Writes row `token` of a tile that is not of a tiled policy.
void store_row(const KvTile& tile, int32_t token, const float* x);

// Rows [begin, end) as floats, row j at out + j * stride; a tiled policy's stay rotated, and all kTileTokens come.
void load_rows(const KvTile& tile, int32_t begin, int32_t end, float* out, int64_t stride);

// x [dim] into the space of the codec's keys or values, or back.
void rotate(const TurboCodec& codec, float* x);

// Packs `tile` from the rows of `open`, which are rotated.
void seal(const KvTile& open, const KvTile& tile, TrellisWalk walk = walk_trellis);

}  // namespace arc
