// From what a user calls a model (`-m`) to a folder on this machine, and its files.
#pragma once

#include <filesystem>
#include <string>

#include "io/checkpoint.h"

namespace arc {

struct ModelFolder {
  std::filesystem::path path;
  std::filesystem::path gguf;          // the file that holds all the rest; empty: a folder of safetensors
  std::string config_json;             // the text of config.json
  std::string generation_config_json;  // of generation_config.json; empty when there is none
};

// `model` is a folder, a .gguf file, a folder that holds one model as .gguf, or the id of a model ("org/name") in the
// local hub cache: $HF_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else
// ~/.cache/huggingface/hub; empty: the model that comes with Arc, share/arc/arc.gguf. Throws Error(not_found,
// unsupported, io) that names the remedy.
ModelFolder open_model_folder(const std::string& model);

bool has_weights(const ModelFolder& folder);

// The folder's weights: model.safetensors, or the shards that model.safetensors.index.json lists.
Checkpoint open_weights(const ModelFolder& folder);

}  // namespace arc
