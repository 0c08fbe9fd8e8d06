// A plan's stages tied to memory: buffers, weights and the cache's places, once, before the first step.
#pragma once

#include <vector>

#include "exec/cache_storage.h"
#include "exec/executor.h"
#include "weights/load.h"

namespace arc {

struct BoundStage {
  MatrixView weights[3];
  TensorView reads[2], writes[3];  // rows are set by each step
  int64_t n_prompt = 0;            // likewise
  KvView kv, open;
  StateView state;
};

// Keeps a pointer to nothing: plan and weights are given where they are needed, the same ones each time.
class BoundPlan {
 public:
  // Makes the buffers for the largest step.
  BoundPlan(const Plan& plan, const StepCapacity& capacity, Device device = {});

  void bind(const Plan& plan, const LoadedWeights& weights, const CacheStorage& cache);
  TensorView bind(const BufferRef& ref) const;

  // Operands of a stage for a step; team and scratch are left as they are by default.
  Operands operands(size_t stage, const StepInputs& inputs) const;
  // Rows of the operands, for all stages.
  void set_rows(const Plan& plan, const StepInputs& inputs) noexcept;

  const BoundStage& stage(size_t index) const { return stages_[index]; }
  // Empty for kNone.
  TensorView buffer(BufferId id) const { return id == kNone ? TensorView{} : buffers_[id].view(); }

 private:
  std::vector<Tensor> buffers_;
  std::vector<BoundStage> stages_;
  int64_t n_prompt_tiles_ = 0;  // of the step, as n_prompt is
};

}  // namespace arc
