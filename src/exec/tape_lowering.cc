#include "exec/tape_lowering.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "fmt/format.h"

#include "base/error.h"

namespace arc {
namespace {

using tape::BufferRef;
using tape::kKNorm;
using tape::kMapBytes;
using tape::kMatrix;
using tape::kNextNorm;
using tape::kParts;
using tape::kQNorm;
using tape::kResidual;
using tape::kRope;
using tape::kScores;
using tape::kSquares;
using tape::kTileColumns;
using tape::kTileRows;
using tape::kVector;
using tape::TapeStage;

[[noreturn]] void refuse(const std::string& why) {
  throw Error(ErrorCode::unsupported, why);
}

void require(bool ok, std::string_view what) {
  if (!ok) refuse(fmt::format("no device function for {}", what));
}

uint32_t ceil_div(uint32_t a, uint32_t b) {
  return (a + b - 1) / b;
}

uint32_t slices(uint32_t n_in, uint32_t columns = kTileColumns) {
  return ceil_div(n_in, columns);
}

// ---- the plan's stages, in fives -----------------------------------------------------------------------------------

// The stages of a layer; see plan/recipes.
struct LayerStages {
  const Stage *pre = nullptr, *qkv = nullptr, *q_norm = nullptr, *k_norm = nullptr, *q_rope = nullptr,
              *k_rope = nullptr, *append = nullptr, *attend = nullptr, *out = nullptr;
  const Stage *ffn_pre = nullptr, *gate_up = nullptr, *act = nullptr, *down = nullptr;
  const Stage *router = nullptr, *route = nullptr, *expert_sum = nullptr;  // null: a dense MLP
};

// Takes stages in order. Each reads what the one before it wrote, or the residual stream.
class StageReader {
 public:
  explicit StageReader(const Plan& plan) : plan_(plan) {}

  bool done() const { return at_ == plan_.stages.size(); }
  template <typename A>
  bool next_is() const {
    return !done() && std::holds_alternative<A>(plan_.stages[at_].args);
  }
  // The next stage, which reads `from` and writes `to` (kNone: anything).
  template <typename A>
  const Stage* take(std::string_view what, BufferId from, BufferId to = kNone) {
    require(next_is<A>(),
            done() ? std::string(what) : fmt::format("{} where {} stands", op_name(plan_.stages[at_].args), what));
    const Stage& stage = plan_.stages[at_++];
    require(from == kNone || stage.reads[0].buffer == from, fmt::format("another input of {}", what));
    require(to == kNone || stage.writes[0].buffer == to, fmt::format("another output of {}", what));
    return &stage;
  }
  const Stage* take_norm(std::string_view what, BufferId from, BufferId to, int32_t cols) {
    const Stage* stage = take<NormArgs>(what, from, to);
    const auto& args = std::get<NormArgs>(stage->args);
    require(args.kind == NormKind::rms && args.cols == cols, fmt::format("this kind of {}", what));
    return stage;
  }

