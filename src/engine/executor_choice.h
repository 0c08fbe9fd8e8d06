// Which executor runs a model, from what the configuration asks for.
#pragma once

#include <memory>
#include <vector>

#include "arc/engine.h"
#include "exec/cpu_executor.h"
#include "exec/ref_executor.h"

namespace arc {

struct ExecutorChoice {
  bool on_cpu = false;  // else the reference
  CpuExecutor::Options cpu;

  const KernelTable& kernels() const;         // to lower with
  PackWeight packer(const Plan& plan) const;  // to load with
  std::unique_ptr<Executor> make(std::vector<RefExecutor::Rank> ranks, const StepCapacity& capacity) const;
};

// "auto" is the CPU executor, or the reference for several ranks. Throws Error for an unknown name, for a number of
// threads out of range, and for "cpu" with several ranks.
ExecutorChoice choose_executor(const EngineConfig& config);

}  // namespace arc
