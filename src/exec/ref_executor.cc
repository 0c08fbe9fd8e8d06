#include "exec/ref_executor.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "fmt/format.h"

#include "base/check.h"

namespace arc {
namespace {

// Group and layer of a stage that touches the cache.
struct CacheUse {
  int group = -1, layer = 0;
};

CacheUse cache_use(const Args& args) {
  return std::visit(
      [](const auto& a) -> CacheUse {
        if constexpr (requires { a.group; }) {
          return {.group = a.group, .layer = a.layer};
        } else if constexpr (requires { a.attend; }) {
          return {.group = a.attend.group, .layer = a.attend.layer};
        } else {
          return {};
        }
      },
      args);
}

}  // namespace

RefExecutor::RefExecutor(std::vector<Rank> ranks, const StepCapacity& capacity)
    : capacity_(capacity), sampler_(ranks.front().plan.vocab) {
  for (Rank& rank : ranks) {
    RankState& state = ranks_.emplace_back();
    state.rank = std::move(rank);
    for (const Buffer& buffer : state.rank.plan.buffers) {
      const int64_t rows = buffer.rows == Buffer::Rows::tokens ? capacity.tokens : capacity.rows;
      state.buffers.push_back(Tensor::zeros({rows, buffer.cols}, buffer.dtype));
    }
  }
}

void RefExecutor::allocate_cache(const CacheCapacity& capacity) {
  for (RankState& state : ranks_) {
    state.cache.emplace(state.rank.plan.groups, capacity);
    bind(state);
  }
}

TensorView RefExecutor::bind(const RankState& state, const BufferRef& ref) const {
  if (ref.buffer == kNone) return {};
  TensorView view = state.buffers[ref.buffer].view();
  view.data = static_cast<std::byte*>(view.data) + ref.col * static_cast<int64_t>(dtype_size(view.dtype));
  view.cols = ref.cols;
  return view;
}

void RefExecutor::bind(RankState& state) {
  state.bound.clear();
  for (const Stage& stage : state.rank.plan.stages) {
    BoundStage& bound = state.bound.emplace_back();
    for (size_t i = 0; i < std::size(stage.weights); ++i) {
      if (stage.weights[i] != kNone) bound.weights[i] = state.rank.weights.weights[stage.weights[i]].view();
    }
    for (size_t i = 0; i < std::size(stage.reads); ++i) bound.reads[i] = bind(state, stage.reads[i]);
    for (size_t i = 0; i < std::size(stage.writes); ++i) bound.writes[i] = bind(state, stage.writes[i]);
    const CacheUse use = cache_use(stage.args);
    if (use.group < 0) continue;
    if (state.rank.plan.groups[use.group].kind == CacheKind::state) {
      bound.state = state.cache->state(use.group, use.layer);
    } else {
      bound.kv = state.cache->kv(use.group, use.layer);
    }
  }
}

int64_t RefExecutor::rows_of(const Plan& plan, const BufferRef& ref) const {
  if (ref.buffer == kNone) return 0;
  return plan.buffers[ref.buffer].rows == Buffer::Rows::tokens ? inputs_->n_tokens : inputs_->n_rows;
}

void RefExecutor::run_stage(RankState& state, size_t index) {
  const Stage& stage = state.rank.plan.stages[index];
  BoundStage& bound = state.bound[index];
  for (size_t i = 0; i < std::size(stage.reads); ++i) bound.reads[i].rows = rows_of(state.rank.plan, stage.reads[i]);
  for (size_t i = 0; i < std::size(stage.writes); ++i) bound.writes[i].rows = rows_of(state.rank.plan, stage.writes[i]);
  stage.launch(stage.args, {.weights = bound.weights,
                            .reads = bound.reads,
                            .writes = bound.writes,
                            .step = inputs_,
                            .kv = bound.kv,
                            .state = bound.state});
}

void RefExecutor::all_reduce(size_t index) {
  const BufferRef& ref = ranks_[0].rank.plan.stages[index].writes[0];
  const int64_t rows = rows_of(ranks_[0].rank.plan, ref);
  for (int64_t r = 0; r < rows; ++r) {
    float* sum = bind(ranks_[0], ref).row<float>(r);
    for (size_t k = 1; k < ranks_.size(); ++k) {
      const float* part = bind(ranks_[k], ref).row<float>(r);
      for (int32_t c = 0; c < ref.cols; ++c) sum[c] += part[c];
    }
    for (size_t k = 1; k < ranks_.size(); ++k) {
      std::memcpy(bind(ranks_[k], ref).row<float>(r), sum, static_cast<size_t>(ref.cols) * sizeof(float));
    }
  }
}

void RefExecutor::all_gather(size_t index) {
  for (RankState& to : ranks_) {
    const Stage& stage = to.rank.plan.stages[index];
    const TensorView y = bind(to, stage.writes[0]);
    for (int64_t r = 0; r < rows_of(to.rank.plan, stage.writes[0]); ++r) {
      int64_t col = 0;
      for (const RankState& from : ranks_) {
        const TensorView x = bind(from, stage.reads[0]);
        const int64_t count = std::min(x.cols, y.cols - col);
        std::memcpy(y.row<float>(r) + col, x.row<float>(r), static_cast<size_t>(count) * sizeof(float));
        col += count;
      }
    }
  }
}

void RefExecutor::sample(std::span<RowResult> results) {
  const TensorView logits = buffer(ranks_[0].rank.plan.logits);
  for (int32_t r = 0; r < inputs_->n_rows; ++r) {
    RowResult& result = results[r];
    const SamplingRow& row = inputs_->sampling[r];
    const std::span<const float> values(logits.row<float>(r), static_cast<size_t>(logits.cols));
    const int32_t given = inputs_->row_token != nullptr ? inputs_->row_token[r] : -1;
    if (given >= 0) {
      result.token = given;
      result.outcome = SampleOutcome::ok;
    } else {
      const Sample drawn = sampler_.sample(values, row, inputs_->tables);
      result.token = drawn.token;
      result.outcome = drawn.outcome;
    }
    result.top.clear();
    if (row.n_logprobs < 0 || result.outcome != SampleOutcome::ok) continue;
    const RawLogprobs logprobs = sampler_.logprobs(values, result.token, row.n_logprobs);
    result.outcome = logprobs.outcome;
    result.logprob = logprobs.chosen.logprob;
    result.top.assign(logprobs.top.begin(), logprobs.top.end());
  }
}

RunOutcome RefExecutor::run(const StepInputs& inputs, std::span<RowResult> results) noexcept {
  ARC_CHECK(inputs.n_tokens <= capacity_.tokens && inputs.n_rows <= capacity_.rows) << inputs.n_tokens << " tokens";
  inputs_ = &inputs;
  for (int32_t i = 0; i < inputs.n_copies; ++i) {
    for (RankState& state : ranks_) state.cache->copy(inputs.copies[i]);
  }
  const std::vector<Stage>& stages = ranks_[0].rank.plan.stages;
  for (size_t i = 0; i < stages.size(); ++i) {
    if (std::holds_alternative<AllReduceArgs>(stages[i].args)) {
      all_reduce(i);
    } else if (std::holds_alternative<AllGatherArgs>(stages[i].args)) {
      all_gather(i);
    } else {
      for (RankState& state : ranks_) run_stage(state, i);
    }
    if (observer_) observer_(i);
  }
  sample(results);
  return RunOutcome::ok;
}

void RefExecutor::swap_out(std::span<const StepCopy> copies) noexcept {
  for (RankState& state : ranks_) {
    for (const StepCopy& copy : copies) state.cache->swap_out(copy);
  }
}

void RefExecutor::swap_in(std::span<const StepCopy> copies) noexcept {
  for (RankState& state : ranks_) {
    for (const StepCopy& copy : copies) state.cache->swap_in(copy);
  }
}

TensorView RefExecutor::buffer(BufferId id, int rank) const {
  return ranks_[rank].buffers[id].view();
}

std::string RefExecutor::describe() const {
  return fmt::format("reference executor: {} stages, f32 arithmetic, one thread{}", ranks_[0].rank.plan.stages.size(),
                     ranks_.size() > 1 ? fmt::format(", {} ranks in this process", ranks_.size()) : "");
}

}  // namespace arc
