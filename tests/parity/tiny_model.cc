#include "parity/tiny_model.h"

#include <algorithm>
#include <numeric>

#include "nlohmann/json.hpp"

#include "kernels/ref/ref.h"
#include "weights/checkpoint_slots.h"

namespace arc::test {
namespace {

constexpr int kMaxTokens = 256;

void append_rows(const TensorView& view, int64_t rows, std::vector<double>& out) {
  for (int64_t r = 0; r < rows; ++r) out.insert(out.end(), view.row<float>(r), view.row<float>(r) + view.cols);
}

}  // namespace

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

void TinyModel::load(const ModelSpec& spec, const SlotResolver& slots, const Checkpoint& checkpoint,
                     const TinyOptions& options) {
  const KernelTable& kernels = options.isa ? cpu::kernels(*options.isa) : ref::kernels();
  std::vector<RefExecutor::Rank> ranks;
  for (int r = 0; r < options.n_ranks; ++r) {
    Plan plan = lower(spec, slots,
                      {.shard = {.rank = r, .size = options.n_ranks},
                       .kernels = &kernels,
                       .policy = [&](int) { return KvPolicy::raw_of(options.cache); },
                       .fused = options.fused});
    LoadedWeights weights = load_weights(plan, checkpoint, {}, options.isa ? CpuExecutor::packer(plan) : PackWeight{});
    ranks.push_back({.plan = std::move(plan), .weights = std::move(weights)});
  }
  plan_ = ranks[0].plan;
  weights_ = ranks[0].weights;
  unused_ = weights_.unused;
  const StepCapacity capacity{.tokens = kMaxTokens, .rows = kMaxTokens};
  if (options.isa) {
    auto executor = std::make_unique<CpuExecutor>(
        plan_, weights_, capacity, CpuExecutor::Options{.isa = *options.isa, .threads = options.threads});
    cpu_ = executor.get();
    executor_ = std::move(executor);
  } else {
    auto executor = std::make_unique<RefExecutor>(std::move(ranks), capacity);
    ref_ = executor.get();
    executor_ = std::move(executor);
  }
}

TinyModel::Outputs TinyModel::run(std::span<const int32_t> tokens, int chunk) {
  CacheCapacity capacity;
  capacity.blocks.fill(1 + kMaxTokens / kTileTokens);
  executor_->allocate_cache(capacity);
  Outputs outputs{.hidden = std::vector<std::vector<double>>(plan_.layer_ends.size())};
  const int n = static_cast<int>(tokens.size()), size = chunk > 0 ? chunk : n;
  for (int first = 0; first < n; first += size) {
    step(tokens.subspan(first, std::min(size, n - first)), first, n, outputs);
  }
  return outputs;
}

// Blocks 1, 2, ... in order, state slot 1.
void TinyModel::step(std::span<const int32_t> tokens, int first, int known, Outputs& outputs) {
  const int n = static_cast<int>(tokens.size());
  std::vector<int32_t> positions(n), rows(n), table(kMaxTokens / kTileTokens);
  std::vector<int64_t> slots(n);
  std::iota(positions.begin(), positions.end(), first);
  std::iota(rows.begin(), rows.end(), 0);
  std::iota(table.begin(), table.end(), 1);
  for (int t = 0; t < n; ++t) slots[t] = kTileTokens + positions[t];
  const std::vector<int32_t> q_start = {0, n}, seq_lens = {first + n}, known_lens = {known},
                             state_read = {first == 0 ? -1 : 1}, state_write = {1};
  const std::vector<SamplingRow> sampling(n, SamplingRow{.temperature = 0.0f});
  StepInputs inputs{.n_seqs = 1,
                    .n_tokens = n,
                    .n_rows = n,
                    .tokens = tokens.data(),
                    .positions = positions.data(),
                    .q_start = q_start.data(),
                    .seq_lens = seq_lens.data(),
                    .known_lens = known_lens.data()};
  inputs.rows = rows.data();
  inputs.sampling = sampling.data();
  for (GroupInputs& group : inputs.groups) {
    group = {.block_table = table.data(), .table_stride = static_cast<int32_t>(table.size()), .slots = slots.data()};
    group.state_read = state_read.data();
    group.state_write = state_write.data();
  }
  const auto observe = [&](size_t stage) {
    const auto end = std::ranges::find(plan_.layer_ends, static_cast<int32_t>(stage) + 1);
    if (end != plan_.layer_ends.end()) {
      append_rows(buffer(plan_.residual), n, outputs.hidden[end - plan_.layer_ends.begin()]);
    }
    if (observer_) observer_(stage, n);
  };
  if (cpu_ != nullptr) cpu_->set_observer(observe);
  if (ref_ != nullptr) ref_->set_observer(observe);
  std::vector<RowResult> results(n);
  executor_->run(inputs, results);
  append_rows(buffer(plan_.logits), n, outputs.logits);
}

}  // namespace arc::test