 private:
  const Plan& plan_;
  size_t at_ = 0;
};

BufferId output(const Stage* stage) {
  return stage->writes[0].buffer;
}

void take_mlp(LayerStages& s, const Stage* gate_up, StageReader& reader) {
  s.gate_up = gate_up;
  s.act = reader.take<ActArgs>("the activation", output(s.gate_up));
  s.down = reader.take<LinearArgs>("the product behind the MLP", output(s.act));
}

void take_experts(LayerStages& s, const Stage* router, StageReader& reader) {
  const BufferId x = output(s.ffn_pre);
  s.router = router;
  s.route = reader.take<RouteArgs>("the choice of experts", output(router));
  s.gate_up = reader.take<ExpertLinearArgs>("gate and up of experts", x);
  s.act = reader.take<ActArgs>("the activation", output(s.gate_up));
  s.down = reader.take<ExpertLinearArgs>("the experts' last product", output(s.act));
  s.expert_sum = reader.take<ExpertSumArgs>("the sum of experts", output(s.down));
  const BufferId ids = s.route->writes[0].buffer, weights = s.route->writes[1].buffer;
  require(
      s.gate_up->reads[1].buffer == ids && s.down->reads[1].buffer == ids && s.expert_sum->reads[1].buffer == weights,
      "experts of another choice");
}

LayerStages take_layer(const Plan& plan, StageReader& reader) {
  const BufferId x = plan.residual;
  LayerStages s;
  s.pre = reader.take_norm("a norm before attention", x, kNone, plan.dim);
  s.qkv = reader.take<LinearArgs>("q, k and v", output(s.pre));
  const BufferId qkv = output(s.qkv);
  if (reader.next_is<NormArgs>()) {
    s.q_norm = reader.take_norm("a norm of queries", qkv, qkv, tape::kHeadDim);
    s.k_norm = reader.take_norm("a norm of keys", qkv, qkv, tape::kHeadDim);
  }
  s.q_rope = reader.take<RopeArgs>("a rotation of queries", qkv, qkv);
  s.k_rope = reader.take<RopeArgs>("a rotation of keys", qkv, qkv);
  s.append = reader.take<AppendArgs>("the append", qkv);
  s.attend = reader.take<AttendArgs>("attention", qkv);
  s.out = reader.take<LinearArgs>("the product behind attention", output(s.attend));
  reader.take<AddArgs>("the residual", output(s.out), x);
  s.ffn_pre = reader.take_norm("a norm before the MLP", x, kNone, plan.dim);
  const Stage* first = reader.take<LinearArgs>("a product in front of the MLP", output(s.ffn_pre));
  if (reader.next_is<RouteArgs>()) {
    take_experts(s, first, reader);
  } else {
    take_mlp(s, first, reader);
  }
  reader.take<AddArgs>("the residual", output(s.expert_sum != nullptr ? s.expert_sum : s.down), x);
  return s;
}

// ---- buffers -------------------------------------------------------------------------------------------------------

// Hands out addresses of a slab, front to back.
class Bump {
 public:
  explicit Bump(uint64_t base) : base_(base) {}
  uint64_t take(uint64_t size_bytes) {
    constexpr uint64_t kAlignment = 1024;
    const uint64_t address = base_ + used_;
    used_ += (size_bytes + kAlignment - 1) / kAlignment * kAlignment;
    return address;
  }
  uint64_t used_bytes() const { return used_; }

 private:
  uint64_t base_ = 0, used_ = 0;
};

// One buffer of the step and its versions. Plain buffers are not tagged, so their writes are not counted. It may be
// written again without more ado: between the last read of a version and the next write lies a product or an attention
// that needs all of what every SM made of that version.
class TapeBuffer {
 public:
  TapeBuffer(Bump& slab, uint64_t size_bytes, uint32_t per_step)
      : last_{.address = slab.take(size_bytes), .per_step = per_step} {}
  BufferRef next() {
    if (last_.per_step > 0) ++last_.version;
    return last_;
  }
  const BufferRef& last() const { return last_; }

 private:
  BufferRef last_;
};

constexpr uint64_t kTagged16 = 4, kTagged32 = 8;

// Everything that travels between the stages of a step.
struct StepBuffers {
  TapeBuffer x, squares;    // input of a layer's first half (qkv) and of the head
  TapeBuffer z, z_squares;  // input of a layer's second half
  TapeBuffer qkv, attended, parts, scores, h, residual;
};

// ---- the tape ------------------------------------------------------------------------------------------------------

class Lowering {
 public:
  Lowering(const Plan& plan, uint32_t n_sms, const TapePlaces& places)
      : plan_(plan), places_(places), n_sms_(std::min(n_sms, tape::kMaxSms)), slab_(places.buffers) {}

  Tape run();

 private:
  enum Deal : uint32_t { kDealQkv, kDealResidual, kDealGateUp, kDealHead, kDealRouter, kDeals };

