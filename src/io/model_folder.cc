#include "io/model_folder.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "io/safetensors.h"

namespace arc {
namespace {

namespace fs = std::filesystem;

// Questions that a strange path answers with no, not with an exception.
bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}
bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// The value of an environment variable; empty when it is not set.
std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

fs::path hub_cache() {
  if (const std::string hub = environment("HF_HUB_CACHE"); !hub.empty()) return hub;
  if (const std::string home = environment("HF_HOME"); !home.empty()) return fs::path(home) / "hub";
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) {
    return fs::path(cache) / "huggingface" / "hub";
  }
  return fs::path(environment("HOME")) / ".cache" / "huggingface" / "hub";
}

// "name" or "org/name", of the characters that the hub allows.
bool is_hub_id(std::string_view id) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == '/';
  };
  return !id.empty() && id.front() != '/' && id.back() != '/' && std::ranges::count(id, '/') <= 1 &&
         std::ranges::all_of(id, allowed);
}

// Where the hub's client keeps a model: models--org--name/snapshots/<the revision that refs/main names>.
fs::path hub_snapshot(const std::string& id) {
  std::string name = "models--" + id;
  if (const size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  const fs::path model = hub_cache() / name;
  const fs::path ref = model / "refs" / "main";
  if (!is_there(ref)) {
    throw Error(
        ErrorCode::not_found,
        fmt::format("{} is neither a folder nor a model in the hub cache {}: give a folder with config.json and "
                    "*.safetensors, or download the model with \"hf download {}\"",
                    id, hub_cache().string(), id));
  }
  std::string revision = read_text_file(ref, 256);
  while (!revision.empty() && (revision.back() == '\n' || revision.back() == ' ')) revision.pop_back();
  const fs::path snapshot = model / "snapshots" / revision;
  if (revision.empty() || revision.find('/') != std::string::npos || !is_folder(snapshot)) {
    throw Error(ErrorCode::not_found,
                fmt::format("{} has no snapshot \"{}\": download the model again with \"hf download {}\"",
                            model.string(), revision, id));
  }
  return snapshot;
}

fs::path find_folder(const std::string& model) {
  if (is_folder(model)) return model;
  if (is_there(model)) {
    throw Error(ErrorCode::invalid_argument, fmt::format("{} is a file; give the folder that holds it", model));
  }
  if (is_hub_id(model)) return hub_snapshot(model);
  throw Error(ErrorCode::not_found,
              fmt::format("there is no folder {}; a model is a folder with config.json and *.safetensors", model));
}

// The model that comes with Arc: beside the installed program, or linked into the build folder.
fs::path builtin_model() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* folder : {"../share/arc", "share/arc"}) {
    const fs::path file = (program / folder / "arc.gguf").lexically_normal();
    if (is_there(file)) return file;
  }
  throw Error(ErrorCode::not_found,
              fmt::format("the built-in model is not at {}: install Arc with ./install.sh, or name a model with -m",
                          (program / "../share/arc/arc.gguf").lexically_normal().string()));
}

// The one model that the folder holds as GGUF; empty when there is none. Of a split model the first file counts.
fs::path find_gguf(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    const size_t of = name.rfind("-of-");
    const bool later = of != std::string::npos && of >= 6 && name.substr(of - 6, 6) != "-00001";
    if (name.ends_with(".gguf") && !name.starts_with("mmproj") && !later) names.push_back(name);
  }
  std::ranges::sort(names);
  if (names.size() > 1) {
    throw Error(ErrorCode::invalid_argument, fmt::format("{} holds several models: give the path of one of {}",
                                                         folder.string(), fmt::join(names, ", ")));
  }
  return names.empty() ? fs::path() : folder / names.front();
}

constexpr const char* kWeights[] = {"model.safetensors", "model.safetensors.index.json"};

}  // namespace

ModelFolder open_model_folder(const std::string& model) {
  if (model.empty()) return open_model_folder(builtin_model().string());
  if (model.ends_with(".gguf") && !is_folder(model)) {
    if (!is_there(model)) throw Error(ErrorCode::not_found, fmt::format("there is no file {}", model));
    return {.path = fs::path(model).parent_path(), .gguf = model};
  }
  ModelFolder folder{.path = find_folder(model)};
  const fs::path config = folder.path / "config.json";
  if (!is_there(config) || !has_weights(folder)) folder.gguf = find_gguf(folder.path);
  if (!folder.gguf.empty()) return folder;
  if (!is_there(config)) {
    throw Error(ErrorCode::not_found, fmt::format("{} has no config.json: it is not the folder of a model, or its "
                                                  "download is not complete",
                                                  folder.path.string()));
  }
  folder.config_json = read_text_file(config);
  const fs::path generation = folder.path / "generation_config.json";
  if (is_there(generation)) folder.generation_config_json = read_text_file(generation);
  return folder;
}

bool has_weights(const ModelFolder& folder) {
  return std::ranges::any_of(kWeights, [&](const char* name) { return is_there(folder.path / name); });
}

Checkpoint open_weights(const ModelFolder& folder) {
  for (const char* name : kWeights) {
    if (is_there(folder.path / name)) return open_safetensors(folder.path / name);
  }
  throw Error(ErrorCode::not_found,
              fmt::format("{} has neither model.safetensors nor model.safetensors.index.json: download the model's "
                          "safetensors, or convert its weights to that format",
                          folder.path.string()));
}

}  // namespace arc
