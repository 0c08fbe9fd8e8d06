#include "quant/kv_layout.h"

#include <algorithm>
#include <cmath>

#include "base/dtype.h"
#include "quant/rounding.h"
#include "quant/turbo.h"

namespace arc {
namespace {

using Codec = KvPolicy::Codec;

constexpr int32_t kBlock = 32;  // coordinates that share a scale of int8_block
constexpr float kLargestInt8 = 127.0f;

bool is_tiled(Codec codec) {
  return codec == Codec::turbo || codec == Codec::trellis;
}

int32_t scales_per_row(Codec codec, int32_t dim) {
  if (codec == Codec::int8_block) return (dim + kBlock - 1) / kBlock;
  return is_tiled(codec) ? 1 : 0;
}

int64_t row_bytes(Codec codec, DType raw, int32_t dim) {
  return codec == Codec::raw ? dim * static_cast<int64_t>(dtype_size(raw)) : dim;
}

int64_t data_bytes(KvPolicy::Side side, DType raw, int32_t dim) {
  if (side.codec == Codec::trellis) return trellis_tile_bytes(dim, side.bits);
  return side.codec == Codec::turbo ? turbo_tile_bytes(dim, side.bits) : kTileTokens * row_bytes(side.codec, raw, dim);
}

void store_int8(const float* x, int32_t n, std::byte* out, uint16_t* scale) {
  float largest = 0.0f;
  for (int32_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  *scale = float_to_f16(std::min(largest / kLargestInt8, kMaxF16));
  const float step = f16_to_float(*scale), inverse = step > 0.0f ? 1.0f / step : 0.0f;
  for (int32_t i = 0; i < n; ++i) out[i] = static_cast<std::byte>(quant::nearest(x[i] * inverse, -127, 127));
}

}  // namespace

KvLayout kv_layout(const KvPolicy& policy, int32_t k_dim, int32_t v_dim) {
  constexpr int64_t kScaleBytes = kTileTokens * int64_t{sizeof(uint16_t)};
  KvLayout at{.v_offset = data_bytes(policy.k, policy.raw, k_dim)};
  at.k_scales = at.v_offset + (v_dim > 0 ? data_bytes(policy.v, policy.raw, v_dim) : 0);
  at.v_scales = at.k_scales + kScaleBytes * scales_per_row(policy.k.codec, k_dim);
  at.head_bytes = at.v_scales + kScaleBytes * scales_per_row(policy.v.codec, v_dim);
  return at;
}

KvTile kv_tile(const KvView& kv, int64_t block, int32_t head, int32_t dim, KvRole role) {
  std::byte* base = kv.data + block * kv.block_bytes + head * kv.head_bytes;
  const bool key = role == KvRole::key;
  return {.codec = (key ? kv.policy.k : kv.policy.v).codec,
          .raw = kv.policy.raw,
          .dim = dim,
          .data = base + (key ? 0 : kv.v_offset_bytes),
          .scales = reinterpret_cast<uint16_t*>(base + (key ? kv.k_scales_bytes : kv.v_scales_bytes)),
          .turbo = key ? kv.k_turbo : kv.v_turbo};
}

void store_row(const KvTile& tile, int32_t token, const float* x) {
  std::byte* row = tile.data + token * row_bytes(tile.codec, tile.raw, tile.dim);
  if (tile.codec == Codec::raw) return from_float(tile.raw, x, row, static_cast<size_t>(tile.dim));
  if (tile.codec == Codec::f8e4m3) {
    for (int32_t i = 0; i < tile.dim; ++i) row[i] = static_cast<std::byte>(quant::float_to_f8e4m3(x[i]));
    return;
  }
  uint16_t* scales = tile.scales + int64_t{token} * scales_per_row(tile.codec, tile.dim);
  for (int32_t i = 0; i < tile.dim; i += kBlock) {
    store_int8(x + i, std::min(kBlock, tile.dim - i), row + i, scales + i / kBlock);
  }
}

void load_rows(const KvTile& tile, int32_t begin, int32_t end, float* out, int64_t stride) {
  if (is_tiled(tile.codec)) return tile.turbo->load_tile(tile.data, tile.scales, out, stride);
  const int32_t n_scales = scales_per_row(tile.codec, tile.dim);
  for (int32_t j = begin; j < end; ++j) {
    const std::byte* row = tile.data + j * row_bytes(tile.codec, tile.raw, tile.dim);
    float* y = out + j * stride;
    if (tile.codec != Codec::int8_block) {
      to_float(tile.codec == Codec::raw ? tile.raw : DType::f8e4m3, row, y, static_cast<size_t>(tile.dim));
      continue;
    }
    for (int32_t i = 0; i < tile.dim; i += kBlock) {
      const float scale = f16_to_float(tile.scales[j * n_scales + i / kBlock]);
      for (int32_t d = i; d < std::min(i + kBlock, tile.dim); ++d) {
        y[d] = scale * static_cast<float>(static_cast<int8_t>(row[d]));
      }
    }
  }
}

const TurboTable& turbo_table(const TurboCodec& codec) {
  return codec.table();
}

void rotate(const TurboCodec& codec, float* x) {
  codec.rotate(x);
}

void seal(const KvTile& open, const KvTile& tile, TrellisWalk walk) {
  const auto dim = static_cast<size_t>(tile.dim);
  uint8_t codes[kTileTokens * kMaxTurboDim];
  float y[kMaxTurboDim];
  for (int32_t t = 0; t < kTileTokens; ++t) {
    load_rows(open, t, t + 1, y, 0);
    tile.turbo->encode(y, codes + t * dim, tile.scales + norm_place(t), walk);
  }
  tile.turbo->pack_tile(codes, tile.data);
}

}  // namespace arc
