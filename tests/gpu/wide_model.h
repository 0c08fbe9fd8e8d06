// A golden's model made wide: every row of its matrices is whole blocks of any weight format, and its heads are of a
// size that codebooks exist for. Weights are random.
#pragma once

#include <string>
#include <vector>

#include "parity/golden.h"
#include "parity/tiny_model.h"
#include "plan/cache_policy.h"

namespace arc::test {

class WideModel {
 public:
  WideModel(const Golden& golden, const WeightFormat& format);

  // The same with windows of so many tokens where it has any.
  WideModel with_windows(int32_t window) const;
  // For the reference: the same numbers in f32, so that no row is decoded more than once.
  HandMade reference(const std::vector<LayerCache>& caches) const;
  HandMade made(const std::vector<LayerCache>& caches) const;
  // Moves weights where `pack` wants them, once for all that are made.
  void pack(const PackWeight& pack);
  std::vector<LayerCache> caches(const std::string& type, DType raw) const;
  // Tokens to run.
  std::vector<int32_t> tokens(int n) const;
  bool whole_texts() const { return whole_texts_; }  // computed in one step

 private:
  Plan lowered(const KernelTable* kernels, const std::vector<LayerCache>& caches) const;
  HandMade made(const std::vector<LayerCache>& caches, const LoadedWeights& weights) const;

  const Arch* arch_;
  ModelSpec spec_;
  WeightFormat format_;
  LoadedWeights weights_, decoded_;
  int32_t vocab_ = 0;
  bool whole_texts_ = false;
};

}  // namespace arc::test
