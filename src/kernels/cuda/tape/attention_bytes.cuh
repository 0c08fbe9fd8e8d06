// Attention of one kv head over packed tiles and granules of int8 (kernels/cuda/attention_bytes.cuh says how). A
// consumer warp takes whole tiles of the ring; the warps' results meet as those of bf16 do.
#pragma once

#include "kernels/cuda/attention_bytes.cuh"
#include "kernels/cuda/tape/attention.cuh"

namespace arc::tape {

namespace bytes {

using cuda::KvSide;
using cuda::attention::Blend, cuda::attention::blend, cuda::attention::blended;
using cuda::attention::byte_dots, cuda::attention::byte_place, cuda::attention::code_dots;
using cuda::attention::ByteQueries, cuda::attention::ByteSums, cuda::attention::Form, cuda::attention::Window;
using cuda::attention::coordinate_of_tile, cuda::attention::kQuerySteps, cuda::attention::kTile;
using cuda::attention::Factors, cuda::attention::load_norms, cuda::attention::Positions;
using cuda::attention::tile_sums, cuda::attention::to_weights, cuda::attention::weight_bytes;
using Queries = ByteQueries<kHeadDim>;
using Sums = ByteSums<kHeadDim / 8>;
static_assert(sizeof(Queries) <= kSlotBytes && kTile == kBlockTokens);

// What a slot holds of the new token: rows of int8 of key and value, then the scales of both.
struct NewToken {
  uint8_t rows[2][kInt8RowBytes];
  uint8_t scales[2][kRowScaleBytes];
};

__device__ __forceinline__ KvSide side_of(const CacheSide& s, KvRole role) {
  return {.role = role,
          .codec = KvPolicy::Codec::turbo,
          .dim = kHeadDim,
          .bits = s.bits,
          .data_bytes = s.data_bytes,
          .scales_bytes = s.scales_bytes,
          .step = s.step,
          .offset = s.offset,
          .entries = {s.entries[0], s.entries[1]}};
}
// Of a granule, whose tokens lie where the first of a tile's would; what follows them there is never used.
__device__ __forceinline__ KvSide granule_side(KvRole role) {
  const uint32_t side = role == KvRole::key ? 0 : 1;
  return {.role = role,
          .codec = KvPolicy::Codec::int8_block,
          .dim = kHeadDim,
          .data_bytes = side * kInt8GranuleBytes,
          .scales_bytes = 2 * kInt8GranuleBytes + side * kGranuleScaleBytes};
}

// Factors of a granule's values (see weight_bytes()).
struct GranuleScales {
  const __half* scales;
  int lane;

