// A model's description, weights and texts, from a folder of safetensors or from GGUF: what loading starts with.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "io/gguf.h"
#include "io/model_folder.h"
#include "models/arch.h"
#include "models/embedding_modules.h"
#include "weights/checkpoint_slots.h"

namespace arc {

struct ModelSource {
  ModelFolder files;
  std::optional<GgufModel> gguf;  // its checkpoint has moved to `checkpoint`
  Config config;
  const Arch* arch = nullptr;
  ModelSpec spec;
  std::optional<EmbeddingSpec> embedding;  // the folder's modules.json; then the model has no head
  std::optional<Checkpoint> checkpoint;    // absent: a folder without weights, to be inspected
  std::span<const NameRow> own_names;
  const Naming* naming = &kHubNaming;
  ScaledWeights scaled;

  // Of an open checkpoint, which must stay where it is.
  CheckpointSlots slots() const { return {*checkpoint, own_names, spec.tied_head, *naming, scaled}; }
  // The file's or folder's name, for lists of models.
  std::string name() const;
};

// Throws Error that names the file and the remedy. With `weights_required` false a folder may lack its weights.
ModelSource open_model(const std::string& model, bool weights_required);

}  // namespace arc
