#include "parity/tiny_model.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <type_traits>

#include "nlohmann/json.hpp"

#include "kernels/ref/ref.h"
#include "plan/cache_policy.h"
#include "weights/checkpoint_slots.h"

namespace arc::test {
namespace {

void append_rows(const TensorView& view, std::vector<double>& out) {
  for (int64_t r = 0; r < view.rows; ++r) out.insert(out.end(), view.row<float>(r), view.row<float>(r) + view.cols);
}

std::vector<std::byte> first_blocks(const KvView& kv, int64_t n_blocks) {
  return {kv.data, kv.data + n_blocks * kv.block_bytes};
}

// The reference and the CPU executor: their buffers lie in this process.
template <typename E>
class OnHost : public Inspected {
 public:
  explicit OnHost(std::unique_ptr<E> executor) : executor_(std::move(executor)) {}
  Executor& executor() override { return *executor_; }
  void set_observer(std::function<void(size_t)> observer) override { executor_->set_observer(std::move(observer)); }
  TensorView read(BufferId id, int64_t rows) override {
    TensorView view = executor_->buffer(id);
    view.rows = rows;
    return view;
  }
  void write(BufferId id, const TensorView& rows) override {
    const TensorView view = executor_->buffer(id);
    std::memcpy(view.data, rows.data, static_cast<size_t>(rows.rows * view.cols) * dtype_size(view.dtype));
  }
  std::vector<std::byte> kv_bytes(size_t stage, int64_t n_blocks) override {
    if constexpr (std::is_same_v<E, RefExecutor>) return first_blocks(executor_->stage(stage).kv, n_blocks);
    return {};
  }

