// How one layer's keys and values are stored, as a value. Set per layer, fixed for a loaded model.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace arc {

// Tokens of a cache block. A tile is packed when its last token is written, and never changes again.
constexpr int32_t kTileTokens = 64;

// Groups of layers with equal needs and policy that a model may have.
inline constexpr int kMaxCacheGroups = 8;

enum class KvRole : uint8_t { key, value };

struct KvPolicy {
  // f8e4m3 has no scale and saturates at 448; int8_block has an f16 scale for each 32 coordinates; turbo is
  // quant/turbo.h, with 1 to 4 or 8 bits a coordinate; trellis is the same with the code of quant/trellis.h, 2 to 4
  // bits. Both sides are of the last two, or none is.
  enum class Codec : uint8_t { raw, f8e4m3, int8_block, turbo, trellis };
  struct Side {
    Codec codec = Codec::raw;
    uint8_t bits = 16;
    bool operator==(const Side&) const = default;
  };
  Side k, v;
  DType raw = DType::f32;  // of raw sides, and of the tile that is not yet full of tiled ones
  uint16_t tile_tokens = kTileTokens;
  uint32_t seed = 0;  // of the rotation
  // Of tiled policies: so many full tiles before its own a query reads as it reads its own, open; and whether open
  // tiles are int8_block instead of raw.
  uint16_t recent = 0;
  bool open_int8 = false;
  bool operator==(const KvPolicy&) const = default;

  bool is_raw() const { return k.codec == Codec::raw && v.codec == Codec::raw; }
  // Whether keys and values are packed a tile at a time. They are then rotated, and raw until their tile is full.
  bool tiled() const { return k.codec == Codec::turbo || k.codec == Codec::trellis; }
  bool trellis() const { return k.codec == Codec::trellis || v.codec == Codec::trellis; }

  // Of the tiles that are not packed, or not yet read so.
  KvPolicy open_policy() const {
    const Side int8{.codec = Codec::int8_block, .bits = 8};
    return open_int8 ? KvPolicy{.k = int8, .v = int8, .raw = raw} : raw_of(raw);
  }

  static KvPolicy raw_of(DType dtype) {
    const Side side{.codec = Codec::raw, .bits = static_cast<uint8_t>(8 * dtype_size(dtype))};
    return {.k = side, .v = side, .raw = dtype};
  }
};

}  // namespace arc
