#include "weights/checkpoint_slots.h"

#include <algorithm>

#include "fmt/format.h"

#include "base/error.h"

namespace arc {
namespace {

std::string layer_name(const Naming& naming, std::string_view prefix, const NameRow& row, int layer, int expert) {
  std::string name = fmt::format("{}{}{}.{}", prefix, naming.layer, layer, row.tensor);
  constexpr std::string_view kExpert = "{e}";
  if (const size_t at = name.find(kExpert); at != std::string::npos)
    name.replace(at, kExpert.size(), std::to_string(expert));
  return name;
}

// A slot outside the layers; a family's own name wins.
std::string_view global_tensor(const Naming& naming, std::span<const NameRow> own, std::string_view slot) {
  const auto row = std::ranges::find(own, slot, &NameRow::slot);
  if (row != own.end()) return row->tensor;
  return slot == "embed" ? naming.embed : slot == "final_norm" ? naming.final_norm : naming.head;
}

}  // namespace

CheckpointSlots::CheckpointSlots(const Checkpoint& checkpoint, std::span<const NameRow> own_names, bool tied_head,
                                 const Naming& naming)
    : checkpoint_(checkpoint), own_names_(own_names), naming_(naming), tied_head_(tied_head) {
  for (std::string_view prefix : naming.prefixes) {
    for (std::string_view name : {naming.embed, naming.final_norm}) {
      if (checkpoint.find(fmt::format("{}{}", prefix, name)) == nullptr) continue;
      prefix_ = prefix;
      return;
    }
  }
  throw Error(ErrorCode::not_found, fmt::format("the checkpoint has no tensor {}{}; is it a language model's?",
                                                naming.prefixes[0], naming.embed));
}

std::string CheckpointSlots::global_name(std::string_view slot) const {
  const auto named = [&](std::string_view s) {
    return fmt::format("{}{}", s == "head" ? "" : prefix_, global_tensor(naming_, own_names_, s));
  };
  const std::string name = named(slot);
  if (!tied_head_ || checkpoint_.find(name) != nullptr) return name;
  if (slot == "head") return named("embed");
  if (slot == "embed" && checkpoint_.find(named("head")) != nullptr) return named("head");
  return name;
}

std::optional<SlotTensor> CheckpointSlots::find(std::string_view slot, int layer, int expert, bool required) const {
  TensorLayout layout;
  std::string name;
  if (layer < 0) {
    name = global_name(slot);
  } else {
    const NameRow* row = find_name(own_names_, naming_.common, slot);
    if (row == nullptr && required) {
      throw Error(ErrorCode::unsupported, fmt::format("this kind of file has no tensor for {}", slot));
    }
    if (row == nullptr) return std::nullopt;
    name = layer_name(naming_, prefix_, *row, layer, expert);
    layout = row->layout;
  }
  const TensorEntry* tensor = checkpoint_.find(name);
  if (tensor == nullptr) {
    if (!required) return std::nullopt;
    throw Error(ErrorCode::not_found, fmt::format("the checkpoint lacks the tensor {}", name));
  }
  // An 8-bit matrix means nothing without its scales.
  for (const char* suffix : {"_scale_inv", "_scale"}) {
    if (tensor->code == BlockCode::none && dtype_size(tensor->dtype) == 1 &&
        checkpoint_.find(name + suffix) != nullptr) {
      throw Error(ErrorCode::unsupported,
                  fmt::format("tensor {} has scales ({}{}), which are not supported yet", name, name, suffix));
    }
  }
  return SlotTensor{
      .name = name, .layout = layout, .dtype = tensor->dtype, .code = tensor->code, .shape = tensor->shape};
}

std::optional<SlotTensor> ShapeOnlySlots::find(std::string_view slot, int layer, int expert, bool) const {
  if (layer < 0) return SlotTensor{.name = std::string(global_tensor(kHubNaming, own_names_, slot)), .dtype = dtype_};
  const NameRow* row = find_name(own_names_, kHubNaming.common, slot);
  if (row == nullptr) return std::nullopt;
  return SlotTensor{.name = layer_name(kHubNaming, kHubNaming.prefixes[0], *row, layer, expert),
                    .layout = row->layout,
                    .dtype = dtype_};
}

}  // namespace arc
