// Latent attention in the absorbed form: queries are carried into the latent space, where one shared "head" of keys
// lies, and what is gathered there is carried back per head.
#include <cmath>

#include "plan/builder.h"

namespace arc {
namespace {

// q [T, H * (nope + rope)], through the query's own latent where the model has one.
BufferRef project_query(PlanBuilder& b, const MlaSpec& s, RowRange heads, BufferRef x) {
  const int32_t dim = b.spec().dim, per_head = s.nope_dim + s.rope_dim;
  std::vector<RowRange> rows;
  for (int32_t h = heads.begin; h < heads.begin + heads.count; ++h) {
    rows.push_back({.begin = h * per_head, .count = s.nope_dim});
    for (const RowRange& r : head_rows(h * per_head + s.nope_dim, s.rope_dim, s.rope)) rows.push_back(r);
  }
  const BufferRef q = b.buffer("q", heads.count * per_head);
  if (s.q_rank == 0) {
    const WeightId direct =
        b.matrix("mla.q", {{.slot = "mla.q", .slot_rows = s.heads * per_head, .rows = rows}}, {.slot_cols = dim});
    b.emit(LinearArgs{}, {direct}, {x}, {q});
    return q;
  }
  const BufferRef latent = b.buffer("q_latent", s.q_rank);
  const WeightId down =
      b.matrix("mla.q_a", {{.slot = "mla.q_a", .slot_rows = s.q_rank}}, {.slot_cols = dim, .bias = s.a_bias});
  b.emit(LinearArgs{}, {down}, {x}, {latent});
  b.norm(s.latent_norm, "mla.q_a_norm", s.q_rank, latent, latent);
  const WeightId up = b.matrix("mla.q_b", {{.slot = "mla.q_b", .slot_rows = s.heads * per_head, .rows = rows}},
                               {.slot_cols = s.q_rank});
  b.emit(LinearArgs{}, {up}, {latent}, {q});
  return q;
}

// kv [T, kv_rank + rope]: the normalised latent and the rotated shared key, as the cache keeps them. The same on every
// rank.
BufferRef project_latent(PlanBuilder& b, const MlaSpec& s, BufferRef x) {
  std::vector<RowRange> rows = {{.begin = 0, .count = s.kv_rank}};
  for (const RowRange& r : head_rows(s.kv_rank, s.rope_dim, s.rope)) rows.push_back(r);
  const WeightId weight =
      b.matrix("mla.kv_a", {{.slot = "mla.kv_a", .slot_rows = s.kv_rank + s.rope_dim, .rows = rows}},
               {.slot_cols = b.spec().dim, .bias = s.a_bias});
  const BufferRef kv = b.buffer("kv_latent", s.kv_rank + s.rope_dim);
  b.emit(LinearArgs{}, {weight}, {x}, {kv});
  const BufferRef latent = PlanBuilder::slice(kv, 0, s.kv_rank), key = PlanBuilder::slice(kv, s.kv_rank, s.rope_dim);
  b.norm(s.latent_norm, "mla.kv_a_norm", s.kv_rank, latent, latent);
  b.rope(s.rope, 1, key, s.rope_dim, key, s.rope_dim);
  return kv;
}

// Rows of head h of the checkpoint's kv_b: keys [nope], then values [v].
std::vector<Piece> kv_b_rows(const MlaSpec& s, int64_t head, int32_t offset, int32_t count) {
  const int32_t per_head = s.nope_dim + s.v_dim;
  return {{.slot = "mla.kv_b",
           .slot_rows = s.heads * per_head,
           .rows = {{.begin = static_cast<int32_t>(head) * per_head + offset, .count = count}}}};
}

// Matrix h of a slot that stores each head's own.
std::vector<Piece> head_matrix(const MlaSpec& s, std::string_view slot, int64_t head, int32_t rows) {
  return {{.slot = std::string(slot), .slot_rows = rows, .expert = static_cast<int>(head), .stack = s.heads}};
}

// Per head, from a query's unrotated part into the latent space: [kv_rank, nope].
WeightId key_up_matrices(PlanBuilder& b, const MlaSpec& s, RowRange heads) {
  if (b.layout("mla.k_b")) {
    return b.matrices("mla.key_up", heads.count,
                      [&](int64_t h) { return head_matrix(s, "mla.k_b", heads.begin + h, s.kv_rank); },
                      {.slot_cols = s.nope_dim});
  }
  return b.turned_matrices("mla.key_up", heads.count,
                           [&](int64_t h) { return kv_b_rows(s, heads.begin + h, 0, s.nope_dim); },
                           {.slot_cols = s.kv_rank});
}

// Per head, from the latent space to the values: [v, kv_rank].
WeightId value_up_matrices(PlanBuilder& b, const MlaSpec& s, RowRange heads) {
  const bool split = b.layout("mla.v_b").has_value();
  return b.matrices("mla.value_up", heads.count,
                    [&](int64_t h) {
                      return split ? head_matrix(s, "mla.v_b", heads.begin + h, s.v_dim)
                                   : kv_b_rows(s, heads.begin + h, s.nope_dim, s.v_dim);
                    },
                    {.slot_cols = s.kv_rank});
}

}  // namespace

void mla_recipe(PlanBuilder& b, const MlaSpec& s, BufferRef x, BufferRef y) {
  const RowRange heads = b.part(s.heads, "attention heads");
  const int32_t per_head = s.nope_dim + s.rope_dim, key_dim = s.kv_rank + s.rope_dim;
  const BufferRef q = project_query(b, s, heads, x);
  const BufferRef kv = project_latent(b, s, x);

  // q_abs per head: [key_up^T q_nope | rope(q_rope)]
  const BufferRef q_abs = b.buffer("q_absorbed", heads.count * key_dim);
  const WeightId key_up = key_up_matrices(b, s, heads);
  b.emit(HeadLinearArgs{.heads = heads.count, .in_stride = per_head, .out_stride = key_dim}, {key_up}, {q}, {q_abs});
  b.rope(s.rope, heads.count, PlanBuilder::slice(q, s.nope_dim, q.cols - s.nope_dim), per_head,
         PlanBuilder::slice(q_abs, s.kv_rank, q_abs.cols - s.kv_rank), key_dim, true);

  const auto place = b.cache({.kind = CacheKind::latent, .kv_heads = 1, .k_dim = key_dim, .v_dim = 0});
  b.emit(AppendArgs{.group = place.group, .layer = place.layer, .kv_heads = 1, .k_dim = key_dim}, {}, {kv}, {});
  const BufferRef gathered = b.buffer("latent_out", heads.count * s.kv_rank);
  const double default_scale = 1.0 / std::sqrt(static_cast<double>(per_head));
  b.emit(AttendArgs{.group = place.group,
                    .layer = place.layer,
                    .heads = heads.count,
                    .kv_heads = 1,
                    .k_dim = key_dim,
                    .v_dim = s.kv_rank,
                    .v_in_k = true,
                    .scale = s.scale != 0.0f ? s.scale : static_cast<float>(default_scale)},
         {}, {q_abs}, {gathered});
  b.cache_cost(b.plan().groups[place.group].layer_block_bytes() / kTileTokens);

  const BufferRef out = b.buffer("attended", heads.count * s.v_dim);
  const WeightId value_up = value_up_matrices(b, s, heads);
  b.emit(HeadLinearArgs{.heads = heads.count, .in_stride = s.kv_rank, .out_stride = s.v_dim}, {value_up}, {gathered},
         {out});
  const WeightId o = b.matrix("mla.o", {{.slot = "mla.o", .slot_rows = b.spec().dim}},
                              {.slot_cols = s.heads * s.v_dim,
                               .cols = {.begin = heads.begin * s.v_dim, .count = heads.count * s.v_dim},
                               .bias = s.out_bias,
                               .bias_here = b.first_rank()});
  b.emit(LinearArgs{}, {o}, {out}, {y});
}

}  // namespace arc
