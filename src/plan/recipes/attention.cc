// Attention, general recipe: qkv | q/k norm | rope | append | attend | gate | o.
#include <cmath>

#include "plan/builder.h"

namespace arc {
namespace {

// Rows of `count` heads from `first`, each `stride` rows apart.
std::vector<RowRange> rows_of_heads(RowRange heads, int32_t stride, int32_t offset, int32_t head_dim,
                                    const RopeSpec& rope) {
  std::vector<RowRange> rows;
  for (int32_t h = heads.begin; h < heads.begin + heads.count; ++h) {
    for (const RowRange& r : head_rows(h * stride + offset, head_dim, rope)) {
      if (r.count > 0) rows.push_back(r);
    }
  }
  return rows;
}

struct Projected {
  BufferRef q, k, v, gate;
};

// One product for q, gate, k and v. With an output gate the checkpoint's q rows hold [q | gate] per head.
Projected project(PlanBuilder& b, const AttentionSpec& s, BufferRef x) {
  const RowRange heads = b.part(s.heads, "attention heads"), kv = b.part(s.kv_heads, "key/value heads");
  const int32_t d = s.head_dim, q_stride = s.output_gate ? 2 * d : d;
  const int32_t q_cols = heads.count * d, kv_cols = kv.count * d, gate_cols = s.output_gate ? q_cols : 0;
  const RopeSpec plain_rows{.dims = 0};
  const Piece q{
      .slot = "attn.q", .slot_rows = s.heads * q_stride, .rows = rows_of_heads(heads, q_stride, 0, d, s.rope)};
  const Piece gate{
      .slot = "attn.q", .slot_rows = s.heads * q_stride, .rows = rows_of_heads(heads, q_stride, d, d, plain_rows)};
  const Piece k{.slot = "attn.k", .slot_rows = s.kv_heads * d, .rows = rows_of_heads(kv, d, 0, d, s.rope)};
  const Piece v{.slot = "attn.v", .slot_rows = s.kv_heads * d, .rows = rows_of_heads(kv, d, 0, d, plain_rows)};
  const MatrixOptions options{.slot_cols = b.spec().dim, .bias = s.qkv_bias};
  const WeightId weight =
      s.output_gate ? b.matrix("attn.qkv", {q, k, v, gate}, options) : b.matrix("attn.qkv", {q, k, v}, options);
  const BufferRef qkv = b.buffer("qkv", q_cols + 2 * kv_cols + gate_cols);
  b.emit(LinearArgs{}, {weight}, {x}, {qkv});
  return {.q = PlanBuilder::slice(qkv, 0, q_cols),
          .k = PlanBuilder::slice(qkv, q_cols, kv_cols),
          .v = PlanBuilder::slice(qkv, q_cols + kv_cols, kv_cols),
          .gate = PlanBuilder::slice(qkv, q_cols + 2 * kv_cols, gate_cols)};
}

}  // namespace

void attention_recipe(PlanBuilder& b, const AttentionSpec& s, BufferRef x, BufferRef y) {
  const RowRange heads = b.part(s.heads, "attention heads"), kv = b.part(s.kv_heads, "key/value heads");
  const int32_t d = s.head_dim;
  const Projected p = project(b, s, x);
  b.norm(s.qk_norm, "attn.q_norm", d, p.q, p.q, head_rows(0, d, s.rope));
  b.norm(s.qk_norm, "attn.k_norm", d, p.k, p.k, head_rows(0, d, s.rope));
  b.rope(s.rope, heads.count, p.q, d, p.q, d);
  b.rope(s.rope, kv.count, p.k, d, p.k, d);

  const auto place = b.cache({.kind = s.window > 0 ? CacheKind::sliding : CacheKind::full,
                              .window = s.window,
                              .kv_heads = kv.count,
                              .k_dim = d,
                              .v_dim = d});
  b.emit(AppendArgs{.group = place.group, .layer = place.layer, .kv_heads = kv.count, .k_dim = d, .v_dim = d}, {},
         {p.k, p.v}, {});
  const BufferRef out = b.buffer("attended", heads.count * d);
  const AttendArgs attend{
      .group = place.group,
      .layer = place.layer,
      .heads = heads.count,
      .kv_heads = kv.count,
      .k_dim = d,
      .v_dim = d,
      .sinks = s.sinks,
      .causal = s.causal,
      .window = s.window,
      .scale = s.scale != 0.0f ? s.scale : static_cast<float>(1.0 / std::sqrt(static_cast<double>(d))),
      .softcap = s.softcap};
  const WeightId sinks = s.sinks ? b.vector("attn.sinks", s.heads, {heads}) : kNone;
  b.emit(attend, {sinks}, {p.q}, {out});
  b.cache_cost(b.plan().groups[place.group].layer_block_bytes() / kTileTokens);
  if (s.output_gate) b.emit(GateArgs{}, {}, {out, p.gate}, {out});

  const WeightId o = b.matrix("attn.o", {{.slot = "attn.o", .slot_rows = b.spec().dim}},
                              {.slot_cols = s.heads * d,
                               .cols = {.begin = heads.begin * d, .count = heads.count * d},
                               .bias = s.out_bias,
                               .bias_here = b.first_rank()});
  b.emit(LinearArgs{}, {o}, {out}, {y});
}

}  // namespace arc
