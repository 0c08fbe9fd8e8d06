#include "plan/builder.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "base/check.h"
#include "base/error.h"
#include "spec/rope.h"

namespace arc {
namespace {

// What rows of blocks become where they cannot stay as they are; `width`: elements of a row.
WeightFormat requantised(int64_t width) {
  constexpr BlockCode kCode = BlockCode::q8_0;
  return width % block_code_info(kCode).elements == 0 ? WeightFormat::blocks(kCode) : WeightFormat::plain(DType::f32);
}

bool is_plain(const WeightFormat& format) {
  return format.code == BlockCode::none;
}

// A format for rows of both: the one they share, or for plain ones a type that holds both without loss.
WeightFormat common_format(const WeightFormat& a, const WeightFormat& b, int64_t width) {
  if (a == b) return a;
  return is_plain(a) && is_plain(b) ? WeightFormat::plain(DType::f32) : requantised(width);
}

int32_t total_rows(const std::vector<RowRange>& rows) {
  int32_t n = 0;
  for (const RowRange& r : rows) n += r.count;
  return n;
}

// The checkpoint's shape without axes of size 1 must be the expected one without them.
void check_shape(const SlotTensor& tensor, std::initializer_list<int64_t> expected) {
  if (!tensor.shape) return;
  const auto squeeze = [](std::span<const int64_t> dims) {
    std::vector<int64_t> kept;
    std::ranges::copy_if(dims, std::back_inserter(kept), [](int64_t d) { return d != 1; });
    return kept;
  };
  if (squeeze(tensor.shape->dims()) != squeeze({expected.begin(), expected.size()})) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("tensor {} has shape {} where config.json asks for {}", tensor.name,
                            tensor.shape->to_string(), Shape(expected).to_string()));
  }
}

std::string bias_name(const std::string& weight) {
  constexpr std::string_view kSuffix = ".weight", kBlocks = "_blocks";
  if (weight.ends_with(kSuffix)) return weight.substr(0, weight.size() - kSuffix.size()) + ".bias";
  return (weight.ends_with(kBlocks) ? weight.substr(0, weight.size() - kBlocks.size()) : weight) + "_bias";
}

}  // namespace

PlanBuilder::PlanBuilder(const ModelSpec& spec, const SlotResolver& slots, const LowerOptions& options)
    : spec_(spec), slots_(slots), options_(options) {
  plan_.arch = spec.arch;
  plan_.vocab = spec.vocab;
  plan_.dim = spec.dim;
  plan_.max_positions = spec.max_positions;
  plan_.bidirectional = is_bidirectional(spec);
  plan_.shard = options.shard;
}

RowRange PlanBuilder::part(int32_t total, std::string_view what) const {
  const Shard& shard = options_.shard;
  if (total % shard.size != 0) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{} {} cannot be dealt out to {} ranks; use a tensor-parallel size that divides them",
                            total, what, shard.size));
  }
  const int32_t count = total / shard.size;
  return {.begin = shard.rank * count, .count = count};
}

BufferRef PlanBuilder::buffer(std::string_view name, int32_t cols, DType dtype, Buffer::Rows rows) {
  std::vector<Buffer>& buffers = plan_.buffers;
  const auto found = std::ranges::find_if(buffers, [&](const Buffer& b) { return b.name == name && b.cols == cols; });
  const auto id = static_cast<BufferId>(found - buffers.begin());
  if (found == buffers.end())
    buffers.push_back({.name = std::string(name), .rows = rows, .dtype = dtype, .cols = cols});
  return {.buffer = id, .cols = cols};
}

BufferRef PlanBuilder::slice(BufferRef whole, int32_t col, int32_t cols) {
  ARC_CHECK(col + cols <= whole.cols) << col << " + " << cols << " of " << whole.cols;
  return {.buffer = whole.buffer, .col = whole.col + col, .cols = cols};
}

std::string PlanBuilder::weight_name(std::string_view name) const {
  return layer_ < 0 ? std::string(name) : fmt::format("layers.{}.{}", layer_, name);
}

std::optional<TensorLayout> PlanBuilder::layout(std::string_view slot, int expert) const {
  const std::optional<SlotTensor> tensor = slots_.find(slot, layer_, expert, false);
  return tensor ? std::optional(tensor->layout) : std::nullopt;
}

void PlanBuilder::add_bias(WeightSlot& weight, const Piece& piece, const SlotTensor& tensor, int64_t index, int64_t row,
                           bool here) {
  if (!here) return;
  WeightPart& part = weight.bias_parts.emplace_back();
  part.tensor = bias_name(tensor.name);
  part.source_out = piece.slot_rows;
  part.stack_index = tensor.layout.stacked ? piece.expert : -1;
  part.rows = piece.rows;
  part.cols = 1;
  part.index = index;
  part.row = row;
}

