// Feed-forward blocks: gated or plain MLP, and routed experts beside an optional shared one.
#include <string>

#include "fmt/format.h"

#include "plan/recipes/weights.h"

namespace arc {
namespace {

static_assert(static_cast<int>(Act::clamped_swiglu) == static_cast<int>(Activation::Kind::clamped_swiglu));
static_assert(static_cast<int>(RouterScore::sparsemixer) == static_cast<int>(RouterSpec::Score::sparsemixer));

// ids [T, k] and weights [T, k] of the chosen experts. Every rank routes alike.
struct Routed {
  BufferRef ids, weights;
};

Routed route(PlanBuilder& b, const RouterSpec& r, BufferRef x) {
  const WeightId weight = b.matrix("moe.router", {{.slot = "moe.router", .slot_rows = r.experts}},
                                   {.slot_cols = b.spec().dim, .bias = r.bias});
  const BufferRef logits = b.buffer("router", r.experts);
  b.emit(LinearArgs{}, {weight}, {x}, {logits});
  const Routed routed{.ids = b.buffer("expert_ids", r.top_k, DType::i32),
                      .weights = b.buffer("expert_weights", r.top_k)};
  const WeightId correction = r.correction_bias ? b.vector("moe.correction_bias", r.experts) : kNone;
  b.emit(RouteArgs{.experts = r.experts,
                   .top_k = r.top_k,
                   .groups = r.groups,
                   .top_groups = r.top_groups,
                   .group_best = r.group_best,
                   .score = static_cast<RouterScore>(r.score),
                   .correction = r.correction_bias,
                   .renormalize = r.renormalize,
                   .jitter = r.jitter,
                   .scale = r.scale},
         {correction}, {logits}, {routed.ids, routed.weights});
  return routed;
}

// Gate and up of one expert, whichever way the checkpoint stores them.
std::vector<Piece> gate_up(const PlanBuilder& b, int32_t hidden, int expert) {
  const std::optional<TensorLayout> fused = b.layout("expert.gate_up", expert);
  if (!fused) {
    return {{.slot = "expert.gate", .slot_rows = hidden, .expert = expert},
            {.slot = "expert.up", .slot_rows = hidden, .expert = expert}};
  }
  const int32_t stride = fused->interleaved ? 2 : 1, up_begin = fused->interleaved ? 1 : hidden;
  return {{.slot = "expert.gate_up",
           .slot_rows = 2 * hidden,
           .rows = {{.begin = 0, .count = hidden, .stride = stride},
                    {.begin = up_begin, .count = hidden, .stride = stride}},
           .expert = expert}};
}

}  // namespace

ActArgs act_args(const MlpSpec& s, int32_t hidden) {
  return {.act = static_cast<Act>(s.act.kind),
          .gated = s.gated,
          .hidden = hidden,
          .alpha = s.act.alpha,
          .limit = s.act.limit};
}

std::vector<Piece> gate_up_pieces(const PlanBuilder& b, const MlpSpec& s, std::string_view slots) {
  const RowRange hidden = b.part(s.hidden, "hidden columns");
  const std::string fused_slot = fmt::format("{}.gate_up", slots);
  if (b.layout(fused_slot)) {  // one tensor: gate, then up
    const RowRange up{.begin = s.hidden + hidden.begin, .count = hidden.count};
    return {{.slot = fused_slot, .slot_rows = 2 * s.hidden, .rows = {hidden, up}}};
  }
  const Piece gate{.slot = fmt::format("{}.gate", slots), .slot_rows = s.hidden, .rows = {hidden}};
  const Piece up{.slot = fmt::format("{}.up", slots), .slot_rows = s.hidden, .rows = {hidden}};
  return s.gated ? std::vector<Piece>{gate, up} : std::vector<Piece>{up};
}

MatrixOptions gate_up_options(const PlanBuilder& b, const MlpSpec& s) {
  return {.slot_cols = b.spec().dim, .bias = s.bias};
}

WeightId down_matrix(PlanBuilder& b, const MlpSpec& s, std::string_view slots) {
  const std::string slot = std::string(slots) + ".down";
  return b.matrix(
      slot, {{.slot = slot, .slot_rows = b.spec().dim}},
      {.slot_cols = s.hidden, .cols = b.part(s.hidden, "hidden columns"), .bias = s.bias, .bias_here = b.first_rank()});
}

void mlp_recipe(PlanBuilder& b, const MlpSpec& s, std::string_view slots, BufferRef x, BufferRef y) {
  const int32_t hidden = b.part(s.hidden, "hidden columns").count;
  const BufferRef wide = b.buffer("ffn_in", hidden * (s.gated ? 2 : 1)), narrow = b.buffer("ffn_mid", hidden);
  b.linear(fmt::format("{}.{}", slots, s.gated ? "gate_up" : "up"), gate_up_pieces(b, s, slots), gate_up_options(b, s),
           x, wide);
  b.emit(act_args(s, hidden), {}, {wide}, {narrow});
  b.emit(LinearArgs{}, {down_matrix(b, s, slots)}, {narrow}, {y});
}

void moe_recipe(PlanBuilder& b, const MoeSpec& s, BufferRef x, BufferRef y) {
  const int32_t dim = b.spec().dim, k = s.router.top_k, hidden = s.expert.hidden;
  const Routed routed = route(b, s.router, x);
  const RowRange experts = b.part(s.router.experts, "experts");
  const auto expert = [&](int64_t i) { return static_cast<int>(experts.begin + i); };

  const WeightId in = b.matrices("moe.gate_up", experts.count, [&](int64_t i) { return gate_up(b, hidden, expert(i)); },
                                 {.slot_cols = dim, .bias = s.expert.bias});
  const BufferRef wide = b.buffer("expert_in", k * 2 * hidden), narrow = b.buffer("expert_mid", k * hidden);
  const BufferRef wide_out = b.buffer("expert_out", k * dim);
  b.emit(ExpertLinearArgs{.top_k = k, .first = experts.begin}, {in}, {x, routed.ids}, {wide});
  b.emit(act_args(s.expert, hidden), {}, {wide}, {narrow});
  const WeightId down = b.matrices(
      "moe.down", experts.count,
      [&](int64_t i) { return std::vector<Piece>{{.slot = "expert.down", .slot_rows = dim, .expert = expert(i)}}; },
      {.slot_cols = hidden, .bias = s.expert.bias});
  b.emit(ExpertLinearArgs{.top_k = k, .first = experts.begin, .own_input = true}, {down}, {narrow, routed.ids},
         {wide_out});
  b.emit(ExpertSumArgs{.top_k = k}, {}, {wide_out, routed.weights}, {y});
  if (s.shared.hidden == 0) return;

  const BufferRef shared = b.buffer("shared_out", dim);
  mlp_recipe(b, s.shared, "shared", x, shared);
  if (s.shared_gate) {
    const WeightId router = b.matrix("shared.router", {{.slot = "shared.router", .slot_rows = 1}}, {.slot_cols = dim});
    const BufferRef gate = b.buffer("shared_gate", 1);
    b.emit(LinearArgs{}, {router}, {x}, {gate});
    b.emit(GateArgs{}, {}, {shared, gate}, {shared});
  }
  b.emit(AddArgs{}, {}, {shared}, {y});
}

}  // namespace arc
