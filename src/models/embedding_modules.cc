#include "models/embedding_modules.h"

#include <algorithm>
#include <iterator>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "spec/config.h"

namespace arc {
namespace {

constexpr const char* kModules = "modules.json";
constexpr const char* kSettings = "config_sentence_transformers.json";
constexpr const char* kTransformer = "sentence_bert_config.json";
constexpr size_t kMaxModules = 64;
constexpr int32_t kMaxSize = 1 << 16;  // of a vector

[[noreturn]] void refuse(const std::string& file, const std::string& why) {
  throw Error(ErrorCode::unsupported, fmt::format("{}: {}", file, why));
}

// Modules read and write the features of a text; those in the middle of others' pipelines have other names.
void expect_feature(const Config& config, const std::string& file, std::string_view key, std::string_view name) {
  if (const std::string found = config.s_or(key, name); found != name) {
    refuse(file, fmt::format("\"{}\" is \"{}\"; Arc knows \"{}\"", key, found, name));
  }
}

PoolingSpec read_pooling(const Config& c, const std::string& file, int32_t dim) {
  constexpr std::string_view kFlags[] = {"pooling_mode_cls_token",           "pooling_mode_max_tokens",
                                         "pooling_mode_mean_tokens",         "pooling_mode_mean_sqrt_len_tokens",
                                         "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken"};
  PoolingSpec pooling{.include_prompt = c.b_or("include_prompt", true)};
  for (size_t i = 0; i < std::size(kFlags); ++i) {
    if (c.b_or(kFlags[i], false)) pooling.modes.push_back(static_cast<Pooling>(i));
  }
  std::vector<std::string> names;
  if (c.is_string("pooling_mode")) {
    names = {c.s("pooling_mode")};
  } else {
    names = c.strings_or_empty("pooling_mode");
  }
  if (!names.empty()) pooling.modes.clear();  // these win over the flags
  for (const std::string& name : names) pooling.modes.push_back(pooling_from(name));
  if (pooling.modes.empty()) pooling.modes = {Pooling::mean};
  if (pooling.modes.size() > kMaxModules) refuse(file, "lists too many modes");
  const int32_t size = c.i_or("embedding_dimension", c.i_or("word_embedding_dimension", dim));
  if (size != dim) refuse(file, fmt::format("pools vectors of {} numbers; the model's have {}", size, dim));
  return pooling;
}

DenseSpec read_dense(const Config& c, const std::string& folder, const std::string& file, int32_t in) {
  struct Name {
    std::string_view name;
    DenseSpec::Act act;
  };
  constexpr Name kNames[] = {
      {"torch.nn.modules.linear.Identity", DenseSpec::Act::identity},
      {"torch.nn.modules.activation.Tanh", DenseSpec::Act::tanh},
      {"torch.nn.modules.activation.ReLU", DenseSpec::Act::relu},
      {"torch.nn.modules.activation.GELU", DenseSpec::Act::gelu},
      {"torch.nn.modules.activation.SiLU", DenseSpec::Act::silu},
      {"torch.nn.modules.activation.Sigmoid", DenseSpec::Act::sigmoid},
  };
  const std::string name = c.s_or("activation_function", kNames[1].name);
  const auto known = std::ranges::find(kNames, name, &Name::name);
  if (known == std::end(kNames)) refuse(file, fmt::format("the activation \"{}\" is not supported", name));
  const DenseSpec dense{.in = c.i("in_features"),
                        .out = c.i("out_features"),
                        .bias = c.b_or("bias", true),
                        .act = known->act,
                        .folder = folder};
  if (dense.in != in) refuse(file, fmt::format("takes {} numbers where {} come", dense.in, in));
  if (dense.out < 1 || dense.out > kMaxSize) refuse(file, fmt::format("gives {} numbers", dense.out));
  if (c.b_or("use_residual", false)) refuse(file, "\"use_residual\" is not supported");
  return dense;
}

// "sentence_transformers.models.Pooling" and "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
// alike.
std::string module_type(const std::string& type) {
  if (!type.starts_with("sentence_transformers.")) refuse(kModules, fmt::format("the type \"{}\" is unknown", type));
  return type.substr(type.rfind('.') + 1);
}

// A folder within the model's.
std::string module_path(const std::string& path) {
  const bool plain = path.find('/') == std::string::npos && path.find('\\') == std::string::npos && path != "..";
  if (!plain) refuse(kModules, fmt::format("the path \"{}\" is not the name of a folder beside it", path));
  return path;
}

class Reader {
 public:
  Reader(const ReadFile& read, int32_t dim) : read_(read), dim_(dim) {}