// Weights are kept as the checkpoint stores them, except that f64 becomes f32, and blocks are requantised where kernels
// do not read their code or where the weight does not have them whole.
WeightFormat PlanBuilder::format_of(const Piece& piece, const MatrixOptions& options, bool turn) const {
  const SlotTensor tensor = *slots_.find(piece.slot, layer_, piece.expert, true);
  if (tensor.scales) {
    const int64_t cols = options.cols.count > 0 ? options.cols.count : options.slot_cols;
    return requantised(turn ? total_rows(piece.rows) : cols);
  }
  if (tensor.code == BlockCode::none) {
    if (!is_floating(tensor.dtype)) {
      throw Error(ErrorCode::unsupported, fmt::format("tensor {} holds {}, where a floating-point weight is needed",
                                                      tensor.name, dtype_name(tensor.dtype)));
    }
    return WeightFormat::plain(tensor.dtype == DType::f64 ? DType::f32 : tensor.dtype);
  }
  const BlockCodeInfo& info = block_code_info(tensor.code);
  const int64_t cols = options.cols.count > 0 ? options.cols.count : options.slot_cols;
  const bool whole = !turn && options.cols.begin % info.elements == 0 && cols % info.elements == 0;
  if (whole && info.runs_packed) return WeightFormat::blocks(tensor.code);
  return requantised(turn ? total_rows(piece.rows) : cols);
}

bool PlanBuilder::one_format(std::span<const Piece> pieces, const MatrixOptions& options) const {
  const WeightFormat first = format_of(pieces.front(), options, false);
  return std::ranges::all_of(pieces, [&](const Piece& piece) {
    const WeightFormat format = format_of(piece, options, false);
    return format == first || (is_plain(format) && is_plain(first));
  });
}

// Appends the piece's rows at `row` of matrix `index`; gives the number of rows.
int64_t PlanBuilder::add_piece(WeightSlot& weight, const Piece& piece, const MatrixOptions& options, int64_t index,
                               int64_t row, bool turn) {
  Piece filled = piece;
  if (filled.rows.empty()) filled.rows = {{.begin = 0, .count = static_cast<int32_t>(piece.slot_rows)}};
  const std::optional<SlotTensor> tensor = slots_.find(piece.slot, layer_, piece.expert, true);
  const int64_t out = piece.slot_rows, in = options.slot_cols;
  const int64_t first = tensor->layout.transposed ? in : out, second = tensor->layout.transposed ? out : in;
  if (tensor->layout.stacked) {
    const int64_t stack = piece.stack > 0 ? piece.stack : std::get<MoeSpec>(spec_.layers[layer_].ffn).router.experts;
    check_shape(*tensor, {stack, first, second});
  } else {
    check_shape(*tensor, {first, second});
  }
  const int64_t cols = options.cols.count > 0 ? options.cols.count : in;
  const WeightFormat format = format_of(filled, options, turn);
  weight.format =
      weight.parts.empty() ? format : common_format(weight.format, format, turn ? total_rows(filled.rows) : cols);
  weight.parts.push_back({.tensor = tensor->name,
                          .source_out = out,
                          .source_in = in,
                          .scales = tensor->scales,
                          .stack_index = tensor->layout.stacked ? piece.expert : -1,
                          .stored_transposed = tensor->layout.transposed,
                          .turn = turn,
                          .rows = filled.rows,
                          .col_begin = options.cols.begin,
                          .cols = static_cast<int32_t>(cols),
                          .index = index,
                          .row = row});
  if (options.bias) add_bias(weight, filled, *tensor, index, row, options.bias_here);
  return total_rows(filled.rows);
}

WeightId PlanBuilder::add_matrices(std::string_view name, int64_t count,
                                   const std::function<std::vector<Piece>(int64_t)>& pieces,
                                   const MatrixOptions& options, bool turn) {
  WeightSlot weight{.name = weight_name(name), .count = count};
  int64_t rows = 0;
  for (int64_t i = 0; i < count; ++i) {
    rows = 0;
    for (const Piece& piece : pieces(i)) rows += add_piece(weight, piece, options, i, turn ? 0 : rows, turn);
  }
  const int64_t cols = options.cols.count > 0 ? options.cols.count : options.slot_cols;
  weight.out = turn ? cols : rows;
  weight.in = turn ? rows : cols;
  plan_.weights.push_back(std::move(weight));
  return static_cast<WeightId>(plan_.weights.size() - 1);
}

