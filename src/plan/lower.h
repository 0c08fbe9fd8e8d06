// Lowering: ModelSpec, the formats of the checkpoint's tensors and a cache policy become a Plan.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "plan/plan.h"
#include "spec/model_spec.h"
#include "spec/names.h"

namespace arc {

// A tensor that holds a slot's values.
struct SlotTensor {
  std::string name;
  TensorLayout layout;
  DType dtype = DType::f32;  // `packed` with a block code
  BlockCode code = BlockCode::none;
  WeightScales scales;
  std::optional<Shape> shape;  // absent: unknown, not checked (plans made without a checkpoint)
};

// Finds checkpoint tensors by slot ("attn.q", layer 3). Slots outside layers have layer -1; only expert slots use
// `expert`.
class SlotResolver {
 public:
  virtual ~SlotResolver() = default;
  // Empty when the checkpoint stores the slot in another form (fused, stacked). Throws Error(not_found) with the
  // tensor's name when `required` and absent.
  virtual std::optional<SlotTensor> find(std::string_view slot, int layer, int expert, bool required) const = 0;
};

struct LowerOptions {
  Shard shard;
  const KernelTable* kernels = nullptr;
  std::function<KvPolicy(int layer)> policy;  // absent: raw f32
  bool fused = false;                         // prefer the five-stage recipe where a layer allows it
};

// Throws Error when the checkpoint does not fit the spec (names the tensor and both shapes), or when the shard does not
// divide it.
Plan lower(const ModelSpec& spec, const SlotResolver& slots, const LowerOptions& options);

}  // namespace arc
