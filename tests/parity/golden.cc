#include "parity/golden.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

#include "nlohmann/json.hpp"

#include "base/check.h"
#include "base/mapped_file.h"
#include "io/safetensors.h"

namespace arc::test {
namespace {

// ARC_GOLDENS names the folder for programs that run far from the sources.
std::filesystem::path goldens() {
  if (const char* folder = std::getenv("ARC_GOLDENS")) return folder;
  return std::filesystem::path(ARC_SOURCE_DIR) / "tests" / "goldens";
}

std::vector<double> doubles(const Checkpoint& file, const std::string& name) {
  const Tensor tensor = file.load(name);
  ARC_CHECK(tensor.dtype() == DType::f64) << name;
  return {tensor.as<double>(), tensor.as<double>() + tensor.numel()};
}

uint64_t fnv1a(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3u;
  return hash;
}

uint64_t splitmix64(uint64_t key, uint64_t index) {
  uint64_t z = key + (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

void read_manifest(const Json& manifest, Golden& golden) {
  golden.arch = manifest.at("arch").get<std::string>();
  golden.seed = manifest.at("seed").get<uint64_t>();
  for (const Json& entry : manifest.at("tensors")) {
    golden.tensors.push_back({.name = entry.at("name").get<std::string>(),
                              .shape = entry.at("shape").get<std::vector<int64_t>>(),
                              .bits = entry.at("bits").get<int>(),
                              .log2_scale = entry.at("log2_scale").get<int>(),
                              .offset = entry.value("offset", 0.0),
                              .ignored = entry.value("ignored", false)});
  }
}

}  // namespace

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(goldens())) {
    if (std::filesystem::exists(entry.path() / "golden.safetensors")) names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> generating_names() {
  std::vector<std::string> names = golden_names();
  std::erase_if(names, [](const std::string& name) { return !read_golden(name).has_head(); });
  return names;
}

Golden read_golden(const std::string& name) {
  const std::filesystem::path folder = goldens() / name;
  const Checkpoint file = open_safetensors(folder / "golden.safetensors");
  Golden golden{.name = name, .config_json = read_text_file(folder / "config.json")};
  if (std::filesystem::exists(folder / "config2.json")) golden.config2_json = read_text_file(folder / "config2.json");
  read_manifest(parse_json(file.metadata().at("manifest"), "golden manifest"), golden);
  const Tensor tokens = file.load("tokens");
  golden.tokens.assign(tokens.as<int32_t>(), tokens.as<int32_t>() + tokens.numel());
  for (int l = 0; file.find("hidden." + std::to_string(l)) != nullptr; ++l) {
    golden.hidden.push_back(doubles(file, "hidden." + std::to_string(l)));
  }
  golden.logits = doubles(file, "logits");
  golden.f32_error = doubles(file, "f32_error");
  return golden;
}

std::vector<float> generate(const GoldenTensor& tensor, uint64_t seed) {
  const uint64_t key = fnv1a(tensor.name + "#" + std::to_string(seed));
  int64_t count = 1;
  for (int64_t size : tensor.shape) count *= size;
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    const auto level = static_cast<int64_t>(splitmix64(key, i) >> (64 - tensor.bits));
    const auto odd = static_cast<double>(2 * level + 1 - (int64_t{1} << tensor.bits));
    values[i] = static_cast<float>(std::ldexp(odd, tensor.log2_scale) + tensor.offset);
  }
  return values;
}

void write_checkpoint(const Golden& golden, DType dtype, const std::filesystem::path& path, const Mutation& mutation) {
  std::vector<NamedTensor> tensors;
  for (const GoldenTensor& entry : golden.tensors) {
    std::vector<float> values = generate(entry, golden.seed);
    if (entry.name == mutation.tensor) {
      for (float& v : values) v = v * mutation.scale + mutation.add;
      if (mutation.reverse) std::ranges::reverse(values);
    }
    Tensor tensor = Tensor::zeros(Shape(entry.shape), dtype);
    from_float(dtype, values.data(), tensor.data(), values.size());
    tensors.push_back({.name = entry.name, .tensor = tensor});
  }
  write_safetensors(path, tensors);
}

TemporaryFolder::TemporaryFolder(const std::string& name)
    : path_(std::filesystem::temp_directory_path() / (name + "." + std::to_string(::getpid()))) {
  std::filesystem::create_directories(path_);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace arc::test
