// The CUDA executor: one launch per stage on one stream; sampling on the host.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "exec/bound_plan.h"
#include "exec/cuda/step_upload.h"
#include "tensor/device_memory.h"
#include "weights/load.h"

namespace arc {

class CudaExecutor : public Executor {
 public:
  // A plan without gpu::problem(), lowered with gpu::kernels(); its weights went through gpu::uploader(). Throws
  // Error(resource).
  CudaExecutor(Plan plan, LoadedWeights weights, const StepCapacity& capacity, const CudaDevice& device);
  ~CudaExecutor() override;

  void allocate_cache(const CacheCapacity& capacity) override;
  void swap_out(std::span<const StepCopy> copies) noexcept override;
  void swap_in(std::span<const StepCopy> copies) noexcept override;
  RunOutcome run(const StepInputs& inputs, std::span<RowResult> results) noexcept override;
  std::string describe() const override;

  // For parity tests. Called after every stage, when its buffers are complete; what it changes, the next stage sees.
  void set_observer(std::function<void(size_t stage)> observer) { observer_ = std::move(observer); }
  // For benches: median seconds of one replay of a graph of the stages that `chosen` takes. Launches cost the host
  // nothing there; what stages read may be stale.
  double graph_seconds(const StepInputs& inputs, const std::function<bool(const Stage&)>& chosen, int replays);
  // A copy on the host of the first `rows` rows; and back.
  Tensor read_buffer(BufferId id, int64_t rows) const;
  void write_buffer(BufferId id, const TensorView& rows);
  const BoundStage& stage(size_t index) const { return bound_.stage(index); }
  std::span<const Stage> stages() const { return plan_.stages; }

 private:
  bool run_stages(const StepInputs& inputs);
  int32_t launch(size_t stage, const StepInputs& on_device);
  bool works(int32_t error, const Stage* stage) const;

  Plan plan_;
  LoadedWeights weights_;
  StepCapacity capacity_;
  CudaDevice info_;
  BoundPlan bound_;
  std::optional<CacheStorage> cache_;
  StepUpload upload_;
  std::shared_ptr<Storage> scratch_;
  Tensor logits_;  // [R, V] on the host
  Sampler sampler_;
  void* stream_ = nullptr;
  std::function<void(size_t)> observer_;
};

}  // namespace arc
