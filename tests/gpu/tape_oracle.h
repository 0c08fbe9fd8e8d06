// What each stage of a tape should have left, computed in double from the very words that the stage read.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "exec/cuda/cuda_executor.h"
#include "quant/turbo.h"

namespace arc::test {

// The worst error in parts of its bound, by the kind of what was compared; infinite where a word is stale.
using Shares = std::map<std::string, double>;

class TapeOracle {
 public:
  // `host`: the weights that the executor has on the device. Keeps references.
  TapeOracle(const Plan& plan, const CudaExecutor& executor, const LoadedWeights& host);

  // To be called for stage 1 and on, in order, each time behind a run of the tape up to and with that stage; it checks
  // stage 0, too. The step fed `token` at `position`, and `tables` name its blocks, by group of the cache.
  void check(size_t index, int32_t token, int position, const std::vector<std::vector<int32_t>>& tables,
             Shares& shares);

  // The experts that stage `index` multiplies with first, behind a run up to and with it; nothing for a stage of
  // others.
  std::set<int32_t> chosen_at(size_t index);

 private:
  struct Sums;
  struct Tile;
  struct Cached;

  const Tape& tape() const { return executor_.tape()->tape(); }
  template <typename T>
  std::vector<T> read(uint64_t address, size_t count) const;
  std::vector<double> vector(const tape::BufferRef& ref, size_t count, Shares& shares) const;
  std::vector<double> tagged32(const tape::BufferRef& ref, size_t count, Shares& shares) const;
  double sum_of_squares(const tape::BufferRef& ref, Shares& shares) const;
  size_t weight_at(const tape::TapeStage& stage, size_t row, size_t column) const;
  Sums multiply(const tape::TapeStage& stage, const std::vector<double>& x) const;
  void choose_experts(const tape::TapeStage& stage, Shares& shares);
  void check_embed(int32_t token, Shares& shares);
  void check_product(const tape::TapeStage& stage, Shares& shares);
  void check_residual(const tape::TapeStage& stage, const std::vector<double>& expected,
                      const std::vector<double>& bounds, Shares& shares);
  KvView form_of(int group) const;
  Tile tile(int group, const tape::IndexedRef& cache, int32_t block, size_t head) const;
  Cached cached(const tape::TapeStage& stage, int position, size_t head, Shares& shares) const;
  void check_attend(const tape::TapeStage& stage, int position, Shares& shares);
  void check_sealed(const tape::TapeStage& stage, const Tile& open, size_t index, size_t head, Shares& shares) const;

  const Plan& plan_;
  const CudaExecutor& executor_;
  const LoadedWeights& host_;
  std::unique_ptr<TurboCodec> codecs_[kMaxCacheGroups][2];  // of packed groups: keys, values
  std::vector<std::vector<int32_t>> tables_;                // of the step
  std::vector<float> residual_;                             // before the stage
  struct Chosen {
    size_t id = 0;
    double weight = 0.0;
  };
  std::vector<Chosen> chosen_;  // of the layer, the best first
};

}  // namespace arc::test