  EmbeddingSpec spec(const Json& modules) {
    if (!modules.is_array() || modules.size() < 2 || modules.size() > kMaxModules) {
      refuse(kModules, "is not a list of a Transformer, a Pooling and what follows");
    }
    for (size_t i = 0; i < modules.size(); ++i) {
      const Config module(modules[i], fmt::format("{}[{}]", kModules, i));
      module.ignore({"idx", "name", "kwargs"});
      const std::string type = module_type(module.s("type")), path = module_path(module.s_or("path", ""));
      module.expect_known();
      add(i, type, path);
    }
    read_settings();
    return std::move(spec_);
  }

 private:
  // An empty object where the file may be left out and is.
  Config config(const std::string& file, bool required) const {
    const std::optional<std::string> text = read_(file);
    if (!text && required) throw Error(ErrorCode::not_found, fmt::format("the model's folder lacks {}", file));
    return Config(parse_json(text.value_or("{}"), file), file);
  }

  void add(size_t index, const std::string& type, const std::string& path) {
    const std::string file = path.empty() ? "config.json" : path + "/config.json";
    if ((index == 0) != (type == "Transformer") || (index == 1) != (type == "Pooling")) {
      refuse(kModules, fmt::format("module {} is a {}; Arc knows a Transformer, a Pooling, then Dense and Normalize",
                                   index, type));
    }
    if (type == "Transformer") return read_transformer(path);
    if (path.empty()) refuse(kModules, fmt::format("the {} has no path", type));
    const Config c = config(file, type != "Normalize");
    if (type == "Pooling") {
      spec_.pooling = read_pooling(c, file, dim_);
    } else if (type == "Dense" || type == "Normalize") {
      expect_feature(c, file, "module_input_name", "sentence_embedding");
      expect_feature(c, file, "module_output_name", "sentence_embedding");
      if (type == "Normalize") {
        spec_.modules.push_back(NormalizeSpec{});
      } else {
        spec_.modules.push_back(read_dense(c, path, file, embedding_size(spec_, dim_)));
      }
    } else {
      refuse(kModules, fmt::format("the module {} is not supported", type));
    }
    c.expect_known();
  }

  void read_transformer(const std::string& path) {
    if (!path.empty()) refuse(kModules, fmt::format("the Transformer is in \"{}\", not in the folder itself", path));
    const Config c = config(kTransformer, false);
    spec_.max_tokens = c.i_or("max_seq_length", 0);
    if (spec_.max_tokens < 0) refuse(kTransformer, "\"max_seq_length\" is negative");
    if (c.b_or("do_lower_case", false)) refuse(kTransformer, "\"do_lower_case\" is not supported");
    expect_feature(c, kTransformer, "transformer_task", "feature-extraction");
    expect_feature(c, kTransformer, "module_output_name", "token_embeddings");
    const Config text = c.object_or_empty("modality_config").object_or_empty("text");
    expect_feature(text, kTransformer, "method", "forward");
    expect_feature(text, kTransformer, "method_output_name", "last_hidden_state");
    c.expect_known();
  }

  void read_settings() {
    const std::optional<std::string> text = read_(kSettings);
    if (!text) return;
    const Json settings = parse_json(*text, kSettings);
    if (!settings.is_object()) refuse(kSettings, "is not an object");
    const auto found = [&](const char* key) { return settings.contains(key) && !settings[key].is_null(); };
    if (found("truncate_dim")) refuse(kSettings, "\"truncate_dim\" is not supported: requests say \"dimensions\"");
    const Json prompts = found("prompts") ? settings["prompts"] : Json::object();
    if (!prompts.is_object()) refuse(kSettings, "\"prompts\" is not an object");
    for (const auto& [name, prompt] : prompts.items()) {
      if (!prompt.is_string()) refuse(kSettings, fmt::format("the prompt \"{}\" is not a text", name));
      spec_.prompts[name] = prompt.get<std::string>();
    }
    if (!found("default_prompt_name")) return;
    const Json& name = settings["default_prompt_name"];
    if (!name.is_string() || !spec_.prompts.contains(name.get<std::string>())) {
      refuse(kSettings, "\"default_prompt_name\" is not one of its prompts");
    }
    spec_.default_prompt = name.get<std::string>();
  }

  const ReadFile& read_;
  const int32_t dim_;
  EmbeddingSpec spec_{.origin = kModules};
};

}  // namespace

std::optional<EmbeddingSpec> read_embedding_modules(const ReadFile& read, int32_t dim) {
  const std::optional<std::string> text = read(kModules);
  if (!text) return std::nullopt;
  return Reader(read, dim).spec(parse_json(*text, kModules));
}

}  // namespace arc
