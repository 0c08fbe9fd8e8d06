// Lowering of one decoder shape to a tape: tensors and buffers placed, row groups dealt, versions numbered.
#include "build_tape.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>

namespace arc::tape {
namespace {

uint32_t ceil_div(uint32_t a, uint32_t b) {
  return (a + b - 1) / b;
}

// Hands out addresses of a slab, front to back.
class Bump {
 public:
  Bump(uint64_t base, uint64_t alignment) : base_(base), alignment_(alignment) {}
  uint64_t take(uint64_t size_bytes) {
    const uint64_t address = base_ + used_;
    used_ += (size_bytes + alignment_ - 1) / alignment_ * alignment_;
    return address;
  }
  uint64_t used_bytes() const { return used_; }

 private:
  uint64_t base_ = 0, alignment_ = 0, used_ = 0;
};

// One buffer of the step and its versions. Plain buffers are not tagged, so their writes are not counted.
class Buffer {
 public:
  Buffer(Bump& slab, uint64_t size_bytes, uint32_t per_step, bool reuse)
      : slab_(slab), size_bytes_(size_bytes), per_step_(per_step), reuse_(reuse) {}
  BufferRef next() {
    if (!reuse_ || last_.address == 0) last_.address = slab_.take(size_bytes_);
    if (per_step_ > 0) last_.version = reuse_ ? last_.version + 1 : 1;
    last_.per_step = reuse_ ? per_step_ : std::min(per_step_, 1u);
    return last_;
  }
  const BufferRef& last() const { return last_; }

 private:
  Bump& slab_;
  uint64_t size_bytes_ = 0;
  uint32_t per_step_ = 0;
  bool reuse_ = true;
  BufferRef last_;
};

uint64_t tagged16_bytes(uint64_t n) {
  return 4 * n;
}
uint64_t tagged32_bytes(uint64_t n) {
  return 8 * n;
}

// Everything that travels between the stages of a step.
struct StepBuffers {
  Buffer x, squares;    // input of a layer's first half (qkv) and of the head
  Buffer z, z_squares;  // input of a layer's second half
  Buffer qkv, attended, parts, h, residual, candidates;
};

class Builder {
 public:
  Builder(const Shape& shape, const BuildOptions& options, const Slabs& slabs)
      : s_(shape),
        o_(options),
        weights_(slabs.weights, options.alignment),
        cache_(slabs.cache, options.alignment),
        buffers_(slabs.buffers, 1024) {
    tape_.shape = shape;
    tape_.options = options;
  }

  Tape build();

 private:
  enum Deal : uint32_t { kDealQkv, kDealResidual, kDealGateUp, kDealHead };

  void check() const;
  void deal_all();
  void deal(uint32_t n_groups, uint32_t tiles_per_group, bool even, std::vector<uint32_t>& load);
  uint64_t tensor(TensorInfo::Kind kind, uint32_t n_rows, uint32_t n_columns, float amplitude);
  uint64_t gains(uint32_t n) { return tensor(TensorInfo::Kind::gains, 1, n, 0.2f); }
  TapeStage product(Epilogue epilogue, uint32_t n_out, uint32_t n_in, Deal deal, uint32_t pass_groups, float gain);
  uint32_t passes(uint32_t asked, uint32_t otherwise, uint32_t n_in) const;
  void place_buffers();
  IndexedRef place_cache();
  TapeStage embed();
  TapeStage norm_qkv();
  TapeStage attend();
  TapeStage to_residual(const BufferRef& from, uint32_t n_in, uint32_t pass_groups, Buffer& to, Buffer& squares);
  TapeStage norm_gate_up();
  TapeStage norm_head();
  TapeStage argmax();

  uint32_t qkv_rows() const { return (s_.n_heads + 2 * s_.n_kv_heads) * kHeadDim; }
  uint32_t n_splits() const { return std::min(o_.n_sms / s_.n_kv_heads, kMaxSplits); }
  uint32_t per_sm(uint32_t n_out) const { return ceil_div(ceil_div(n_out, kTileRows), o_.n_sms); }
  static uint32_t slices(uint32_t n_in) { return ceil_div(n_in, kTileColumns); }

