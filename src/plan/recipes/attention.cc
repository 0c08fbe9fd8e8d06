// Attention, general recipe: qkv | q/k norm | rope | append | attend | gate | o.
#include <algorithm>
#include <cmath>
#include <iterator>

#include "plan/recipes/weights.h"

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

}  // namespace

std::vector<Piece> qkv_pieces(const PlanBuilder& b, const AttentionSpec& s) {
  const RowRange heads = b.part(s.heads, "attention heads"), kv = b.part(s.kv_heads, "key/value heads");
  const int32_t d = s.head_dim, q_stride = s.output_gate ? 2 * d : d;  // per head the checkpoint has [q | gate]
  const RopeSpec unrotated{.dims = 0};
  if (b.layout("attn.qkv")) {  // one tensor: q, k, v below each other
    const int32_t q_rows = s.heads * d, kv_rows = s.kv_heads * d;
    std::vector<RowRange> rows = rows_of_heads(heads, d, 0, d, s.rope);
    std::ranges::copy(rows_of_heads(kv, d, q_rows, d, s.rope), std::back_inserter(rows));
    std::ranges::copy(rows_of_heads(kv, d, q_rows + kv_rows, d, unrotated), std::back_inserter(rows));
    return {{.slot = "attn.qkv", .slot_rows = q_rows + 2 * kv_rows, .rows = std::move(rows)}};
  }
  const Piece q{
      .slot = "attn.q", .slot_rows = s.heads * q_stride, .rows = rows_of_heads(heads, q_stride, 0, d, s.rope)};
  const Piece gate{
      .slot = "attn.q", .slot_rows = s.heads * q_stride, .rows = rows_of_heads(heads, q_stride, d, d, unrotated)};
  const Piece k{.slot = "attn.k", .slot_rows = s.kv_heads * d, .rows = rows_of_heads(kv, d, 0, d, s.rope)};
  const Piece v{.slot = "attn.v", .slot_rows = s.kv_heads * d, .rows = rows_of_heads(kv, d, 0, d, unrotated)};
  return s.output_gate ? std::vector<Piece>{q, k, v, gate} : std::vector<Piece>{q, k, v};
}

MatrixOptions qkv_options(const PlanBuilder& b, const AttentionSpec& s) {
  return {.slot_cols = b.spec().dim, .bias = s.qkv_bias};
}

WeightId attention_out_matrix(PlanBuilder& b, const AttentionSpec& s) {
  const RowRange heads = b.part(s.heads, "attention heads");
  return b.matrix("attn.o", {{.slot = "attn.o", .slot_rows = b.spec().dim}},
                  {.slot_cols = s.heads * s.head_dim,
                   .cols = {.begin = heads.begin * s.head_dim, .count = heads.count * s.head_dim},
                   .bias = s.out_bias,
                   .bias_here = b.first_rank()});
}

AttendArgs attend_args(PlanBuilder& b, const AttentionSpec& s) {
  const int32_t heads = b.part(s.heads, "attention heads").count,
                kv_heads = b.part(s.kv_heads, "key/value heads").count;
  const int32_t d = s.head_dim;
  const int32_t kept = s.causal ? s.window : 0;  // of a text in one step all is needed at once
  const auto place = b.cache({.kind = kept > 0 ? CacheKind::sliding : CacheKind::full,
                              .window = kept,
                              .kv_heads = kv_heads,
                              .k_dim = d,
                              .v_dim = d});
  return {.group = place.group,
          .layer = place.layer,
          .open_group = place.open_group,
          .open_layer = place.open_layer,
          .heads = heads,
          .kv_heads = kv_heads,
          .k_dim = d,
          .v_dim = d,
          .sinks = s.sinks,
          .causal = s.causal,
          .window = s.window,
          .scale = s.scale != 0.0f ? s.scale : static_cast<float>(1.0 / std::sqrt(static_cast<double>(d))),
          .softcap = s.softcap};
}

void attention_recipe(PlanBuilder& b, const AttentionSpec& s, BufferRef x, BufferRef y) {
  const RowRange heads = b.part(s.heads, "attention heads"), kv = b.part(s.kv_heads, "key/value heads");
  const int32_t d = s.head_dim, q_cols = heads.count * d, kv_cols = kv.count * d,
                gate_cols = s.output_gate ? q_cols : 0;
  const BufferRef qkv = b.buffer("qkv", q_cols + 2 * kv_cols + gate_cols);
  const BufferRef q = PlanBuilder::slice(qkv, 0, q_cols), k = PlanBuilder::slice(qkv, q_cols, kv_cols);
  const BufferRef v = PlanBuilder::slice(qkv, q_cols + kv_cols, kv_cols);
  b.linear("attn.qkv", qkv_pieces(b, s), qkv_options(b, s), x, qkv);
  b.norm(s.qk_norm, "attn.q_norm", d, q, q, head_rows(0, d, s.rope));
  b.norm(s.qk_norm, "attn.k_norm", d, k, k, head_rows(0, d, s.rope));
  b.rope(s.rope, heads.count, q, d, q, d, true);
  b.rope(s.rope, kv.count, k, d, k, d);

  const AttendArgs attend = attend_args(b, s);
  b.emit(AppendArgs{.group = attend.group,
                    .layer = attend.layer,
                    .open_group = attend.open_group,
                    .open_layer = attend.open_layer,
                    .kv_heads = kv.count,
                    .k_dim = d,
                    .v_dim = d},
         {}, {k, v}, {});
  const BufferRef out = b.buffer("attended", q_cols);
  const WeightId sinks = s.sinks ? b.vector("attn.sinks", s.heads, {heads}) : kNone;
  b.emit(attend, {sinks}, {q}, {out});
  b.cache_cost(b.plan().groups[attend.group].layer_block_bytes() / kTileTokens);
  if (s.output_gate) b.emit(GateArgs{}, {}, {out, PlanBuilder::slice(qkv, q_cols + 2 * kv_cols, gate_cols)}, {out});
  b.emit(LinearArgs{}, {attention_out_matrix(b, s)}, {out}, {y});
}

}  // namespace arc
