// Runs a plan on this machine's processors: kernels of the best instruction set, all threads through all stages
// together.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "exec/bound_plan.h"
#include "exec/thread_pool.h"
#include "kernels/cpu/isa.h"

namespace arc {

class CpuExecutor : public Executor {
 public:
  struct Options {
    cpu::Isa isa = cpu::Isa::scalar;
    int32_t threads = 0;  // of every step; 0: usable_cpus(), one for tiny steps
  };

  // For load_weights(): matrices of products are packed as they come. Throws Error(unsupported) for a format without
  // kernels.
  static PackWeight packer(const Plan& plan);

  // `plan` was lowered with the kernels of `options.isa`, for one rank; its weights went through packer().
  CpuExecutor(Plan plan, LoadedWeights weights, const StepCapacity& capacity, const Options& options);

  void allocate_cache(const CacheCapacity& capacity) override;
  void swap_out(std::span<const StepCopy> copies) noexcept override;
  void swap_in(std::span<const StepCopy> copies) noexcept override;
  RunOutcome run(const StepInputs& inputs, std::span<RowResult> results) noexcept override;
  std::string describe() const override;

  // Called after every stage of every step by one of the threads, while the others wait.
  void set_observer(std::function<void(size_t stage)> observer) { observer_ = std::move(observer); }
  TensorView buffer(BufferId id) const { return bound_.buffer(id); }
  const BoundStage& stage(size_t index) const { return bound_.stage(index); }

 private:
  // Cosines and sines of the step's tokens for stages that rotate alike.
  struct RopeTable {
    const double* frequencies = nullptr;
    RopeFactors factors;
    int32_t pairs = 0;
    Tensor values;  // [tokens, 2 * pairs]
  };

  void bind_scratch();
  size_t rope_table(const Stage& stage, const RopeArgs& args);
  void fill_rope_row(const RopeTable& table, int64_t token) const;
  void walk(const Team& team) noexcept;

  Plan plan_;
  LoadedWeights weights_;
  StepCapacity capacity_;
  Options options_;
  int64_t flops_per_token_ = 0;
  BoundPlan bound_;
  std::optional<CacheStorage> cache_;
  Tensor scratch_;
  std::vector<RopeTable> ropes_;
  std::vector<std::byte*> stage_scratch_;
  std::vector<Sampler> samplers_;  // one per thread
  std::function<void(size_t)> observer_;
  const StepInputs* inputs_ = nullptr;  // of the step that runs
  std::span<RowResult> results_;
  ThreadPool pool_;
};

}  // namespace arc