  void read_plan();
  void check_model();
  void check_cache();
  tape::IndexedRef cache_of(int32_t group, int32_t layer) const;
  void tie_cache(const AttendArgs& a, TapeStage& stage) const;
  void check_attention(const LayerStages& layer) const;
  void check_experts(const LayerStages& layer) const;
  void deal_all();
  std::vector<tape::DealShare> deal(uint32_t n_groups, uint32_t tiles_per_group, bool even,
                                    std::vector<uint32_t>& load) const;
  void place_buffers();

  const WeightSlot& slot(const Stage* stage) const { return plan_.weights[stage->weights[0]]; }
  uint64_t address(WeightId id) const {
    return id == kNone || places_.weights.empty() ? 0 : places_.weights[static_cast<size_t>(id)];
  }
  uint64_t gains(const Stage* norm) const { return norm == nullptr ? 0 : address(norm->weights[0]); }
  bool is_moe() const { return layers_[0].route != nullptr; }
  tape::ExpertArgs experts_of(const LayerStages& layer) const;
  uint32_t per_sm(uint32_t n_out) const { return ceil_div(ceil_div(n_out, kTileRows), n_sms_); }
  static uint32_t passes(uint32_t wanted, uint32_t n_slices);

  TapeStage product(const Stage* stage, tape::Epilogue epilogue, Deal deal, uint32_t pass_groups);
  TapeStage embed(const Stage* first_norm);
  TapeStage norm_qkv(const LayerStages& layer);
  TapeStage attend(const LayerStages& layer);
  TapeStage to_residual(const Stage* stage, const Stage* next_norm, const BufferRef& from, uint32_t pass_groups,
                        TapeBuffer& to, TapeBuffer& squares);
  TapeStage norm_router(const LayerStages& layer);
  TapeStage norm_gate_up(const LayerStages& layer);
  TapeStage norm_head();