  __device__ __forceinline__ float at(int i, int set) const {
    constexpr int kMine = kGranuleTokens / 4;
    return i < kMine ? __half2float(scales[(i / 2 * 8 + lane % 4 * 2 + i % 2) * (kHeadDim / 32) + set]) : 0.0f;
  }
};

// Scores in units of log 2, -infinity where there is no token.
template <Form kForm>
__device__ __forceinline__ void score(Positions (&x)[1], const KvSide& k, const Queries& q, const std::byte* tile,
                                      float scale_log2, const Window& window, int lane) {
  const std::byte *data = tile + k.data_bytes, *scales = tile + k.scales_bytes;
  float unit = q.scale[lane / 4] * scale_log2;
  if constexpr (kForm == Form::codes) {
    unit *= k.step * 0.5f;
    switch (k.bits) {
      case 1:
        code_dots<kHeadDim, 1>(x, &q, k, data, lane);
        break;
      case 2:
        code_dots<kHeadDim, 2>(x, &q, k, data, lane);
        break;
      case 3:
        code_dots<kHeadDim, 3>(x, &q, k, data, lane);
        break;
      default:
        code_dots<kHeadDim, 4>(x, &q, k, data, lane);
    }
  } else {
    if (kForm == Form::rows) unit *= k.step;
    byte_dots<kHeadDim, kForm>(x, &q, data, scales, lane);
  }
  if constexpr (kForm == Form::blocks) {
#pragma unroll
    for (float& score : x[0]) score *= unit;
  } else {
    Positions norms;
    load_norms(norms, scales, lane);
#pragma unroll
    for (int i = 0; i < kTile / 4; ++i) x[0][i] *= norms[i] * unit;
  }
  if (window.whole()) return;
#pragma unroll
  for (int i = 0; i < kTile / 4; ++i) x[0][i] = window.sees(i, lane) ? x[0][i] : -INFINITY;
}

// Adds the values of 32 coordinates, weighted.
template <Form kForm, int kBits>
__device__ __forceinline__ void add_columns(Sums& sums, const Blend& b, float unit, const uint4 (&weights)[kTile / 32],
                                            const KvSide& v, const std::byte* tile, int first, int lane) {
  constexpr int kColumnTiles = 4;
  int products[1][kColumnTiles][4] = {};
  const auto operand = [&](int step, int) { return weights[step]; };
  tile_sums<kHeadDim, kForm, kBits>(products, v, tile, first, operand, lane);
  sums.add(b, unit, products[0], first);
}
template <Form kForm, int kBits>
__device__ __forceinline__ void add_all_columns(Sums& sums, const Blend& b, float unit,
                                                const uint4 (&weights)[kTile / 32], const KvSide& v,
                                                const std::byte* tile, int lane) {
#pragma unroll
  for (int first = 0; first < kHeadDim / 8; first += 4)
    add_columns<kForm, kBits>(sums, b, unit, weights, v, tile, first, lane);
}

// Adds a tile; `x`: its scores.
__device__ __forceinline__ void add_packed(Sums& sums, Positions& x, const KvSide& v, const std::byte* tile, int lane) {
  constexpr Window kWhole{0, kTile - 1};
  float top, mass;
  to_weights(x, top, mass);
  const Blend b = sums.raise(top, mass);
  uint4 weights[kTile / 32];
  const Factors<kHeadDim, Form::codes> factors(v, tile, lane);
  const float unit = weight_bytes(weights, x, factors, 0, kWhole, lane) * v.step;
  switch (v.bits) {
    case 1:
      return add_all_columns<Form::codes, 1>(sums, b, unit, weights, v, tile, lane);
    case 2:
      return add_all_columns<Form::codes, 2>(sums, b, unit, weights, v, tile, lane);
    case 3:
      return add_all_columns<Form::codes, 3>(sums, b, unit, weights, v, tile, lane);
    case 4:
      return add_all_columns<Form::codes, 4>(sums, b, unit, weights, v, tile, lane);
    default:
      return add_all_columns<Form::rows, 0>(sums, b, unit, weights, v, tile, lane);
  }
}

__device__ __forceinline__ void add_packed(Sums& sums, const CacheCodec& codec, const Queries& q, const std::byte* tile,
                                           float scale_log2, int lane) {
  constexpr Window kWhole{0, kTile - 1};
  const KvSide k = side_of(codec.sides[0], KvRole::key);
  Positions x[1];
  if (k.bits == kUniformBits) {
    score<Form::rows>(x, k, q, tile, scale_log2, kWhole, lane);
  } else {
    score<Form::codes>(x, k, q, tile, scale_log2, kWhole, lane);
  }
  add_packed(sums, x[0], side_of(codec.sides[1], KvRole::value), tile, lane);
}

// Of a granule the first n tokens count.
__device__ __forceinline__ void add_int8(Sums& sums, const Queries& q, const std::byte* tile, float scale_log2, int n,
                                         int lane) {
  const Window window{0, n - 1};
  Positions x[1];
  score<Form::blocks>(x, granule_side(KvRole::key), q, tile, scale_log2, window, lane);
  float top, mass;
  to_weights(x[0], top, mass);
  const Blend b = sums.raise(top, mass);
  const KvSide v = granule_side(KvRole::value);
  const GranuleScales scales{reinterpret_cast<const __half*>(tile + v.scales_bytes), lane};
#pragma unroll
  for (int set = 0; set < static_cast<int>(kHeadDim) / 32; ++set) {
    uint4 weights[kTile / 32];
    const float unit = weight_bytes(weights, x[0], scales, set, window, lane);
    add_columns<Form::blocks, 0>(sums, b, unit, weights, v, tile, 4 * set, lane);
  }
}

// Calls visit(coordinate, value) for what a lane has summed. `codes`: of values that are codes.
template <class Visit>
__device__ __forceinline__ void for_columns(Sums& sums, bool codes, int lane, Visit&& visit) {
#pragma unroll
  for (int n = 0; n < static_cast<int>(kHeadDim) / 8; ++n) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int column =
          codes ? coordinate_of_tile<Form::codes>(n, lane % 4, e) : coordinate_of_tile<Form::rows>(n, lane % 4, e);
      visit(column, sums.values[n][e]);
    }
  }
}
__device__ __forceinline__ void store_result(WarpResult& result, Sums& sums, bool codes, int lane) {
  const int head = lane / 4;
  __syncwarp();  // others may still read the tile
  for_columns(sums, codes, lane, [&](int column, float& value) { result.out[head][column] = value; });
  if (lane % 4 == 0) {
    result.largest[head] = sums.top;
    result.sum[head] = sums.mass;
  }
  __syncwarp();
}
// sums <- result and then sums, whose values are not codes.
__device__ __forceinline__ void join_result(Sums& sums, const WarpResult& result, int lane) {
  const int head = lane / 4;
  const Blend b = blend(result.largest[head], sums.top);
  sums.top = b.top;
  sums.mass = blended(b, result.sum[head], sums.mass);
  for_columns(sums, false, lane,
              [&](int column, float& value) { value = blended(b, result.out[head][column], value); });
}

