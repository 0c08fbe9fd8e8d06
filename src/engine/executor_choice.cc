#include "engine/executor_choice.h"

#include <utility>

#include "fmt/format.h"

#include "base/error.h"
#include "kernels/ref/ref.h"

namespace arc {

const KernelTable& ExecutorChoice::kernels() const {
  return on_cpu ? cpu::kernels(cpu.isa) : ref::kernels();
}

PackWeight ExecutorChoice::packer(const Plan& plan) const {
  return on_cpu ? CpuExecutor::packer(plan) : PackWeight{};
}

std::unique_ptr<Executor> ExecutorChoice::make(std::vector<RefExecutor::Rank> ranks,
                                               const StepCapacity& capacity) const {
  if (!on_cpu) return std::make_unique<RefExecutor>(std::move(ranks), capacity);
  return std::make_unique<CpuExecutor>(std::move(ranks[0].plan), std::move(ranks[0].weights), capacity, cpu);
}

ExecutorChoice choose_executor(const EngineConfig& config) {
  if (config.executor != "auto" && config.executor != "ref" && config.executor != "cpu") {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the executor \"{}\" is not one of auto, cpu, ref", config.executor));
  }
  if (config.threads < 0 || config.threads > kMaxTeamThreads) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--threads {} is not between 0 (all cores) and {}", config.threads, kMaxTeamThreads));
  }
  if (config.executor == "cpu" && config.tensor_parallel > 1) {
    throw Error(ErrorCode::unsupported,
                fmt::format("the CPU executor runs one rank; take --executor ref for --tensor-parallel {}",
                            config.tensor_parallel));
  }
  if (config.executor == "ref" || config.tensor_parallel > 1) return {};
  return {.on_cpu = true, .cpu = {.isa = cpu::choose_isa(), .threads = config.threads}};
}

}  // namespace arc
