// Loading: the plan's placement applied to a checkpoint. Each weight is read, transformed and stored once.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "kernels/api/kernel.h"
#include "plan/plan.h"
#include "tensor/staging.h"

namespace arc {

// One loaded weight: [count, out, in] in its format, and an optional f32 bias [count, out].
struct Linear {
  WeightFormat format;
  int64_t count = 1, out = 0, in = 0;
  Tensor data, bias;

  MatrixView view() const;
};

struct LoadedWeights {
  std::vector<Linear> weights;           // by WeightId
  std::vector<std::string> unused;       // tensors of the checkpoint that the plan does not read
  std::map<std::string, int> converted;  // matrices by change of code, "Q5_0 to Q8_0"
  int64_t copied_bytes = 0, mapped_bytes = 0, placed_bytes = 0;
  double seconds = 0;  // that all of it took
};

// `fraction` of the weights' bytes is done.
using LoadProgress = std::function<void(double fraction)>;

// Called with each weight as soon as it is loaded; an executor replaces the bytes by its own packing here, so that no
// second copy of all weights ever exists.
using PackWeight = std::function<void(WeightId id, Linear& weight)>;

// Makes a tensor of pieces that lie in the checkpoint as the weight wants them; what no piece covers is zero. Executors
// with memory of their own read matrices so, without a copy on the host.
using PlaceWeight = std::function<Tensor(const Shape& shape, DType dtype, std::span<const HostPiece> pieces)>;

// Throws Error(corrupt_data) for a tensor whose size does not fit. Weights that are whole tensors of the right type
// stay mapped, or are placed.
LoadedWeights load_weights(const Plan& plan, const Checkpoint& checkpoint, const LoadProgress& progress = {},
                           const PackWeight& pack = {}, const PlaceWeight& place = {});

}  // namespace arc
