// A model loaded into an executor for tests that drive it step by step, without engine or scheduler.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "exec/cpu_executor.h"
#include "exec/ref_executor.h"
#include "io/checkpoint.h"
#include "models/arch.h"
#include "plan/lower.h"

namespace arc::test {

struct TinyOptions {
  int n_ranks = 1;              // tensor-parallel ranks in this process
  bool fused = false;           // layers in five stages where they allow it
  std::optional<cpu::Isa> isa;  // on the CPU executor instead of the reference
  int threads = 1;              // of the CPU executor
  DType cache = DType::f32;
};

class TinyModel {
 public:
  TinyModel(const std::string& config_json, const Checkpoint& checkpoint, const TinyOptions& options);
  TinyModel(const std::string& config_json, const Checkpoint& checkpoint, int n_ranks = 1, bool fused = false)
      : TinyModel(config_json, checkpoint, TinyOptions{.n_ranks = n_ranks, .fused = fused}) {}
  TinyModel(const ModelSpec& spec, const SlotResolver& slots, const Checkpoint& checkpoint, const TinyOptions& options);

  struct Outputs {
    std::vector<std::vector<double>> hidden;  // [L + 1][n * C]
    std::vector<double> logits;               // [n * V]
  };
  // Runs `tokens` as one sequence from an empty cache, in chunks of `chunk` tokens (0: all at once).
  Outputs run(std::span<const int32_t> tokens, int chunk = 0);

  // Called after each stage with the number of tokens of the step; the next stage sees what it changes in buffers.
  void set_observer(std::function<void(size_t stage, int n_tokens)> observer) { observer_ = std::move(observer); }
  TensorView buffer(BufferId id) const { return cpu_ != nullptr ? cpu_->buffer(id) : ref_->buffer(id); }

  const Plan& plan() const { return plan_; }
  const LoadedWeights& weights() const { return weights_; }  // of the first rank
  const std::vector<std::string>& unused() const { return unused_; }

 private:
  void load(const ModelSpec& spec, const SlotResolver& slots, const Checkpoint& checkpoint, const TinyOptions& options);
  void step(std::span<const int32_t> tokens, int first, int known, Outputs& outputs);

  Plan plan_;
  std::vector<std::string> unused_;
  LoadedWeights weights_;
  std::unique_ptr<Executor> executor_;
  RefExecutor* ref_ = nullptr;  // what executor_ is
  CpuExecutor* cpu_ = nullptr;
  std::function<void(size_t, int)> observer_;
};

}  // namespace arc::test
