// The persistent decode executor: a step of one sequence as one launch, a resident grid that walks the plan's tape.
#pragma once

#include <memory>

#include "exec/bound_plan.h"
#include "exec/tape_lowering.h"
#include "kernels/cuda/tape/walk.h"
#include "tensor/device_memory.h"

namespace arc {

class TapeDecoder {
 public:
  // Throws Error(unsupported) that says why this plan or device has no tape.
  TapeDecoder(const Plan& plan, const CudaDevice& device);

  // Ties the tape to memory. Weights and cache stay where they are: the tape reads the one copy that all executors
  // read. Throws Error(resource).
  void bind(const Plan& plan, const LoadedWeights& weights, const CacheStorage& cache, const BoundPlan& bound);

  // Everything of a step of one sequence, from its token to the logits of row 0, or its first `n_stages` (two or more).
  // Can be captured. A cudaError_t.
  int launch(const StepInputs& on_device, void* stream, size_t n_stages) const noexcept;

  const Tape& tape() const { return tape_; }
  // For tests: a copy of `size_bytes` of what lies at a device address of the tape, and the number of the last step.
  Tensor read(uint64_t address, int64_t size_bytes) const;
  uint32_t last_step() const;

 private:
  uint32_t n_processors_ = 0;
  Device device_;
  Tape tape_;
  tape::CacheTurn turn_;
  std::vector<tape::CacheCodec> codecs_;
  std::shared_ptr<Storage> buffers_, records_, deals_, maps_, step_;
};

}  // namespace arc