  Shape s_;
  BuildOptions o_;
  Bump weights_, cache_, buffers_;
  std::optional<StepBuffers> b_;
  Tape tape_;
  uint64_t rope_ = 0;
};

void Builder::check() const {
  const auto require = [](bool ok, const char* what) {
    if (!ok) throw std::invalid_argument(what);
  };
  require(s_.dim % 256 == 0 && s_.ffn % 256 == 0, "dim and ffn must be multiples of 256");
  require(s_.n_heads % s_.n_kv_heads == 0 && s_.n_heads / s_.n_kv_heads <= 8, "1 to 8 query heads per kv head");
  require(o_.n_sms >= s_.n_kv_heads && o_.n_sms <= 160, "as many SMs as kv heads, and at most 160");
  require(o_.block_tokens % kGranuleTokens == 0 && o_.max_tokens % o_.block_tokens == 0, "whole blocks of granules");
}

// Even: as many full rounds as there are, then one more group for the SMs with the least work so far. Otherwise each
// group goes to the SM with the least work so far. Which groups an SM gets follows from the counts: rounds, then a run
// of the rest.
void Builder::deal(uint32_t n_groups, uint32_t tiles_per_group, bool even, std::vector<uint32_t>& load) {
  const uint32_t n_full = even ? n_groups / o_.n_sms : 0;
  std::vector<uint32_t> count(o_.n_sms, n_full);
  for (uint32_t& tiles : load) tiles += n_full * tiles_per_group;
  for (uint32_t g = n_full * o_.n_sms; g < n_groups; ++g) {
    size_t least = o_.n_sms;
    for (size_t sm = 0; sm < o_.n_sms; ++sm)
      if ((!even || count[sm] == n_full) && (least == o_.n_sms || load[sm] < load[least])) least = sm;
    ++count[least];
    load[least] += tiles_per_group;
  }
  const uint32_t n_rounds = *std::min_element(count.begin(), count.end());
  uint32_t tail = n_rounds * o_.n_sms;
  for (uint32_t n : count) {
    tape_.deals.push_back({.n_rounds = n_rounds, .n_tail = n - n_rounds, .first_tail = tail});
    tail += n - n_rounds;
  }
}

// o, down and embed share one owner per row. Every product is even in itself, so that no SM finishes it late; gate and
// up, with many small groups and a long time until the last of h is needed, even out what the others leave.
void Builder::deal_all() {
  const uint32_t residual_tiles = slices(s_.n_heads * kHeadDim) + slices(s_.ffn);
  std::vector<uint32_t> load(o_.n_sms, 0), head_load(o_.n_sms, 0);
  std::vector<DealShare> in_order[3];
  const auto take = [&](std::vector<DealShare>& to) {
    to.swap(tape_.deals);
    tape_.deals.clear();
  };
  deal(s_.dim / kTileRows, residual_tiles, true, load);
  take(in_order[kDealResidual]);
  deal(qkv_rows() / kTileRows, slices(s_.dim), true, load);
  take(in_order[kDealQkv]);
  deal(2 * s_.ffn / kTileRows, slices(s_.dim), false, load);
  take(in_order[kDealGateUp]);
  for (const auto& shares : in_order) tape_.deals.insert(tape_.deals.end(), shares.begin(), shares.end());
  deal(ceil_div(s_.vocab, kTileRows), slices(s_.dim), true, head_load);
}

uint64_t Builder::tensor(TensorInfo::Kind kind, uint32_t n_rows, uint32_t n_columns, float amplitude) {
  const uint64_t padded_rows = kind == TensorInfo::Kind::packed ? ceil_div(n_rows, kTileRows) * kTileRows : n_rows;
  const uint64_t element = kind == TensorInfo::Kind::gains ? 4 : kind == TensorInfo::Kind::rope ? 8 : 2;
  const uint64_t address = weights_.take(padded_rows * n_columns * element);
  tape_.tensors.push_back({.kind = kind,
                           .address = address,
                           .n_rows = n_rows,
                           .n_columns = n_columns,
                           .seed = uint32_t(tape_.tensors.size()) + 1,
                           .amplitude = amplitude});
  return address;
}

uint32_t Builder::passes(uint32_t asked, uint32_t otherwise, uint32_t n_in) const {
  const uint32_t limit = kRegionFloats / (kTileRows * slices(n_in));
  if (limit == 0) throw std::invalid_argument("a row has more column slices than an SM can hold sums of");
  return std::clamp(asked ? asked : otherwise, 1u, limit);
}

TapeStage Builder::product(Epilogue epilogue, uint32_t n_out, uint32_t n_in, Deal deal, uint32_t pass_groups,
                           float gain) {
  TapeStage stage{.op = Op::product};
  stage.product = {.epilogue = epilogue,
                   .n_out = n_out,
                   .n_in = n_in,
                   .n_groups = ceil_div(n_out, kTileRows),
                   .deal = deal,
                   .pass_groups = pass_groups,
                   .eps = s_.eps};
  stage.weights[kMatrix].address = tensor(TensorInfo::Kind::packed, n_out, n_in, gain * std::sqrt(3.0f / float(n_in)));
  stage.cost.weight_bytes = uint64_t(n_out) * n_in * 2;
  return stage;
}

void Builder::place_buffers() {
  const uint32_t n_layers = s_.n_layers, n_sms = o_.n_sms;
  const auto add = [&](uint64_t size_bytes, uint32_t per_step) {
    return Buffer(buffers_, size_bytes, per_step, o_.reuse_buffers);
  };
  tape_.block_table = buffers_.take(4 * o_.max_tokens / o_.block_tokens);
  rope_ = tensor(TensorInfo::Kind::rope, o_.max_tokens, kHeadDim / 2, s_.rope_theta);
  b_.emplace(StepBuffers{
      .x = add(tagged16_bytes(s_.dim), n_layers + 1),
      .squares = add(tagged32_bytes(n_sms), n_layers + 1),
      .z = add(tagged16_bytes(s_.dim), n_layers),
      .z_squares = add(tagged32_bytes(n_sms), n_layers),
      .qkv = add(tagged16_bytes(qkv_rows()), n_layers),
      .attended = add(tagged16_bytes(s_.n_heads * kHeadDim), n_layers),
      .parts = add(tagged32_bytes(uint64_t(s_.n_heads) * n_splits() * kPartWords), n_layers),
      .h = add(tagged16_bytes(s_.ffn), n_layers),
      .residual = add(4 * uint64_t(s_.dim), 0),
      .candidates = add(tagged32_bytes(2 * n_sms), 1),
  });
}

IndexedRef Builder::place_cache() {
  const uint32_t head_bytes = o_.block_tokens * kRowBytes * 2, block_bytes = s_.n_kv_heads * head_bytes;
  return {.address = cache_.take(uint64_t(o_.max_tokens / o_.block_tokens) * block_bytes),
          .table = tape_.block_table,
          .block_bytes = block_bytes,
          .head_bytes = head_bytes};
}

TapeStage Builder::embed() {
  TapeStage stage{.op = Op::embed};
  stage.product = {.n_out = s_.dim, .n_groups = s_.dim / kTileRows, .deal = kDealResidual};
  stage.weights[kMatrix].address = tensor(TensorInfo::Kind::rows, s_.vocab, s_.dim, 1.73f);
  stage.weights[kNextNorm].address = gains(s_.dim);
  stage.writes[kVector] = b_->x.next();
  stage.writes[kSquares] = b_->squares.next();
  stage.writes[kResidual] = b_->residual.next();
  stage.cost.weight_bytes = 2 * s_.dim;
  return stage;
}

TapeStage Builder::norm_qkv() {
  const uint32_t otherwise = ceil_div(2 * per_sm(qkv_rows()), 5);
  TapeStage stage =
      product(Epilogue::store, qkv_rows(), s_.dim, kDealQkv, passes(o_.pass_groups.qkv, otherwise, s_.dim), 0.7f);
  stage.reads[kVector] = b_->x.last();
  stage.reads[kSquares] = b_->squares.last();
  stage.writes[kVector] = b_->qkv.next();
  return stage;
}

TapeStage Builder::attend() {
  TapeStage stage{.op = Op::attend};
  stage.attend = {.n_heads = s_.n_heads,
                  .n_kv_heads = s_.n_kv_heads,
                  .n_splits = n_splits(),
                  .block_tokens = o_.block_tokens,
                  .eps = s_.eps,
                  .scale_log2 = std::log2(std::exp(1.0f)) / std::sqrt(float(kHeadDim))};
  stage.weights[kQNorm].address = gains(kHeadDim);
  stage.weights[kKNorm].address = gains(kHeadDim);
  stage.weights[kRope].address = rope_;
  stage.cache = place_cache();
  stage.reads[kVector] = b_->qkv.last();
  stage.writes[kVector] = b_->attended.next();
  stage.writes[kParts] = b_->parts.next();
  stage.cost.bytes_per_token = 2 * s_.n_kv_heads * kRowBytes;
  ++tape_.n_attends;
  return stage;
}

// o or down: adds to the residual and leaves the vector and squares that the next norm needs.
TapeStage Builder::to_residual(const BufferRef& from, uint32_t n_in, uint32_t pass_groups, Buffer& to,
                               Buffer& squares) {
  TapeStage stage = product(Epilogue::add_residual, s_.dim, n_in, kDealResidual,
                            std::min(passes(pass_groups, 1, n_in), kResidualGroups), 0.7f);
  stage.weights[kNextNorm].address = gains(s_.dim);
  stage.reads[kVector] = from;
  stage.reads[kResidual] = b_->residual.last();
  stage.writes[kVector] = to.next();
  stage.writes[kSquares] = squares.next();
  stage.writes[kResidual] = b_->residual.next();
  return stage;
}

TapeStage Builder::norm_gate_up() {
  const uint32_t otherwise = ceil_div(per_sm(2 * s_.ffn), 4);
  TapeStage stage = product(Epilogue::silu_mul, 2 * s_.ffn, s_.dim, kDealGateUp,
                            passes(o_.pass_groups.gate_up, otherwise, s_.dim), 0.7f);
  stage.reads[kVector] = b_->z.last();
  stage.reads[kSquares] = b_->z_squares.last();
  stage.writes[kVector] = b_->h.next();
  return stage;
}

TapeStage Builder::norm_head() {
  TapeStage stage = product(Epilogue::keep_best, s_.vocab, s_.dim, kDealHead,
                            passes(o_.pass_groups.head, kRegionFloats, s_.dim), 1.0f);
  stage.reads[kVector] = b_->x.last();
  stage.reads[kSquares] = b_->squares.last();
  if (o_.keep_logits) stage.writes[kVector] = {.address = buffers_.take(4 * uint64_t(s_.vocab))};
  stage.writes[kCandidates] = b_->candidates.next();
  return stage;
}

TapeStage Builder::argmax() {
  TapeStage stage{.op = Op::argmax};
  stage.reads[kCandidates] = b_->candidates.last();
  return stage;
}

Tape Builder::build() {
  check();
  deal_all();
  place_buffers();
  const PassGroups& p = o_.pass_groups;
  // All but the last group of an SM in one pass: the last, small one ends soon after the others have been published.
  const uint32_t down_groups = p.down ? p.down : std::max(2u, per_sm(s_.dim)) - 1;
  const auto add = [&](uint32_t layer, TapeStage stage) {
    stage.layer = uint16_t(layer);
    tape_.stages.push_back(stage);
  };
  add(0, embed());
  for (uint32_t l = 0; l < s_.n_layers; ++l) {
    add(l, norm_qkv());
    add(l, attend());
    add(l, to_residual(b_->attended.last(), s_.n_heads * kHeadDim, p.out, b_->z, b_->z_squares));
    add(l, norm_gate_up());
    add(l, to_residual(b_->h.last(), s_.ffn, down_groups, b_->x, b_->squares));
  }
  add(s_.n_layers, norm_head());
  add(s_.n_layers, argmax());
  tape_.slab_bytes = {weights_.used_bytes(), cache_.used_bytes(), buffers_.used_bytes()};
  return std::move(tape_);
}

}  // namespace

Tape build_tape(const Shape& shape, const BuildOptions& options, const Slabs& slabs) {
  return Builder(shape, options, slabs).build();
}

double bytes_per_step(const Tape& tape, uint32_t n_context) {
  double bytes = 0;
  for (const TapeStage& stage : tape.stages)
    bytes += double(stage.cost.weight_bytes) + double(stage.cost.bytes_per_token) * n_context;
  return bytes;
}

}  // namespace arc::tape
