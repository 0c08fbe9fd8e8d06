// The CUDA executor: one launch per stage on one stream; sampling on the host. Weights are uploaded as they load.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "exec/bound_plan.h"
#include "exec/cuda/step_upload.h"
#include "tensor/device_memory.h"
#include "weights/load.h"

namespace arc {

class CudaExecutor : public Executor {
 public:
  // Moves each weight to the device as soon as it is loaded; give it to load_weights.
  static PackWeight uploader(Device device);

  // A plan of one shard, lowered with cuda::kernels(); weights on `device`. Throws Error(resource) or, for an operation
  // that has no device kernel, Error(unsupported).
  CudaExecutor(Plan plan, LoadedWeights weights, const StepCapacity& capacity, const CudaDevice& device);
  ~CudaExecutor() override;

  void allocate_cache(const CacheCapacity& capacity) override;
  void swap_out(std::span<const StepCopy> copies) noexcept override;
  void swap_in(std::span<const StepCopy> copies) noexcept override;
  RunOutcome run(const StepInputs& inputs, std::span<RowResult> results) noexcept override;
  std::string describe() const override;

  // Called after every stage, when its buffers are complete: for parity tests. Slow.
  void set_observer(std::function<void(size_t stage)> observer) { observer_ = std::move(observer); }
  // A copy on the host of the first `rows` rows.
  Tensor read_buffer(BufferId id, int64_t rows) const;

 private:
  bool run_stages(const StepInputs& inputs);

  Plan plan_;
  LoadedWeights weights_;
  StepCapacity capacity_;
  CudaDevice info_;
  Device device_{.kind = Device::Kind::cuda};
  BoundPlan bound_;
  std::optional<CacheStorage> cache_;
  std::unique_ptr<StepUpload> upload_;
  std::shared_ptr<Storage> scratch_;
  Tensor logits_;  // [R, V] on the host
  Sampler sampler_;
  void* stream_ = nullptr;
  std::function<void(size_t)> observer_;
};

}  // namespace arc