  const Plan& plan_;
  const TapePlaces& places_;
  uint32_t n_sms_ = 0;
  tape::CacheForm rows_form_ = tape::CacheForm::bf16;
  Bump slab_;
  Tape tape_;
  const Stage *embed_ = nullptr, *final_norm_ = nullptr, *head_ = nullptr;
  std::vector<LayerStages> layers_;
  // Sizes, equal in all layers.
  uint32_t dim_ = 0, n_heads_ = 0, n_kv_heads_ = 0, qkv_rows_ = 0;
  tape::ExpertArgs experts_;
  uint32_t hidden_ = 0, top_k_ = 1, ffn_ = 0;  // columns of an MLP, MLPs that a step meets, all their columns
  std::optional<StepBuffers> b_;
};

void Lowering::read_plan() {
  StageReader reader(plan_);
  embed_ = reader.take<EmbedArgs>("the embedding", kNone, plan_.residual);
  require(std::get<EmbedArgs>(embed_->args).scale == 1.0f, "a scaled embedding");
  while (!reader.next_is<GatherArgs>()) layers_.push_back(take_layer(plan_, reader));
  const Stage* rows = reader.take<GatherArgs>("the rows of the head", plan_.residual);
  final_norm_ = reader.take_norm("the last norm", output(rows), kNone, plan_.dim);
  head_ = reader.take<LinearArgs>("the head", output(final_norm_), plan_.logits);
  require(reader.done(), "what follows the head");
  require(!layers_.empty(), "a model without layers");
}

void Lowering::check_model() {
  require(plan_.shard.size == 1 && !plan_.bidirectional && plan_.rope_switch == 0, "this kind of model");
  check_cache();
  require(dim_ % kTileRows == 0 && hidden_ % kTileRows == 0, "widths that are no multiples of 8");
  require(n_kv_heads_ > 0 && n_heads_ % n_kv_heads_ == 0 && n_heads_ / n_kv_heads_ <= 8,
          "more than 8 query heads per kv head");
  for (const LayerStages& layer : layers_) {
    check_attention(layer);
    const auto& act = std::get<ActArgs>(layer.act->args);
    require(act.act == Act::silu && act.gated && act.hidden == static_cast<int32_t>(hidden_), "this activation");
    check_experts(layer);
    for (const Stage* stage : {layer.out, layer.gate_up, layer.down})
      require(slot(stage).bias_parts.empty(), "biases but those of q, k and v");
  }
  require(slot(head_).bias_parts.empty(), "a bias of the head");
  require(slot(embed_).format == WeightFormat::plain(DType::bf16), "an embedding that is not bf16");
  require(n_sms_ >= n_kv_heads_, "a model as narrow as this");
}

void Lowering::check_experts(const LayerStages& layer) const {
  require((layer.route != nullptr) == is_moe(), "dense layers between layers of experts");
  if (layer.route == nullptr) return;
  const auto& r = std::get<RouteArgs>(layer.route->args);
  require((r.score == RouterScore::softmax || r.score == RouterScore::softmax_selected) && !r.correction &&
              r.groups == r.top_groups && slot(layer.router).bias_parts.empty(),
          "this router");
  require(experts_of(layer) == experts_, "layers that differ");
  require(top_k_ <= tape::kMaxChosen && experts_.n_experts <= tape::kMaxExperts, "as many experts");
  for (const Stage* stage : {layer.gate_up, layer.down}) {
    require(slot(stage).count == r.experts && slot(stage).bias_parts.empty(), "these experts");
  }
}

// One group of rows and, of packed caches, a group for each form of packed tiles.
void Lowering::check_cache() {
  int n_rows = 0;
  for (size_t g = 0; g < plan_.groups.size(); ++g) {
    const CacheNeeds& group = plan_.groups[g];
    const bool packed = group.policy.tiled();
    require(group.kind == CacheKind::full || group.kind == CacheKind::open, "windows, latents or states");
    if (!packed) {
      require(++n_rows == 1, "several groups of rows");
      tape_.rows_group = static_cast<int32_t>(g);
      continue;
    }
    require(!group.policy.trellis(), "a cache coded by a trellis");
    require(group.policy.open_int8, "a packed cache whose open tiles are not of int8");
    const size_t first = tape_.codec_groups.empty() ? g : static_cast<size_t>(tape_.codec_groups[0]);
    require(group.policy.seed == plan_.groups[first].policy.seed, "layers that are turned differently");
    require(group.head_bytes() <= int64_t{tape::kTileBytes}, "tiles of the cache as large as these");
    tape_.codec_groups.push_back(static_cast<int32_t>(g));
  }
  require(tape_.codec_groups.size() <= tape::kMaxCodecs, "as many forms of packed tiles as this");
  const KvPolicy& rows = plan_.groups[static_cast<size_t>(tape_.rows_group)].policy;
  const bool int8 = rows.k.codec == KvPolicy::Codec::int8_block && rows.v.codec == KvPolicy::Codec::int8_block;
  require(int8 || rows == KvPolicy::raw_of(DType::bf16), "this cache type");
  rows_form_ = int8 ? tape::CacheForm::int8 : tape::CacheForm::bf16;
}

void Lowering::check_attention(const LayerStages& layer) const {
  const auto& a = std::get<AttendArgs>(layer.attend->args);
  require(a.k_dim == tape::kHeadDim && a.v_dim == tape::kHeadDim && !a.v_in_k, "heads of another width than 128");
  require(a.causal && a.window == 0 && a.softcap == 0.0f && !a.sinks, "windows, soft caps or sinks");
  require(a.heads == static_cast<int32_t>(n_heads_) && a.kv_heads == static_cast<int32_t>(n_kv_heads_),
          "layers that differ");
  const auto check_rope = [&](const Stage* stage, int32_t heads, int32_t col) {
    const auto& r = std::get<RopeArgs>(stage->args);
    const bool plain = r.factors.switch_at == 0 && r.factors.beta == 0.0;
    require(plain && r.heads == heads && r.dims == tape::kHeadDim && r.in_stride == tape::kHeadDim &&
                r.out_stride == tape::kHeadDim && stage->reads[0].col == col && stage->writes[0].col == col &&
                slot(stage).values == slot(layer.q_rope).values &&
                r.factors.factor == std::get<RopeArgs>(layer.q_rope->args).factors.factor,
            "this rotation");
  };
  check_rope(layer.q_rope, a.heads, 0);
  check_rope(layer.k_rope, a.kv_heads, a.heads * tape::kHeadDim);
}

// Even: as many full rounds as there are, then one more group for the SMs with the least work so far. Otherwise each
// group goes to the SM with the least work so far. Which groups an SM gets follows from the counts: rounds, then a run
// of the rest.
std::vector<tape::DealShare> Lowering::deal(uint32_t n_groups, uint32_t tiles_per_group, bool even,
                                            std::vector<uint32_t>& load) const {
  const uint32_t n_full = even ? n_groups / n_sms_ : 0;
  std::vector<uint32_t> count(n_sms_, n_full);
  for (uint32_t& tiles : load) tiles += n_full * tiles_per_group;
  for (uint32_t g = n_full * n_sms_; g < n_groups; ++g) {
    size_t least = n_sms_;
    for (size_t sm = 0; sm < n_sms_; ++sm)
      if ((!even || count[sm] == n_full) && (least == n_sms_ || load[sm] < load[least])) least = sm;
    ++count[least];
    load[least] += tiles_per_group;
  }
  const uint32_t n_rounds = *std::ranges::min_element(count);
  uint32_t tail = n_rounds * n_sms_;
  std::vector<tape::DealShare> shares;
  for (const uint32_t n : count) {
    shares.push_back({.n_rounds = n_rounds, .n_tail = n - n_rounds, .first_tail = tail});
    tail += n - n_rounds;
  }
  return shares;
}

// How a layer's experts are chosen and lie; of a dense layer nothing.
tape::ExpertArgs Lowering::experts_of(const LayerStages& layer) const {
  if (layer.route == nullptr) return {};
  const auto& r = std::get<RouteArgs>(layer.route->args);
  return {.top_k = static_cast<uint32_t>(r.top_k),
          .n_experts = static_cast<uint32_t>(r.experts),
          .hidden = hidden_,
          .over_chosen = r.renormalize || r.score == RouterScore::softmax_selected,
          .scale = r.scale};
}

// o, down and embed share one owner per row. Every product is even in itself, so that no SM finishes it late; gate and
// up, with many small groups and a long time until the last of h is needed, even out what the others leave. Every SM
// takes part in qkv and gate/up: so none can be a layer ahead.
void Lowering::deal_all() {
  const uint32_t residual_tiles = slices(n_heads_ * tape::kHeadDim) + top_k_ * slices(hidden_);
  std::vector<uint32_t> load(n_sms_, 0), head_load(n_sms_, 0);
  std::vector<tape::DealShare> shares[kDeals];
  shares[kDealResidual] = deal(dim_ / kTileRows, residual_tiles, true, load);
  shares[kDealQkv] = deal(qkv_rows_ / kTileRows, slices(dim_), true, load);
  if (is_moe()) shares[kDealRouter] = deal(ceil_div(experts_.n_experts, kTileRows), slices(dim_), true, load);
  const auto idle = [](const tape::DealShare& share) { return share.n_rounds + share.n_tail == 0; };
  for (const bool even : {false, true}) {
    std::vector<uint32_t> sum = load;
    shares[kDealGateUp] = deal(2 * ffn_ / kTileRows, slices(dim_), even, sum);
    if (std::ranges::none_of(shares[kDealGateUp], idle)) break;
  }
  shares[kDealHead] = deal(ceil_div(static_cast<uint32_t>(plan_.vocab), kTileRows), slices(dim_), true, head_load);
  for (const auto& list : shares) tape_.deals.insert(tape_.deals.end(), list.begin(), list.end());
}

uint32_t Lowering::passes(uint32_t wanted, uint32_t n_slices) {
  const uint32_t limit = tape::kRegionFloats / (kTileRows * n_slices);
  require(limit > 0, "rows this wide");
  return std::clamp(wanted, 1u, limit);
}

void Lowering::place_buffers() {
  const auto n_layers = static_cast<uint32_t>(layers_.size()),
             n_splits = std::min(n_sms_ / n_kv_heads_, tape::kMaxSplits);
  const auto add = [&](uint64_t size_bytes, uint32_t per_step) { return TapeBuffer(slab_, size_bytes, per_step); };
  b_.emplace(StepBuffers{.x = add(kTagged16 * dim_, n_layers + 1),
                         .squares = add(kTagged32 * n_sms_, n_layers + 1),
                         .z = add(kTagged16 * dim_, n_layers),
                         .z_squares = add(kTagged32 * n_sms_, n_layers),
                         .qkv = add(kTagged16 * qkv_rows_, n_layers),
                         .attended = add(kTagged16 * n_heads_ * tape::kHeadDim, n_layers),
                         .parts = add(kTagged32 * n_heads_ * n_splits * tape::kPartWords, n_layers),
                         .scores = add(kTagged32 * experts_.n_experts, n_layers),
                         .h = add(kTagged16 * ffn_, n_layers),
                         .residual = add(4 * uint64_t{dim_}, 0)});
}

// A stack of experts counts as the matrix of those that a step meets.
TapeStage Lowering::product(const Stage* stage, tape::Epilogue epilogue, Deal deal, uint32_t pass_groups) {
  const WeightSlot& weight = slot(stage);
  const bool gated = epilogue == tape::Epilogue::silu_mul,
             stacked = std::holds_alternative<ExpertLinearArgs>(stage->args);
  const auto rows = static_cast<uint32_t>(weight.out), n_in = static_cast<uint32_t>(weight.in);
  const uint32_t parts = gated ? 2 : 1, down = stacked && !gated ? top_k_ : 1, up = stacked && gated ? top_k_ : 1;
  require(weight.format == WeightFormat::plain(DType::bf16), "weights that are not bf16");
  require(n_in % 8 == 0, "widths that are no multiples of 8");
  const bool few = per_sm(up * rows) * down * slices(n_in) < tape::kFewTiles;
  const uint32_t columns = few ? tape::kNarrowColumns : kTileColumns;
  if (few && epilogue != tape::Epilogue::add_residual) pass_groups = per_sm(up * rows);
  TapeStage out{.op = tape::Op::product};
  out.product = {.epilogue = epilogue,
                 .n_out = up * rows,
                 .n_in = down * n_in,
                 .columns = columns,
                 .n_groups = ceil_div(up * rows, kTileRows),
                 .deal = deal,
                 .pass_groups = passes(pass_groups, down * slices(n_in, columns))};
  if (stacked) out.experts = experts_;
  out.weights[kMatrix].address = places_.maps + tape_.matrices.size() * kMapBytes;
  out.cost.weight_bytes = static_cast<uint64_t>(stage->cost.weight_bytes);
  tape_.matrices.push_back({.weight = stage->weights[0],
                            .count = static_cast<uint32_t>(weight.count),
                            .parts = parts,
                            .rows = rows / parts,
                            .n_in = n_in,
                            .columns = columns});
  return out;
}

TapeStage Lowering::embed(const Stage* first_norm) {
  TapeStage stage{.op = tape::Op::embed};
  stage.product = {.n_out = dim_, .columns = kTileColumns, .n_groups = dim_ / kTileRows, .deal = kDealResidual};
  stage.weights[kMatrix].address = address(embed_->weights[0]);
  stage.weights[kNextNorm].address = gains(first_norm);
  stage.writes[kVector] = b_->x.next();
  stage.writes[kSquares] = b_->squares.next();
  stage.writes[kResidual] = b_->residual.next();
  stage.cost.weight_bytes = static_cast<uint64_t>(embed_->cost.weight_bytes);
  return stage;
}

TapeStage Lowering::norm_qkv(const LayerStages& layer) {
  TapeStage stage = product(layer.qkv, tape::Epilogue::store, kDealQkv, ceil_div(2 * per_sm(qkv_rows_), 5));
  stage.product.eps = std::get<NormArgs>(layer.pre->args).eps;
  if (!slot(layer.qkv).bias_parts.empty() && !places_.biases.empty())
    stage.weights[tape::kBias].address = places_.biases[static_cast<size_t>(layer.qkv->weights[0])];
  stage.reads[kVector] = b_->x.last();
  stage.reads[kSquares] = b_->squares.last();
  stage.writes[kVector] = b_->qkv.next();
  return stage;
}

tape::IndexedRef Lowering::cache_of(int32_t group, int32_t layer) const {
  const auto g = static_cast<size_t>(group);
  const auto block_bytes = static_cast<uint32_t>(plan_.groups[g].layer_block_bytes());
  if (places_.groups.empty()) return {.block_bytes = block_bytes};
  const uint64_t offset = static_cast<uint64_t>(layer) * places_.groups[g].layer_bytes;
  const uint32_t row_bytes = rows_form_ == tape::CacheForm::bf16 ? tape::kRowBytes : tape::kInt8RowBytes;
  return {.address = places_.groups[g].cache + offset,
          .first_row = static_cast<uint32_t>(offset / row_bytes),
          .block_bytes = block_bytes};
}

void Lowering::tie_cache(const AttendArgs& a, TapeStage& stage) const {
  const bool packed = a.open_group >= 0;
  stage.attend.form = packed ? tape::CacheForm::packed : rows_form_;
  stage.attend.group = static_cast<uint8_t>(packed ? a.open_group : a.group);
  stage.cache = packed ? cache_of(a.open_group, a.open_layer) : cache_of(a.group, a.layer);
  if (!packed) return;
  stage.attend.n_recent = plan_.groups[static_cast<size_t>(a.group)].policy.recent;
  stage.attend.packed_group = static_cast<uint8_t>(a.group);
  stage.attend.codec =
      static_cast<uint8_t>(std::ranges::find(tape_.codec_groups, a.group) - tape_.codec_groups.begin());
  stage.packed = cache_of(a.group, a.layer);
}

TapeStage Lowering::attend(const LayerStages& layer) {
  const auto& a = std::get<AttendArgs>(layer.attend->args);
  TapeStage stage{.op = tape::Op::attend};
  stage.attend = {.n_heads = n_heads_,
                  .n_kv_heads = n_kv_heads_,
                  .n_splits = std::min(n_sms_ / n_kv_heads_, tape::kMaxSplits),
                  .eps = layer.q_norm == nullptr ? 0.0f : std::get<NormArgs>(layer.q_norm->args).eps,
                  .scale_log2 = a.scale * std::numbers::log2e_v<float>,
                  .rope_factor = static_cast<float>(std::get<RopeArgs>(layer.q_rope->args).factors.factor)};
  stage.weights[kQNorm].address = gains(layer.q_norm);
  stage.weights[kKNorm].address = gains(layer.k_norm);
  stage.weights[kRope].address = address(layer.q_rope->weights[0]);
  tie_cache(a, stage);
  stage.reads[kVector] = b_->qkv.last();
  stage.writes[kVector] = b_->attended.next();
  stage.writes[kParts] = b_->parts.next();
  stage.cost.bytes_per_token = static_cast<uint32_t>(layer.attend->cost.cache_bytes_per_token);
  return stage;
}

// o or down: adds to the residual and leaves the vector and squares that the next norm needs.
TapeStage Lowering::to_residual(const Stage* stage, const Stage* next_norm, const BufferRef& from, uint32_t pass_groups,
                                TapeBuffer& to, TapeBuffer& squares) {
  TapeStage out =
      product(stage, tape::Epilogue::add_residual, kDealResidual, std::min(pass_groups, tape::kResidualGroups));
  out.weights[kNextNorm].address = gains(next_norm);
  out.reads[kVector] = from;
  out.reads[kResidual] = b_->residual.last();
  out.writes[kVector] = to.next();
  out.writes[kSquares] = squares.next();
  out.writes[kResidual] = b_->residual.next();
  return out;
}

// Scores of the experts; as f32, since a choice hangs on them.
TapeStage Lowering::norm_router(const LayerStages& layer) {
  TapeStage stage = product(layer.router, tape::Epilogue::scores, kDealRouter, tape::kRegionFloats);
  stage.product.eps = std::get<NormArgs>(layer.ffn_pre->args).eps;
  stage.reads[kVector] = b_->z.last();
  stage.reads[kSquares] = b_->z_squares.last();
  stage.writes[kVector] = b_->scores.next();
  return stage;
}

TapeStage Lowering::norm_gate_up(const LayerStages& layer) {
  TapeStage stage = product(layer.gate_up, tape::Epilogue::silu_mul, kDealGateUp, ceil_div(per_sm(2 * ffn_), 4));
  stage.product.eps = std::get<NormArgs>(layer.ffn_pre->args).eps;
  stage.reads[kVector] = b_->z.last();
  stage.reads[kSquares] = b_->z_squares.last();
  if (is_moe()) stage.reads[kScores] = b_->scores.last();
  stage.writes[kVector] = b_->h.next();
  return stage;
}

TapeStage Lowering::norm_head() {
  TapeStage stage = product(head_, tape::Epilogue::logits, kDealHead, tape::kRegionFloats);
  stage.product.eps = std::get<NormArgs>(final_norm_->args).eps;
  stage.reads[kVector] = b_->x.last();
  stage.reads[kSquares] = b_->squares.last();
  stage.writes[kVector] = {.address = places_.logits};
  return stage;
}

Tape Lowering::run() {
  read_plan();
  const auto& attend_args = std::get<AttendArgs>(layers_[0].attend->args);
  dim_ = static_cast<uint32_t>(plan_.dim);
  n_heads_ = static_cast<uint32_t>(attend_args.heads);
  n_kv_heads_ = static_cast<uint32_t>(attend_args.kv_heads);
  qkv_rows_ = (n_heads_ + 2 * n_kv_heads_) * tape::kHeadDim;
  hidden_ = static_cast<uint32_t>(slot(layers_[0].down).in);
  experts_ = experts_of(layers_[0]);
  if (is_moe()) top_k_ = experts_.top_k;
  ffn_ = top_k_ * hidden_;
  n_sms_ = std::min({n_sms_, qkv_rows_ / kTileRows, 2 * ffn_ / kTileRows});  // each has a part of these
  tape_.n_sms = n_sms_;
  check_model();
  deal_all();
  place_buffers();
  // All but the last group of an SM in one pass: the last, small one ends soon after the others have been published.
  // Experts' columns come one expert after another, for all groups at once.
  const uint32_t down_groups = is_moe() ? per_sm(dim_) : std::max(2u, per_sm(dim_)) - 1;
  const auto add = [&](size_t layer, TapeStage stage) {
    stage.layer = static_cast<uint16_t>(layer);
    tape_.stages.push_back(stage);
  };
  add(0, embed(layers_[0].pre));
  for (size_t l = 0; l < layers_.size(); ++l) {
    const LayerStages& layer = layers_[l];
    const Stage* next = l + 1 < layers_.size() ? layers_[l + 1].pre : final_norm_;
    add(l, norm_qkv(layer));
    add(l, attend(layer));
    add(l, to_residual(layer.out, layer.ffn_pre, b_->attended.last(), 1, b_->z, b_->z_squares));
    if (is_moe()) add(l, norm_router(layer));
    add(l, norm_gate_up(layer));
    add(l, to_residual(layer.down, next, b_->h.last(), down_groups, b_->x, b_->squares));
  }
  add(layers_.size(), norm_head());
  if (tape_.stages.size() < tape::kMinStages) refuse("the model has too few layers");
  tape_.buffer_bytes = slab_.used_bytes();
  return std::move(tape_);
}

}  // namespace

Tape lower_tape(const Plan& plan, uint32_t n_sms, const TapePlaces& places) {
  return Lowering(plan, n_sms, places).run();
}

}  // namespace arc
