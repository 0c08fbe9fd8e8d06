#include "engine/model_source.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/mapped_file.h"
#include "models/gguf.h"

namespace arc {
namespace {

constexpr uint64_t kMaxArray = 65'536;

Config checked(Config config, const Arch& arch, ModelSpec& spec, ScaledWeights& scaled) {
  spec = arch.build(config);
  scaled = scaled_weights_from(config);
  config.expect_known();
  return config;
}

// A folder with a modules.json is there for its vectors, whatever else its weights could do.
void read_modules(ModelSource& source) {
  const auto read = [&](const std::string& name) -> std::optional<std::string> {
    const std::filesystem::path path = source.files.path / name;
    if (!std::filesystem::exists(path)) return std::nullopt;
    return read_text_file(path);
  };
  source.embedding = read_embedding_modules(read, source.spec.dim);
  if (!source.embedding) return;
  source.spec.has_head = false;
  const int32_t most = source.embedding->max_tokens;
  if (most > 0) source.spec.max_positions = std::min(source.spec.max_positions, most);
}

// The numbers of a one-dimensional tensor; empty when there is none.
std::vector<double> numbers_of(const Checkpoint& checkpoint, std::string_view name) {
  const TensorEntry* entry = checkpoint.find(name);
  if (entry == nullptr || entry->code != BlockCode::none || entry->shape.numel() > int64_t{kMaxArray}) return {};
  std::vector<float> values(static_cast<size_t>(entry->shape.numel()));
  to_float(entry->dtype, checkpoint.load(name).data(), values.data(), values.size());
  return {values.begin(), values.end()};
}

GgufFacts facts_of(const GgufModel& file) {
  GgufFacts facts{.value = [&](std::string_view key) -> Json {
                    const auto found = file.metadata.find(key);
                    if (found == file.metadata.end()) return nullptr;
                    if (found->second.count() > kMaxArray) {
                      throw Error(ErrorCode::corrupt_data, fmt::format("metadata: \"{}\" is too long a list", key));
                    }
                    return found->second.json();
                  },
                  .has_tensor = [&](std::string_view name) { return file.checkpoint.find(name) != nullptr; },
                  .numbers = [&](std::string_view name) { return numbers_of(file.checkpoint, name); }};
  for (const auto& [key, value] : file.metadata) facts.keys.push_back(key);
  const TensorEntry* embedding = file.checkpoint.find(kGgufNaming.embed);
  if (embedding == nullptr) embedding = file.checkpoint.find(kGgufNaming.head);  // some converters keep this name
  if (embedding == nullptr || embedding->shape.rank() != 2) {
    throw Error(ErrorCode::corrupt_data,
                fmt::format("the file has no matrix {}; is it a language model's?", kGgufNaming.embed));
  }
  facts.vocabulary = embedding->shape[0];
  facts.dtype = embedding->dtype == DType::f32 ? "float32" : embedding->dtype == DType::bf16 ? "bfloat16" : "float16";
  return facts;
}

ModelSource open_gguf_model(ModelFolder files) {
  GgufModel file = open_gguf(files.gguf);
  const GgufFacts facts = facts_of(file);
  const GgufDialect& dialect = find_gguf_dialect(facts);
  const Arch& arch = find_arch(dialect.arch);
  ModelSpec spec;
  ScaledWeights scaled;
  Config config = checked(Config(gguf_config(dialect, facts), files.gguf.filename().string()), arch, spec, scaled);
  ModelSource source{.files = std::move(files),
                     .config = std::move(config),
                     .arch = &arch,
                     .spec = std::move(spec),
                     .checkpoint = std::move(file.checkpoint),
                     .own_names = dialect.names,
                     .naming = &kGgufNaming};
  source.gguf = std::move(file);
  return source;
}

}  // namespace

std::string ModelSource::name() const {
  return gguf ? files.gguf.stem().string() : files.path.filename().string();
}

ModelSource open_model(const std::string& model, bool weights_required) {
  ModelFolder files = open_model_folder(model);
  if (!files.gguf.empty()) return open_gguf_model(std::move(files));
  Config config(parse_json(files.config_json, "config.json"));
  const Arch& arch = find_arch(config.architecture());
  ModelSpec spec;
  ScaledWeights scaled;
  config = checked(std::move(config), arch, spec, scaled);
  ModelSource source{.files = std::move(files),
                     .config = std::move(config),
                     .arch = &arch,
                     .spec = std::move(spec),
                     .own_names = arch.own_names,
                     .scaled = scaled};
  read_modules(source);
  if (weights_required || has_weights(source.files)) source.checkpoint = open_weights(source.files);
  return source;
}

}  // namespace arc
