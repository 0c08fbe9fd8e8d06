// Gated DeltaNet: projections | convolution | delta rule | gated norm | out. Ranks hold whole key heads with their
// value heads.
#include "plan/builder.h"

namespace arc {
namespace {

// Rows of the key heads' blocks in a checkpoint matrix that is grouped by key head: `block` rows per head, of which
// [offset, offset + count) are wanted.
std::vector<RowRange> grouped(RowRange key_heads, int32_t block, int32_t offset, int32_t count) {
  std::vector<RowRange> rows;
  for (int32_t g = key_heads.begin; g < key_heads.begin + key_heads.count; ++g)
    rows.push_back({.begin = g * block + offset, .count = count});
  return rows;
}

// q, k and v rows of this rank's key heads, where each lies over all heads one after the other.
std::vector<RowRange> flat_rows(const DeltaNetSpec& s, RowRange keys) {
  const int32_t dk = s.key_dim, value_rows = s.value_heads / s.key_heads * s.value_dim;  // of one key head
  return {{.begin = keys.begin * dk, .count = keys.count * dk},
          {.begin = (s.key_heads + keys.begin) * dk, .count = keys.count * dk},
          {.begin = 2 * s.key_heads * dk + keys.begin * value_rows, .count = keys.count * value_rows}};
}

// [q | k | v | z], each over all of this rank's heads, from a slot that holds all four per key head, or from one of q,
// k and v and one of z.
std::vector<Piece> qkvz_pieces(const PlanBuilder& b, const DeltaNetSpec& s, RowRange keys) {
  const int32_t dk = s.key_dim, value_rows = s.value_heads / s.key_heads * s.value_dim;
  if (b.layout("delta.qkv")) {
    const int32_t z_rows = s.value_heads * s.value_dim;
    const RowRange z{.begin = keys.begin * value_rows, .count = keys.count * value_rows};
    return {{.slot = "delta.qkv", .slot_rows = 2 * s.key_heads * dk + z_rows, .rows = flat_rows(s, keys)},
            {.slot = "delta.z", .slot_rows = z_rows, .rows = {z}}};
  }
  const int32_t block = 2 * dk + 2 * value_rows;
  const auto from_block = [&](int32_t offset, int32_t count) {
    return Piece{.slot = "delta.qkvz", .slot_rows = s.key_heads * block, .rows = grouped(keys, block, offset, count)};
  };
  return {from_block(0, dk), from_block(dk, dk), from_block(2 * dk, value_rows),
          from_block(2 * dk + value_rows, value_rows)};
}

}  // namespace

void delta_net_recipe(PlanBuilder& b, const DeltaNetSpec& s, BufferRef x, BufferRef y) {
  const RowRange keys = b.part(s.key_heads, "linear-attention key heads");
  const int32_t ratio = s.value_heads / s.key_heads, values = keys.count * ratio;
  const int32_t dk = s.key_dim, dv = s.value_dim, dim = b.spec().dim;
  const int32_t key_cols = keys.count * dk, value_cols = values * dv, conv_cols = 2 * key_cols + value_cols;

  const BufferRef qkvz = b.buffer("qkvz", conv_cols + value_cols);
  b.linear("delta.qkvz", qkvz_pieces(b, s, keys), {.slot_cols = dim}, x, qkvz);

  const auto from_pair = [&](int32_t offset) {
    return Piece{.slot = "delta.ba", .slot_rows = 2 * s.value_heads, .rows = grouped(keys, 2 * ratio, offset, ratio)};
  };
  const WeightId pair = b.matrix("delta.ba", {from_pair(0), from_pair(ratio)}, {.slot_cols = dim});
  const BufferRef ba = b.buffer("ba", 2 * values);
  b.emit(LinearArgs{}, {pair}, {x}, {ba});

  const int64_t conv_bytes = int64_t{4} * (s.conv_kernel - 1) * conv_cols;
  const auto place = b.cache({.kind = CacheKind::state, .state_bytes = conv_bytes + int64_t{4} * values * dk * dv});
  const Piece conv_rows{
      .slot = "delta.conv", .slot_rows = 2 * s.key_heads * dk + s.value_heads * dv, .rows = flat_rows(s, keys)};
  const WeightId conv = b.matrix("delta.conv", {conv_rows}, {.slot_cols = s.conv_kernel});
  b.plan().weights[conv].format = WeightFormat::plain(DType::f32);
  const BufferRef mixed = b.buffer("convolved", conv_cols);
  b.emit(ConvArgs{.group = place.group, .layer = place.layer, .channels = conv_cols, .kernel = s.conv_kernel}, {conv},
         {PlanBuilder::slice(qkvz, 0, conv_cols)}, {mixed});

  const RowRange value_range{.begin = keys.begin * ratio, .count = values};
  const WeightId dt_bias = b.vector("delta.dt_bias", s.value_heads, {value_range});
  const WeightId a_log = b.vector("delta.a_log", s.value_heads, {value_range});
  const BufferRef out = b.buffer("attended", value_cols);
  b.emit(DeltaArgs{.group = place.group,
                   .layer = place.layer,
                   .key_heads = keys.count,
                   .value_heads = values,
                   .key_dim = dk,
                   .value_dim = dv,
                   .state_offset = conv_bytes},
         {dt_bias, a_log}, {mixed, ba}, {out});
  const WeightId norm = b.vector("delta.norm", dv);
  b.emit(GatedNormArgs{.eps = s.out_norm.eps, .cols = dv}, {norm},
         {out, PlanBuilder::slice(qkvz, conv_cols, value_cols)}, {out});

  const WeightId o =
      b.matrix("delta.o", {{.slot = "delta.o", .slot_rows = dim}},
               {.slot_cols = s.value_heads * dv, .cols = {.begin = value_range.begin * dv, .count = value_cols}});
  b.emit(LinearArgs{}, {o}, {out}, {y});
}

}  // namespace arc