// Puts the new token in its place of the granule.
__device__ __forceinline__ void put_token(uint8_t* tile, const NewToken& token, uint32_t row, uint32_t lane) {
#pragma unroll
  for (uint32_t side = 0; side < 2; ++side) {
    const uint32_t place = side * kInt8GranuleBytes + byte_place<kHeadDim, true>(int(row), int(lane / 4));
    *reinterpret_cast<uint32_t*>(tile + place + lane % 4 * 4) =
        reinterpret_cast<const uint32_t*>(token.rows[side])[lane];
  }
  constexpr uint32_t kWords = kRowScaleBytes / 4;
  if (lane < 2 * kWords) {
    uint8_t* scales = tile + 2 * kInt8GranuleBytes + lane / kWords * kGranuleScaleBytes + row * kRowScaleBytes;
    reinterpret_cast<uint32_t*>(scales)[lane % kWords] = reinterpret_cast<const uint32_t*>(token.scales)[lane];
  }
  __syncwarp();
}

// Where a warp keeps what packed tiles gave while granules come into the same tile.
constexpr uint32_t kKeptBytes = 10240;
static_assert(2 * (kInt8GranuleBytes + kGranuleScaleBytes) <= kKeptBytes &&
              kKeptBytes + sizeof(WarpResult) <= kTileBytes);

}  // namespace bytes

// A function of its own, so that products keep their registers.
__device__ __noinline__ void attend_bytes(Shared& shared, const LaunchArgs& launch, const StageView& view,
                                          uint32_t warp, const Cursor<kTiles> tiles, const Cursor<kSlots> slots) {
  const uint32_t position = shared.step.position, lane = lane_id();
  const AttendArgs& a = view.stage.attend;
  const AttendShare share = attend_share(view, position);
  if (share.n_tiles == 0) return;
  const Context context(a, position);
  const CacheCodec& codec = launch.codecs[a.codec];
  const bool codes = codec.sides[1].bits != kUniformBits;
  const Cursor<kSlots> new_slot = slots.plus(1);
  barrier_wait(&shared.slot_full[slots.index()], slots.parity(), "queries");
  if (share.owns_newest) barrier_wait(&shared.slot_full[new_slot.index()], new_slot.parity(), "new token");
  const auto& q = *reinterpret_cast<const bytes::Queries*>(shared.slots[slots.index()]);

  bytes::Sums sums;
  sums.clear();
  uint8_t* tile = shared.tiles[warp];
  auto& kept = *reinterpret_cast<WarpResult*>(tile + bytes::kKeptBytes);
  const auto* data = reinterpret_cast<const std::byte*>(tile);
  const uint32_t first = first_tile(tiles, warp);
  bool has_packed = false, has_kept = false;
  for (uint32_t i = first; i < share.n_tiles; i += kTiles) {
    if (i != first) warp_arrive(&shared.tile_empty[warp]);
    barrier_wait(&shared.tile_full[warp], tiles.plus(i).parity(), "tile of the cache");
    if (view.split + i * a.n_splits < context.n_packed) {
      bytes::add_packed(sums, codec, q, data, a.scale_log2, int(lane));
      has_packed = true;
      continue;
    }
    if (has_packed && !has_kept) {
      bytes::store_result(kept, sums, codes, int(lane));
      sums.clear();
      has_kept = true;
    }
    const bool is_newest = share.owns_newest && i == share.n_tiles - 1;
    if (is_newest)
      bytes::put_token(tile, *reinterpret_cast<const bytes::NewToken*>(shared.slots[new_slot.index()]),
                       position % kGranuleTokens, lane);
    bytes::add_int8(sums, q, data, a.scale_log2, is_newest ? int(position % kGranuleTokens) + 1 : int(kGranuleTokens),
                    int(lane));
  }
  warp_arrive(&shared.slot_empty[slots.index()]);
  if (share.owns_newest) warp_arrive(&shared.slot_empty[new_slot.index()]);
  if (has_kept) bytes::join_result(sums, kept, int(lane));
  if (first < share.n_tiles)
    bytes::store_result(*reinterpret_cast<WarpResult*>(tile), sums, codes && has_packed && !has_kept, int(lane));
  publish_parts(shared, view, warp, tiles, share.n_tiles);
}

}  // namespace arc::tape
