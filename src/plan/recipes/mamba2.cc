// Mamba-2: projection | convolution | recurrence | gated norm | out. The norm runs over all heads, so every rank
// computes them all and gives its share of the last product.
#include "plan/builder.h"

namespace arc {

void mamba2_recipe(PlanBuilder& b, const Mamba2Spec& s, BufferRef x, BufferRef y) {
  const int32_t width = s.heads * s.head_dim, conv_cols = width + 2 * s.groups * s.state_dim, dim = b.spec().dim;
  const BufferRef in = b.buffer("zxbcdt", width + conv_cols + s.heads);
  b.linear("mamba.in", {{.slot = "mamba.in", .slot_rows = in.cols}}, {.slot_cols = dim, .bias = s.bias}, x, in);

  const int64_t conv_bytes = int64_t{4} * (s.conv_kernel - 1) * conv_cols;
  const auto place = b.cache({.kind = CacheKind::state, .state_bytes = conv_bytes + int64_t{4} * width * s.state_dim});
  const WeightId conv = b.matrix("mamba.conv", {{.slot = "mamba.conv", .slot_rows = conv_cols}},
                                 {.slot_cols = s.conv_kernel, .bias = s.conv_bias});
  b.plan().weights[conv].format = WeightFormat::plain(DType::f32);
  const BufferRef mixed = b.buffer("convolved", conv_cols);
  b.emit(ConvArgs{.group = place.group, .layer = place.layer, .channels = conv_cols, .kernel = s.conv_kernel}, {conv},
         {PlanBuilder::slice(in, width, conv_cols)}, {mixed});

  const WeightId dt_bias = b.vector("mamba.dt_bias", s.heads), a_log = b.vector("mamba.a_log", s.heads),
                 d = b.vector("mamba.d", s.heads);
  const BufferRef out = b.buffer("attended", width);
  b.emit(SsmArgs{.group = place.group,
                 .layer = place.layer,
                 .heads = s.heads,
                 .head_dim = s.head_dim,
                 .groups = s.groups,
                 .state_dim = s.state_dim,
                 .dt_min = s.dt_min,
                 .dt_max = s.dt_max,
                 .state_offset = conv_bytes},
         {dt_bias, a_log, d}, {mixed, PlanBuilder::slice(in, width + conv_cols, s.heads)}, {out});
  b.emit(GatedNormArgs{.eps = s.out_norm.eps, .cols = width, .gate_first = true}, {b.vector("mamba.norm", width)},
         {out, PlanBuilder::slice(in, 0, width)}, {out});

  const RowRange heads = b.part(s.heads, "Mamba heads");
  const RowRange cols{.begin = heads.begin * s.head_dim, .count = heads.count * s.head_dim};
  const WeightId o = b.matrix("mamba.o", {{.slot = "mamba.o", .slot_rows = dim}},
                              {.slot_cols = width, .cols = cols, .bias = s.bias, .bias_here = b.first_rank()});
  b.emit(LinearArgs{}, {o}, {PlanBuilder::slice(out, cols.begin, cols.count)}, {y});
}

}  // namespace arc
