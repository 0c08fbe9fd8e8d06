#include "exec/ref_executor.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "fmt/format.h"

#include "base/check.h"
#include "exec/sample_row.h"

namespace arc {

RefExecutor::RefExecutor(std::vector<Rank> ranks, const StepCapacity& capacity)
    : capacity_(capacity), sampler_(ranks.front().plan.vocab) {
  for (Rank& rank : ranks) {
    BoundPlan bound(rank.plan, capacity);
    ranks_.push_back({.rank = std::move(rank), .bound = std::move(bound)});
  }
}

void RefExecutor::allocate_cache(const CacheCapacity& capacity) {
  for (RankState& state : ranks_) {
    state.cache.emplace(state.rank.plan.groups, capacity);
    state.bound.bind(state.rank.plan, state.rank.weights, *state.cache);
  }
}

void RefExecutor::all_reduce(size_t index) {
  const TensorView sum = ranks_[0].bound.stage(index).writes[0];
  const size_t row_bytes = static_cast<size_t>(sum.cols) * sizeof(float);
  for (int64_t r = 0; r < sum.rows; ++r) {
    for (size_t k = 1; k < ranks_.size(); ++k) {
      const float* part = ranks_[k].bound.stage(index).writes[0].row<float>(r);
      for (int64_t c = 0; c < sum.cols; ++c) sum.row<float>(r)[c] += part[c];
    }
    for (size_t k = 1; k < ranks_.size(); ++k) {
      std::memcpy(ranks_[k].bound.stage(index).writes[0].row<float>(r), sum.row<float>(r), row_bytes);
    }
  }
}

void RefExecutor::all_gather(size_t index) {
  for (const RankState& to : ranks_) {
    const TensorView& y = to.bound.stage(index).writes[0];
    for (int64_t r = 0; r < y.rows; ++r) {
      int64_t col = 0;
      for (const RankState& from : ranks_) {
        const TensorView& x = from.bound.stage(index).reads[0];
        const int64_t count = std::min(x.cols, y.cols - col);
        std::memcpy(y.row<float>(r) + col, x.row<float>(r), static_cast<size_t>(count) * sizeof(float));
        col += count;
      }
    }
  }
}

RunOutcome RefExecutor::run(const StepInputs& inputs, std::span<RowResult> results) noexcept {
  ARC_CHECK(inputs.n_tokens <= capacity_.tokens && inputs.n_rows <= capacity_.rows) << inputs.n_tokens << " tokens";
  for (RankState& state : ranks_) {
    for (int32_t i = 0; i < inputs.n_copies; ++i) state.cache->copy(inputs.copies[i]);
    state.bound.set_rows(state.rank.plan, inputs);
  }
  const std::vector<Stage>& stages = ranks_[0].rank.plan.stages;
  for (size_t i = 0; i < stages.size(); ++i) {
    if (std::holds_alternative<AllReduceArgs>(stages[i].args)) {
      all_reduce(i);
    } else if (std::holds_alternative<AllGatherArgs>(stages[i].args)) {
      all_gather(i);
    } else {
      for (const RankState& state : ranks_) {
        const Stage& stage = state.rank.plan.stages[i];
        stage.launch(stage.args, state.bound.operands(i, inputs));
      }
    }
    if (observer_) observer_(i);
  }
  const Plan& plan = ranks_[0].rank.plan;
  const TensorView hidden = buffer(plan.hidden), logits = buffer(plan.logits);
  for (int32_t r = 0; r < inputs.n_rows; ++r) {
    copy_hidden(inputs, hidden, r);
    sample_row(sampler_, inputs, logits, r, results[r]);
  }
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
  return ranks_[rank].bound.buffer(id);
}

std::string RefExecutor::describe() const {
  return fmt::format("reference executor: {} stages, f32 arithmetic, one thread{}", ranks_[0].rank.plan.stages.size(),
                     ranks_.size() > 1 ? fmt::format(", {} ranks in this process", ranks_.size()) : "");
}

}  // namespace arc
