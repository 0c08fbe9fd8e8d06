// Fused operations as compositions of the simple ones: what they mean, one step after the other.
#include <tuple>

#include "kernels/ref/ref.h"

namespace arc::ref {
namespace {

TensorView columns(const TensorView& view, int64_t begin, int64_t count) {
  TensorView out = view;
  out.data = view.row<float>(0) + begin;
  out.cols = count;
  return out;
}

}  // namespace

void run(const FusedLinearArgs& a, const Operands& o) noexcept {
  const TensorView &x = o.reads[0], &y = o.writes[0], &normed = o.writes[1], &v = o.writes[2];
  const bool has_norm = a.norm.kind != NormKind::none;
  Operands step = o;
  if (has_norm) {
    step.weights = &o.weights[1];
    step.writes = &normed;
    run(a.norm, step);
  }
  const bool direct = a.epilogue == Epilogue::store;
  step.weights = o.weights;
  step.reads = has_norm ? &normed : &x;
  step.writes = direct ? &y : &v;
  run(LinearArgs{}, step);
  step.reads = &v;
  step.writes = &y;
  if (a.epilogue == Epilogue::add) run(AddArgs{}, step);
  if (a.epilogue == Epilogue::act) run(a.act, step);
}

void run(const FusedAttendArgs& a, const Operands& o) noexcept {
  const int32_t d = a.attend.k_dim, q_cols = a.attend.heads * d, kv_cols = a.attend.kv_heads * d;
  const TensorView q = columns(o.reads[0], 0, q_cols), k = columns(o.reads[0], q_cols, kv_cols);
  const TensorView kv[2] = {k, columns(o.reads[0], q_cols + kv_cols, kv_cols)};
  Operands step = o;
  for (const auto& [view, norm, heads] : {std::tuple{&q, 0, a.attend.heads}, std::tuple{&k, 1, a.attend.kv_heads}}) {
    step.reads = step.writes = view;
    step.weights = &o.weights[norm];
    if (a.norm.kind != NormKind::none) run(a.norm, step);
    step.weights = &o.weights[2];
    run(
        RopeArgs{
            .heads = heads, .dims = a.rope_dims, .in_stride = d, .out_stride = d, .factors = {.factor = a.rope_factor}},
        step);
  }
  step.reads = kv;
  run(AppendArgs{.group = a.attend.group,
                 .layer = a.attend.layer,
                 .open_group = a.attend.open_group,
                 .open_layer = a.attend.open_layer,
                 .kv_heads = a.attend.kv_heads,
                 .k_dim = d,
                 .v_dim = d},
      step);
  step.reads = &q;
  step.writes = o.writes;
  run(a.attend, step);
}

}  // namespace arc::ref
