// Which executor runs a model, from what the configuration asks for and what the machine has.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "arc/engine.h"
#include "exec/cpu_executor.h"
#include "exec/ref_executor.h"
#include "tensor/device_memory.h"

namespace arc {

struct ExecutorChoice {
  enum class Kind : uint8_t { ref, cpu, cuda };
  Kind kind = Kind::ref;
  CpuExecutor::Options cpu;
  CudaDevice device;
  bool may_change = false;  // to the CPU, when the GPU cannot run the model
  std::string note;         // why a GPU is not used, for the load report; empty: nothing to say

  const KernelTable& kernels() const;         // to lower with
  PackWeight packer(const Plan& plan) const;  // to load with
  PlaceWeight placer() const;                 // likewise
  std::unique_ptr<Executor> make(std::vector<RefExecutor::Rank> ranks, const StepCapacity& capacity) const;

  // Takes the CPU where it may and the GPU cannot run `plan`: the plan is then to be lowered again. Throws
  // Error(unsupported) where it may not. True: all is well.
  bool settle(const Plan& plan, const StepCapacity& capacity);
  // Memory for the cache where the configuration names none; weights are loaded.
  int64_t default_cache_bytes(const Plan& plan, const StepCapacity& capacity) const;
};

// "auto" is the GPU where there is one, else the CPU executor; the reference for several ranks. Throws Error for an
// unknown name, for a number of threads out of range, for one-rank executors with several ranks, and for "cuda" without
// a GPU.
ExecutorChoice choose_executor(const EngineConfig& config);

}  // namespace arc