WeightId PlanBuilder::matrix(std::string_view name, const std::vector<Piece>& pieces, const MatrixOptions& options) {
  return add_matrices(name, 1, [&](int64_t) { return pieces; }, options, false);
}

void PlanBuilder::linear(std::string_view name, const std::vector<Piece>& pieces, const MatrixOptions& options,
                         BufferRef x, BufferRef y) {
  const std::span<const Piece> all(pieces);
  int32_t col = 0;
  for (size_t first = 0, n = 0; first < all.size(); first += n) {
    for (n = 1; first + n < all.size() && one_format(all.subspan(first, n + 1), options);) ++n;
    const std::string part = n == all.size() ? std::string(name) : fmt::format("{}.{}", name, first);
    const WeightId weight = matrix(part, {all.begin() + first, all.begin() + first + n}, options);
    const auto out = static_cast<int32_t>(plan_.weights[weight].out);
    emit(LinearArgs{}, {weight}, {x}, {slice(y, col, out)});
    col += out;
  }
}

WeightId PlanBuilder::matrices(std::string_view name, int64_t count,
                               const std::function<std::vector<Piece>(int64_t)>& pieces, const MatrixOptions& options) {
  return add_matrices(name, count, pieces, options, false);
}

WeightId PlanBuilder::turned_matrices(std::string_view name, int64_t count,
                                      const std::function<std::vector<Piece>(int64_t)>& pieces,
                                      const MatrixOptions& options) {
  return add_matrices(name, count, pieces, options, true);
}

WeightId PlanBuilder::vector(std::string_view slot, int64_t slot_size, std::vector<RowRange> rows, float add) {
  const std::optional<SlotTensor> tensor = slots_.find(slot, layer_, -1, true);
  // Some files cut a vector into rows.
  if (tensor->shape && tensor->shape->numel() != slot_size) check_shape(*tensor, {slot_size});
  if (rows.empty()) rows = {{.begin = 0, .count = static_cast<int32_t>(slot_size)}};
  WeightSlot weight{.name = weight_name(slot),
                    .role = WeightSlot::Role::vector,
                    .format = WeightFormat::plain(DType::f32),
                    .out = 1,
                    .in = total_rows(rows),
                    .add = add,
                    .negative_exp = tensor->layout.negative_exp};
  weight.parts.push_back({.tensor = tensor->name, .source_out = slot_size, .rows = std::move(rows), .cols = 1});
  plan_.weights.push_back(std::move(weight));
  return static_cast<WeightId>(plan_.weights.size() - 1);
}

// Equal constants are shared: all layers of a model usually rotate alike.
WeightId PlanBuilder::constant(std::string_view name, std::vector<double> values) {
  for (size_t i = 0; i < plan_.weights.size(); ++i) {
    if (plan_.weights[i].role == WeightSlot::Role::constant && plan_.weights[i].values == values)
      return static_cast<WeightId>(i);
  }
  const auto size = static_cast<int64_t>(values.size());
  plan_.weights.push_back({.name = std::string(name),
                           .role = WeightSlot::Role::constant,
                           .format = WeightFormat::plain(DType::f64),
                           .out = 1,
                           .in = size,
                           .values = std::move(values)});
  return static_cast<WeightId>(plan_.weights.size() - 1);
}

void PlanBuilder::emit(const Args& args, std::initializer_list<WeightId> weights,
                       std::initializer_list<BufferRef> reads, std::initializer_list<BufferRef> writes) {
  Stage stage{.args = args, .layer = layer_, .indexed_weight = std::holds_alternative<ExpertLinearArgs>(args)};
  if (options_.kernels != nullptr) stage.launch = (*options_.kernels)[args.index()];
  ARC_CHECK(weights.size() <= std::size(stage.weights) && reads.size() <= std::size(stage.reads) &&
            writes.size() <= std::size(stage.writes));
  std::ranges::copy(weights, stage.weights);
  std::ranges::copy(reads, stage.reads);
  std::ranges::copy(writes, stage.writes);
  for (BufferRef& read : stage.reads) {
    if (read.buffer != kNone) read.version = plan_.buffers[read.buffer].writes_per_step;
  }
  for (BufferRef& write : stage.writes) {
    if (write.buffer != kNone) write.version = ++plan_.buffers[write.buffer].writes_per_step;
  }
  stage.cost = cost_of(stage);
  plan_.stages.push_back(stage);
}

