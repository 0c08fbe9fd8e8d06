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
                                 const Naming& naming, const ScaledWeights& scaled)
    : checkpoint_(checkpoint), own_names_(own_names), naming_(naming), tied_head_(tied_head), scaled_(scaled) {
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
  if (tensor == nullptr && scaled_.mxfp4) tensor = checkpoint_.find(name + "_blocks");
  if (tensor == nullptr) {
    if (!required) return std::nullopt;
    throw Error(ErrorCode::not_found, fmt::format("the checkpoint lacks the tensor {}", name));
  }
  if (tensor->code == BlockCode::none && dtype_size(tensor->dtype) == 1) return with_scales(*tensor, layout);
  return SlotTensor{
      .name = name, .layout = layout, .dtype = tensor->dtype, .code = tensor->code, .shape = tensor->shape};
}

// An 8-bit matrix means nothing without its scales.
SlotTensor CheckpointSlots::with_scales(const TensorEntry& tensor, const TensorLayout& layout) const {
  SlotTensor slot{.name = tensor.name, .layout = layout, .dtype = tensor.dtype, .shape = tensor.shape};
  constexpr std::string_view kBlocks = "_blocks";
  if (scaled_.mxfp4 && tensor.name.ends_with(kBlocks) && tensor.shape.rank() == 4) {  // [experts, out, in / 32, 16]
    const Shape& s = tensor.shape;
    const std::string base = tensor.name.substr(0, tensor.name.size() - kBlocks.size());
    slot.scales = {.kind = WeightScales::Kind::mxfp4, .tensor = base + "_scales", .rows = 1, .cols = 32};
    slot.shape = Shape({s[0], s[1], s[2] * 2 * s[3]});
    slot.layout.transposed = false;
  } else if (scaled_.block_rows > 0 && is_floating(tensor.dtype)) {
    slot.scales = {.kind = WeightScales::Kind::fp8,
                   .tensor = tensor.name + "_scale_inv",
                   .rows = scaled_.block_rows,
                   .cols = scaled_.block_cols};
  }
  if (slot.scales && checkpoint_.find(slot.scales.tensor) != nullptr) return slot;
  const auto has = [&](std::string_view suffix) {
    return checkpoint_.find(tensor.name + std::string(suffix)) != nullptr;
  };
  if (!slot.scales && !has("_scale_inv") && !has("_scale")) return slot;
  throw Error(ErrorCode::unsupported, fmt::format("tensor {} holds {} without scales that Arc knows; config.json's "
                                                  "quantization_config must say fp8 with weight_block_size, or mxfp4",
                                                  tensor.name, dtype_name(tensor.dtype)));
}

ScaledWeights scaled_weights_from(const Config& config) {
  if (!config.has("quantization_config")) return {};
  const Config q = config.object_or_empty("quantization_config");
  // Which modules are not converted, the tensors say; activations keep their precision here.
  q.ignore({"modules_to_not_convert", "activation_scheme", "scale_fmt"});
  const std::string method = q.s("quant_method");
  if (method == "mxfp4") return {.mxfp4 = true};
  const std::vector<int> block = q.ints_or_empty("weight_block_size");
  if (method == "fp8" && q.s_or("fmt", "e4m3") == "e4m3" && block.size() == 2 && std::ranges::min(block) > 0) {
    return {.block_rows = block[0], .block_cols = block[1]};
  }
  throw Error(ErrorCode::unsupported,
              fmt::format("config.json: quantization \"{}\" is not supported; Arc reads fp8 (e4m3 with "
                          "weight_block_size), mxfp4, and GGUF files",
                          method));
}

std::optional<SlotTensor> ShapeOnlySlots::find(std::string_view slot, int layer, int expert, bool) const {
  if (layer < 0) {
    const std::string_view stored = tied_head_ && slot == "head" ? "embed" : slot;
    return SlotTensor{.name = std::string(global_tensor(kHubNaming, own_names_, stored)), .dtype = dtype_};
  }
  const NameRow* row = find_name(own_names_, kHubNaming.common, slot);
  if (row == nullptr) return std::nullopt;
  return SlotTensor{.name = layer_name(kHubNaming, kHubNaming.prefixes[0], *row, layer, expert),
                    .layout = row->layout,
                    .dtype = dtype_};
}

}  // namespace arc
