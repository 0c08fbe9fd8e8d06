#include "engine/executor_choice.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"

#include "base/error.h"
#include "engine/cache_sizing.h"
#include "exec/cuda/cuda_backend.h"
#include "kernels/ref/ref.h"

namespace arc {
namespace {

// Of the memory that weights and buffers leave, what the cache may take; the rest is for the driver and for others.
constexpr int64_t kCachePercent = 90;

void check(const EngineConfig& config) {
  const std::string& name = config.executor;
  if (name != "auto" && name != "ref" && name != "cpu" && name != "cuda") {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the executor \"{}\" is not one of auto, cpu, cuda, ref", name));
  }
  if (config.threads < 0 || config.threads > kMaxTeamThreads) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--threads {} is not between 0 (all cores) and {}", config.threads, kMaxTeamThreads));
  }
  if ((name == "cpu" || name == "cuda") && config.tensor_parallel > 1) {
    throw Error(ErrorCode::unsupported,
                fmt::format("the {} executor runs one rank; take --executor ref for --tensor-parallel {}",
                            name == "cpu" ? "CPU" : "CUDA", config.tensor_parallel));
  }
}

}  // namespace

const KernelTable& ExecutorChoice::kernels() const {
  if (kind == Kind::cuda) return gpu::kernels();
  return kind == Kind::cpu ? cpu::kernels(cpu.isa) : ref::kernels();
}

PackWeight ExecutorChoice::packer(const Plan& plan) const {
  if (kind == Kind::cuda) return gpu::uploader(device.device());
  return kind == Kind::cpu ? CpuExecutor::packer(plan) : PackWeight{};
}

PlaceWeight ExecutorChoice::placer() const {
  return kind == Kind::cuda ? gpu::stager(device.device()) : PlaceWeight{};
}

std::unique_ptr<Executor> ExecutorChoice::make(std::vector<RefExecutor::Rank> ranks,
                                               const StepCapacity& capacity) const {
  if (kind == Kind::ref) return std::make_unique<RefExecutor>(std::move(ranks), capacity);
  Plan& plan = ranks[0].plan;
  LoadedWeights& weights = ranks[0].weights;
  if (kind == Kind::cuda) return gpu::make(std::move(plan), std::move(weights), capacity, device);
  return std::make_unique<CpuExecutor>(std::move(plan), std::move(weights), capacity, cpu);
}

bool ExecutorChoice::settle(const Plan& plan, const StepCapacity& capacity) {
  if (kind != Kind::cuda) return true;
  const std::string problem = gpu::problem(plan, capacity, device);
  if (problem.empty()) return true;
  if (!may_change) throw Error(ErrorCode::unsupported, problem);
  note = problem;
  kind = Kind::cpu;
  return false;
}

int64_t ExecutorChoice::default_cache_bytes(const Plan& plan, const StepCapacity& capacity) const {
  if (kind != Kind::cuda) return arc::default_cache_bytes();
  const int64_t left = find_cuda_device(device.index).free_bytes - gpu::work_bytes(plan, capacity);
  return std::max<int64_t>(left, 0) / 100 * kCachePercent;
}

ExecutorChoice choose_executor(const EngineConfig& config) {
  check(config);
  if (config.executor == "ref" || config.tensor_parallel > 1) return {};
  ExecutorChoice choice{.kind = ExecutorChoice::Kind::cpu,
                        .cpu = {.isa = cpu::choose_isa(), .threads = config.threads},
                        .may_change = config.executor == "auto"};
  if (config.executor == "cpu") return choice;
  choice.device = gpu::find();
  if (choice.device.problem.empty()) {
    choice.kind = ExecutorChoice::Kind::cuda;
  } else if (!choice.may_change) {
    throw Error(ErrorCode::unsupported, choice.device.problem);
  } else if (choice.device.runtime > 0) {  // a build with CUDA
    choice.note = choice.device.problem;
  }
  return choice;
}

}  // namespace arc
