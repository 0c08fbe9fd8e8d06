// A model loaded into the reference executor for tests that drive it step by step, without engine or scheduler.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "exec/ref_executor.h"
#include "io/checkpoint.h"
#include "models/arch.h"

namespace arc::test {

class TinyModel {
 public:
  // `n_ranks` tensor-parallel ranks in this process; `fused`: layers in five stages where they allow it.
  TinyModel(const std::string& config_json, const Checkpoint& checkpoint, int n_ranks = 1, bool fused = false);

  struct Outputs {
    std::vector<std::vector<double>> hidden;  // [L + 1][n * C]
    std::vector<double> logits;               // [n * V]
  };
  // Runs `tokens` as one sequence from an empty cache, in chunks of `chunk` tokens (0: all at once).
  Outputs run(std::span<const int32_t> tokens, int chunk = 0);

  const Plan& plan() const { return plan_; }
  const std::vector<std::string>& unused() const { return unused_; }

 private:
  void step(std::span<const int32_t> tokens, int first, Outputs& outputs);

  Plan plan_;
  std::vector<std::string> unused_;
  std::unique_ptr<RefExecutor> executor_;
};

}  // namespace arc::test
