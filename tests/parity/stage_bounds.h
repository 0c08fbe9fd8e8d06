// How far one stage of another executor may lie from the reference's when both read the same buffers: derived from the
// stage's inputs, element by element, for kernels that sum in f32 (u = 2^-24) with 16 partial sums.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "plan/plan.h"
#include "weights/load.h"

namespace arc::test {

// One stage as the reference ran it, for one sequence.
struct StageRun {
  const Stage& stage;
  TensorView reads[2];
  TensorView before, after;  // the first written columns
};

class StageBounds {
 public:
  // `product_rounding`: of the factors of products, relative; 2^-9 where activations become bf16. `attend_rounding`: of
  // queries and weights of attention, and of what a compressed cache holds. `attends_in_bytes`: those of attention over
  // int8 blocks become whole numbers of 16 bits.
  StageBounds(const Plan& plan, const LoadedWeights& weights, double product_rounding, double attend_rounding,
              bool attends_in_bytes)
      : plan_(plan),
        weights_(weights),
        product_rounding_(product_rounding),
        attend_rounding_(attend_rounding),
        attends_in_bytes_(attends_in_bytes) {}

  // Bounds for `run.after` [rows, cols]. Call for every stage of every step in order: what stages leave in the cache is
  // remembered.
  std::vector<double> of(const StageRun& run);

 private:
  // Rows that a layer's cache was given.
  struct History {
    std::vector<std::vector<float>> keys, values;
  };
  using Bounds = std::vector<double>;

  Bounds bounds(const NormArgs& a, const StageRun& run);
  Bounds bounds(const GatedNormArgs& a, const StageRun& run);
  Bounds bounds(const LinearArgs& a, const StageRun& run);
  Bounds bounds(const HeadLinearArgs& a, const StageRun& run);
  Bounds bounds(const ExpertLinearArgs& a, const StageRun& run);
  Bounds bounds(const RopeArgs& a, const StageRun& run);
  Bounds bounds(const AppendArgs& a, const StageRun& run);
  Bounds bounds(const AttendArgs& a, const StageRun& run);
  Bounds tiled_bounds(const AttendArgs& a, const StageRun& run);
  Bounds bounds(const AddArgs& a, const StageRun& run);
  Bounds bounds(const ActArgs& a, const StageRun& run);
  Bounds bounds(const ExpertSumArgs& a, const StageRun& run);
  Bounds bounds(const ConvArgs& a, const StageRun& run);
  Bounds bounds(const DeltaArgs& a, const StageRun& run);
  Bounds bounds(const SsmArgs& a, const StageRun& run);
  template <typename A>
  Bounds bounds(const A&, const StageRun& run);  // element by element

  const float* weight_row(const StageRun& run, int64_t matrix, int64_t row);  // [in], good until the next call
  double product_bound(const StageRun& run, int64_t matrix, int64_t row, const float* x);

  const Plan& plan_;
  const LoadedWeights& weights_;
  double product_rounding_, attend_rounding_;
  bool attends_in_bytes_;
  std::map<std::pair<int, int>, History> caches_, states_;
  std::vector<float> decoded_;  // a row
};

}  // namespace arc::test
