// Finds the tensors of a checkpoint by slot, through a family's table of names.
#pragma once

#include <span>
#include <string>

#include "io/checkpoint.h"
#include "plan/lower.h"
#include "spec/config.h"
#include "spec/names.h"

namespace arc {

// What config.json's quantization_config says: scales of FP8 matrices, one per block of rows x cols, or MXFP4 experts.
// Throws Error(unsupported) for any other method.
struct ScaledWeights {
  int32_t block_rows = 0, block_cols = 0;  // 0: no FP8
  bool mxfp4 = false;
};
ScaledWeights scaled_weights_from(const Config& config);

// The prefix of the transformer's names is the first one under which the checkpoint has an embedding or a final norm. A
// model with tied head may store the shared matrix under either name.
class CheckpointSlots : public SlotResolver {
 public:
  // `checkpoint` outlives this. Throws Error(not_found) when no prefix fits.
  CheckpointSlots(const Checkpoint& checkpoint, std::span<const NameRow> own_names, bool tied_head,
                  const Naming& naming = kHubNaming, const ScaledWeights& scaled = {});
  std::optional<SlotTensor> find(std::string_view slot, int layer, int expert, bool required) const override;

 private:
  std::string global_name(std::string_view slot) const;
  SlotTensor with_scales(const TensorEntry& tensor, const TensorLayout& layout) const;

  const Checkpoint& checkpoint_;
  std::span<const NameRow> own_names_;
  const Naming& naming_;
  std::string prefix_;
  bool tied_head_ = false;
  ScaledWeights scaled_;
};

// Any slot that the family names in folders of safetensors, in one dtype and of unknown shape: for plans of a config
// without weights.
class ShapeOnlySlots : public SlotResolver {
 public:
  ShapeOnlySlots(std::span<const NameRow> own_names, bool tied_head, DType dtype)
      : own_names_(own_names), tied_head_(tied_head), dtype_(dtype) {}
  std::optional<SlotTensor> find(std::string_view slot, int layer, int expert, bool required) const override;

 private:
  std::span<const NameRow> own_names_;
  bool tied_head_;
  DType dtype_;
};

}  // namespace arc