StageCost PlanBuilder::cost_of(const Stage& stage) const {
  StageCost cost;
  for (WeightId id : stage.weights) {
    if (id == kNone) continue;
    const WeightSlot& weight = plan_.weights[id];
    const bool look_up = std::holds_alternative<EmbedArgs>(stage.args);
    const auto* experts = std::get_if<ExpertLinearArgs>(&stage.args);
    // A token reads its own row of the table, its own experts, and everything else whole.
    const int64_t whole = weight_bytes(weight);
    cost.weight_bytes += look_up              ? whole / weight.out
                         : experts != nullptr ? whole / weight.count * experts->top_k
                                              : whole;
    if (weight.role != WeightSlot::Role::matrix || look_up) continue;
    const int64_t used = experts != nullptr ? experts->top_k : weight.count;
    cost.flops_per_token += 2 * used * weight.out * weight.in;
  }
  return cost;
}

void PlanBuilder::cache_cost(int64_t bytes_per_context_token) {
  plan_.stages.back().cost.cache_bytes_per_token += bytes_per_context_token;
}

void PlanBuilder::all_reduce(BufferRef y) {
  if (options_.shard.size > 1) emit(AllReduceArgs{}, {}, {}, {y});
}

void PlanBuilder::norm(const NormSpec& norm, std::string_view slot, int32_t cols, BufferRef x, BufferRef y,
                       std::vector<RowRange> rows) {
  if (!norm) return;
  const WeightId weight = vector(slot, cols, std::move(rows), norm.unit_offset ? 1.0f : 0.0f);
  if (norm.bias) {
    const std::optional<SlotTensor> tensor = slots_.find(slot, layer_, -1, true);
    WeightPart& part = plan_.weights[weight].bias_parts.emplace_back();
    part.tensor = bias_name(tensor->name);
    part.source_out = cols;
    part.rows = {{0, cols, 1}};
    part.cols = 1;
  }
  const NormKind kind = norm.kind == NormSpec::Kind::rms ? NormKind::rms : NormKind::layer;
  emit(NormArgs{.kind = kind, .eps = norm.eps, .cols = cols}, {weight}, {x}, {y});
}

void PlanBuilder::rope(const RopeSpec& rope, int32_t heads, BufferRef x, int32_t in_stride, BufferRef y,
                       int32_t out_stride, bool query) {
  if (rope.dims == 0) return;
  RopeFactors factors{.factor = rope.attention_factor, .long_factor = rope.long_attention_factor};
  if (!rope.long_divisors.empty()) {
    factors.switch_at = static_cast<int32_t>(rope.original_positions);
    plan_.rope_switch = factors.switch_at;
  }
  if (query && rope.query_beta != 0.0) {
    factors.beta = rope.query_beta;
    factors.period = rope.original_positions;
  }
  const WeightId frequencies = constant("rope", rope_frequencies(rope));
  emit(
      RopeArgs{.heads = heads, .dims = rope.dims, .in_stride = in_stride, .out_stride = out_stride, .factors = factors},
      {frequencies}, {x}, {y});
}

PlanBuilder::CachePlace PlanBuilder::join_group(const CacheNeeds& needs) {
  std::vector<CacheNeeds>& groups = plan_.groups;
  auto group = std::ranges::find_if(groups, [&](const CacheNeeds& g) { return g.same_needs(needs); });
  if (group == groups.end()) {
    if (groups.size() == kMaxCacheGroups) {
      throw Error(ErrorCode::unsupported, fmt::format("the model needs more than {} kinds of cache", kMaxCacheGroups));
    }
    group = groups.insert(group, needs);
  }
  group->layers.push_back(layer_);
  return {.group = static_cast<int32_t>(group - groups.begin()),
          .layer = static_cast<int32_t>(group->layers.size() - 1)};
}

PlanBuilder::CachePlace PlanBuilder::cache(CacheNeeds needs) {
  needs.policy = options_.policy ? options_.policy(layer_) : KvPolicy::raw_of(DType::f32);
  CachePlace place = join_group(needs);
  if (!needs.policy.tiled()) return place;
  needs.kind = CacheKind::open;
  needs.window = 1 + needs.policy.recent * kTileTokens;
  needs.policy = needs.policy.open_policy();
  const CachePlace open = join_group(needs);
  place.open_group = open.group;
  place.open_layer = open.layer;
  return place;
}

std::vector<RowRange> head_rows(int32_t begin, int32_t head_dim, const RopeSpec& rope) {
  if (!rope.interleaved || rope.dims == 0) return {{.begin = begin, .count = head_dim}};
  const int32_t half = rope.dims / 2;
  return {{.begin = begin, .count = half, .stride = 2},
          {.begin = begin + 1, .count = half, .stride = 2},
          {.begin = begin + rope.dims, .count = head_dim - rope.dims}};
}

}  // namespace arc