 private:
  std::unique_ptr<E> executor_;
};

}  // namespace

TensorView Inspected::read_later(BufferId id, int64_t rows) {
  const TensorView now = read(id, rows);
  const Tensor& kept = kept_.emplace_back(Tensor::zeros({rows, now.cols}, now.dtype));
  std::memcpy(kept.data(), now.data, kept.size_bytes());
  return kept.view();
}

TinyModel::TinyModel(const std::string& config_json, const Checkpoint& checkpoint, const TinyOptions& options) {
  const Config config(parse_json(config_json, "config.json"));
  const Arch& arch = find_arch(config.architecture());
  const ModelSpec spec = arch.build(config);
  const ScaledWeights scaled = scaled_weights_from(config);
  config.expect_known();
  load(spec, CheckpointSlots(checkpoint, arch.own_names, spec.tied_head, kHubNaming, scaled), checkpoint, options);
}

TinyModel::TinyModel(const ModelSpec& spec, const SlotResolver& slots, const Checkpoint& checkpoint,
                     const TinyOptions& options) {
  load(spec, slots, checkpoint, options);
}

TinyModel::TinyModel(const HandMade& model, const TinyOptions& options) {
  LoadedWeights weights = model.weights;
  if (options.backend != nullptr) {
    for (size_t i = 0; i < weights.weights.size(); ++i) {
      options.backend->pack(static_cast<WeightId>(i), weights.weights[i]);
    }
  }
  std::vector<RefExecutor::Rank> ranks(1);
  ranks[0] = {.plan = model.plan(options.backend != nullptr ? *options.backend->kernels : ref::kernels()),
              .weights = std::move(weights)};
  make_executor(std::move(ranks), options);
}

void TinyModel::load(const ModelSpec& spec, const SlotResolver& slots, const Checkpoint& checkpoint,
                     const TinyOptions& options) {
  const KernelTable& kernels = options.backend != nullptr ? *options.backend->kernels
                               : options.isa              ? cpu::kernels(*options.isa)
                                                          : ref::kernels();
  const std::vector<LayerCache> layers = resolve_cache(spec, parse_cache_type(options.cache_type), options.cache);
  std::vector<RefExecutor::Rank> ranks;
  for (int r = 0; r < options.n_ranks; ++r) {
    Plan plan = lower(spec, slots,
                      {.shard = {.rank = r, .size = options.n_ranks},
                       .kernels = &kernels,
                       .policy = [&](int layer) { return layers[static_cast<size_t>(layer)].policy; },
                       .fused = options.fused});
    const PackWeight pack = options.backend != nullptr ? options.backend->pack
                            : options.isa              ? CpuExecutor::packer(plan)
                                                       : PackWeight{};
    LoadedWeights weights = load_weights(plan, checkpoint, {}, pack);
    ranks.push_back({.plan = std::move(plan), .weights = std::move(weights)});
  }
  make_executor(std::move(ranks), options);
}

void TinyModel::make_executor(std::vector<RefExecutor::Rank> ranks, const TinyOptions& options) {
  plan_ = ranks[0].plan;
  weights_ = ranks[0].weights;
  unused_ = weights_.unused;
  places_ = options.places;
  observed_ = options.observed;
  prompts_ = options.prompts;
  tiles_ = options.max_tokens / kTileTokens;
  const StepCapacity capacity{
      .tokens = options.max_tokens, .rows = options.max_tokens, .seqs = places_, .positions = options.max_tokens};
  if (options.backend != nullptr) {
    inspected_ = options.backend->make(plan_, weights_, capacity);
  } else if (options.isa) {
    inspected_ = std::make_unique<OnHost<CpuExecutor>>(std::make_unique<CpuExecutor>(
        plan_, weights_, capacity, CpuExecutor::Options{.isa = *options.isa, .threads = options.threads}));
  } else {
    inspected_ = std::make_unique<OnHost<RefExecutor>>(std::make_unique<RefExecutor>(std::move(ranks), capacity));
  }
}

void TinyModel::clear_cache() {
  CacheCapacity capacity;
  capacity.blocks.fill(1 + places_ * tiles_);
  if (places_ > 1) capacity.swap_blocks.fill(1 + places_ * tiles_);
  inspected_->executor().allocate_cache(capacity);
}

TinyModel::Outputs TinyModel::run(std::span<const int32_t> tokens, int chunk) {
  clear_cache();
  Outputs outputs;
  const int n = static_cast<int>(tokens.size()), size = chunk > 0 ? chunk : n;
  for (int first = 0; first < n; first += size) {
    const Piece piece{
        .tokens = tokens.subspan(first, std::min(size, n - first)), .position = first, .known = n, .prompt = prompts_};
    step({&piece, 1}, outputs);
  }
  return outputs;
}

// Place p has blocks 1 + p * tiles_, ... in order, and state slot 1 + p.
void TinyModel::step(std::span<const Piece> pieces, Outputs& outputs, std::span<const StepCopy> copies) {
  std::vector<int32_t> tokens, positions, q_start = {0}, seq_lens, known_lens, table, state_read, state_write;
  std::vector<int64_t> slots;
  int32_t n_prompts = 0;
  for (const Piece& piece : pieces) {
    const int first_block = 1 + piece.place * tiles_;
    if (piece.prompt) ++n_prompts;
    for (size_t t = 0; t < piece.tokens.size(); ++t) {
      tokens.push_back(piece.tokens[t]);
      positions.push_back(piece.position + static_cast<int32_t>(t));
      slots.push_back(int64_t{first_block} * kTileTokens + positions.back());
    }
    q_start.push_back(static_cast<int32_t>(tokens.size()));
    seq_lens.push_back(positions.back() + 1);
    known_lens.push_back(std::max(piece.known, seq_lens.back()));
    for (int i = 0; i < tiles_; ++i) table.push_back(first_block + i);
    state_read.push_back(piece.position == 0 ? -1 : 1 + piece.place);
    state_write.push_back(1 + piece.place);
  }
  const int n = static_cast<int>(tokens.size());
  std::vector<int32_t> rows(n);
  std::iota(rows.begin(), rows.end(), 0);
  const std::vector<SamplingRow> sampling(n, SamplingRow{.temperature = 0.0f});
  StepInputs inputs{.n_seqs = static_cast<int32_t>(pieces.size()),
                    .n_tokens = n,
                    .n_rows = n,
                    .n_prompts = n_prompts,
                    .tokens = tokens.data(),
                    .positions = positions.data(),
                    .q_start = q_start.data(),
                    .seq_lens = seq_lens.data(),
                    .known_lens = known_lens.data()};
  inputs.rows = rows.data();
  inputs.sampling = sampling.data();
  inputs.copies = copies.data();
  inputs.n_copies = static_cast<int32_t>(copies.size());
  for (GroupInputs& group : inputs.groups) {
    group = {.block_table = table.data(), .table_stride = tiles_, .slots = slots.data()};
    group.state_read = state_read.data();
    group.state_write = state_write.data();
  }
  outputs.hidden.resize(plan_.layer_ends.size());
  const auto observe = [&](size_t stage) {
    const auto end = std::ranges::find(plan_.layer_ends, static_cast<int32_t>(stage) + 1);
    if (end != plan_.layer_ends.end()) {
      append_rows(inspected_->read(plan_.residual, n), outputs.hidden[end - plan_.layer_ends.begin()]);
    }
    if (observer_) observer_(stage, n);
  };
  if (observed_) inspected_->set_observer(observe);
  std::vector<RowResult> results(n);
  if (inspected_->executor().run(inputs, results) != RunOutcome::ok) {
    throw std::runtime_error("the device failed; the log says at what");
  }
  append_rows(inspected_->read(plan_.logits != kNone ? plan_.logits : plan_.hidden, n), outputs.logits);
}

std::vector<StepCopy> TinyModel::copies(int from, int to) const {
  std::vector<StepCopy> out;
  for (size_t g = 0; g < plan_.groups.size(); ++g) {
    const bool state = plan_.groups[g].kind == CacheKind::state;
    const int first = state ? from : from * tiles_, target = state ? to : to * tiles_;
    for (int i = 0; i < (state ? 1 : tiles_); ++i) {
      out.push_back({.group = static_cast<int32_t>(g), .from = 1 + first + i, .to = 1 + target + i});
    }
  }
  return out;
}

}  // namespace arc::test
