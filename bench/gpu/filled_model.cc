#include "gpu/filled_model.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <set>

#include "base/error.h"

namespace arc::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFew = 4;                    // tokens that tell how long one takes
constexpr int64_t kNormals = 1 << 20;      // numbers that are drawn; then they repeat
constexpr double kShareChecked = 1.0 / 8;  // of the time, for single steps

bool is_append(const Stage& stage) {
  return std::holds_alternative<AppendArgs>(stage.args);
}

// Random rows where append stages read.
void write_rows(CudaExecutor& executor, const Plan& plan, int64_t n_rows) {
  std::set<BufferId> inputs;
  for (const Stage& stage : plan.stages) {
    for (const BufferRef& ref : stage.reads) {
      if (is_append(stage) && ref.buffer != kNone) inputs.insert(ref.buffer);
    }
  }
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (const BufferId id : inputs) {
    const Tensor rows = Tensor::zeros({n_rows, plan.buffers[static_cast<size_t>(id)].cols}, DType::f32);
    for (int64_t i = 0; i < rows.numel(); ++i)
      rows.as<float>()[i] = i < kNormals ? normal(random) : rows.as<float>()[i - kNormals];
    executor.write_buffer(id, rows.view());
  }
}

}  // namespace

int64_t block_bytes(const Plan& plan, bool open) {
  int64_t bytes = 0;
  for (const CacheNeeds& group : plan.groups) {
    if ((group.kind == CacheKind::open) == open) bytes += group.bytes_per_block();
  }
  return bytes;
}

FilledModel::FilledModel(Plan plan, const LoadedWeights& weights, const StepCapacity& capacity,
                         const CudaDevice& device)
    : plan_(std::move(plan)),
      device_(device.device()),
      step_tokens_(capacity.tokens),
      executor_(plan_, weights, capacity, device) {}

void FilledModel::fill(const CacheCapacity& capacity) {
  for (size_t g = 0; g < plan_.groups.size(); ++g) {
    (plan_.groups[g].kind == CacheKind::open ? n_open_tiles_ : n_tiles_) = capacity.blocks[g] - 1;
  }
  executor_.allocate_cache(capacity);
  write_rows(executor_, plan_, step_tokens_);
  const int filled = static_cast<int>(std::min<int64_t>(n_tiles_, kMaxContext / kTileTokens)) * kTileTokens;
  for (int start = 0; start < filled; start += step_tokens_)
    append({.start = start, .tokens = std::min(step_tokens_, filled - start)}, OpenTiles::fill);
  append({.tokens = kOpenRing * kTileTokens}, OpenTiles::ring);
  for (size_t i = 0; i < plan_.stages.size(); ++i) {
    if (!is_append(plan_.stages[i])) continue;
    repeat(executor_.stage(i).kv, filled / kTileTokens, n_tiles_);
    repeat(executor_.stage(i).open, kOpenRing, n_open_tiles_);
  }
}

void FilledModel::append(const StepShape& shape, OpenTiles open) {
  BenchStep step(plan_, shape, open);
  executor_.graph_seconds(step.inputs(), is_append, 1);
}

// Blocks 1 to n once more until there are `all`.
void FilledModel::repeat(const KvView& kv, int64_t n, int64_t all) const {
  for (int64_t to = n; kv.data != nullptr && to < all; to += n) {
    copy_bytes(kv.data + (1 + to) * kv.block_bytes, device_, kv.data + kv.block_bytes, device_,
               static_cast<size_t>(std::min(n, all - to) * kv.block_bytes));
  }
}

Decoded FilledModel::decode(const StepShape& shape, int most, double budget_seconds) {
  if (int64_t{shape.batch} * shape.tiles() > n_tiles_ || shape.batch * kOpenRing > n_open_tiles_)
    throw Error(ErrorCode::resource, "the benchmark's cache is too small for its batch");
  const double few = lease(shape, kFew).seconds / kFew;
  Decoded out{.n = std::clamp(static_cast<int>(budget_seconds / few), kFew, most)};
  const Lease leased = lease(shape, out.n);
  out.seconds = leased.seconds / out.n;
  out.n_checked = std::clamp(static_cast<int>(budget_seconds * kShareChecked / few), kFew, out.n);
  out.same = stepwise_same(shape, leased.tokens, out.n_checked);
  return out;
}

FilledModel::Lease FilledModel::lease(const StepShape& shape, int n) {
  BenchStep step(plan_, shape, OpenTiles::ring);
  LoopControl control{.lease = n};
  step.inputs().control = &control;
  if (!executor_.can_lease(step.inputs())) throw Error(ErrorCode::resource, "no lease: " + executor_.describe());
  Lease out;
  const auto start = Clock::now();
  const RunOutcome outcome = executor_.run_lease(step.inputs(), [&](std::span<const LeaseToken> tokens) {
    for (const LeaseToken& token : tokens) out.tokens.push_back(token.outcome == SampleOutcome::ok ? token.token : -1);
  });
  out.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (outcome != RunOutcome::ok || static_cast<int>(out.tokens.size()) != n * shape.batch)
    throw Error(ErrorCode::resource, "the device failed in a lease");
  return out;
}

bool FilledModel::stepwise_same(const StepShape& shape, std::span<const int32_t> expected, int n) {
  BenchStep step(plan_, shape, OpenTiles::ring);
  std::vector<RowResult> results(static_cast<size_t>(shape.batch));
  for (int i = 0; i < n; ++i) {
    if (executor_.run(step.inputs(), results) != RunOutcome::ok)
      throw Error(ErrorCode::resource, "the device failed in a step");
    const auto drawn = expected.subspan(static_cast<size_t>(i) * results.size(), results.size());
    if (!std::ranges::equal(results, drawn, {}, &RowResult::token) || std::ranges::count(drawn, -1) > 0) return false;
    step.advance(drawn);
  }
  return true;
}

double FilledModel::bytes_read(const StepShape& shape, int n) const {
  return weight_bytes_read(plan_, shape.batch, any_stage) + cache_bytes_read(shape, n);
}

double FilledModel::cache_bytes_read(const StepShape& shape, int n) const {
  double bytes = 0;
  for (const Stage& stage : plan_.stages)
    bytes += static_cast<double>(stage.cost.cache_bytes_per_token) * shape.batch * (shape.start + n / 2.0);
  return bytes;
}

}  // namespace arc::bench
