// The reference executor: scalar kernels, f32, one thread. Defines what a plan means; several ranks run in lockstep
// inside it.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "exec/bound_plan.h"

namespace arc {

class RefExecutor : public Executor {
 public:
  struct Rank {
    Plan plan;
    LoadedWeights weights;
  };
  // One entry per rank, plans of the same stages.
  RefExecutor(std::vector<Rank> ranks, const StepCapacity& capacity);

  void allocate_cache(const CacheCapacity& capacity) override;
  void swap_out(std::span<const StepCopy> copies) noexcept override;
  void swap_in(std::span<const StepCopy> copies) noexcept override;
  RunOutcome run(const StepInputs& inputs, std::span<RowResult> results) noexcept override;
  std::string describe() const override;

  // Called after every stage of every step: parity tests and per-layer goldens look at buffers there.
  void set_observer(std::function<void(size_t stage)> observer) { observer_ = std::move(observer); }
  TensorView buffer(BufferId id, int rank = 0) const;
  const BoundStage& stage(size_t index) const { return ranks_[0].bound.stage(index); }

 private:
  struct RankState {
    Rank rank;
    BoundPlan bound;
    std::optional<CacheStorage> cache;
  };

  void all_reduce(size_t index);
  void all_gather(size_t index);

  std::vector<RankState> ranks_;
  StepCapacity capacity_;
  Sampler sampler_;
  std::function<void(size_t)> observer_;
};

}  // namespace arc
