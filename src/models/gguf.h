// What a GGUF file says about its model, in the words of config.json: the same build function then reads both.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "spec/names.h"

namespace arc {

inline constexpr int kMaxGgufLayers = 65'536;

// A metadata key behind "<architecture>.", and the key of config.json that means the same; "" where gguf_config reads
// it by itself.
struct GgufKey {
  std::string_view gguf, config;
};

// How one of ggml's architectures maps to one of Arc's.
struct GgufDialect {
  std::string_view name;           // general.architecture
  std::string_view arch;           // as in the config's `architectures`
  bool experts = false;            // needs an expert_count; without one another dialect of the name is meant
  bool sigmoid = false;            // sigmoids score the experts; else another dialect is meant
  std::span<const GgufKey> keys;   // besides those that all have
  std::span<const NameRow> names;  // besides kGgufCommonNames
  std::string_view constants;      // JSON object: what the format leaves unsaid
};

// What the translation may ask of a file.
struct GgufFacts {
  std::vector<std::string> keys;                    // of the whole metadata
  std::function<Json(std::string_view key)> value;  // null where absent; arrays of at most 65536 elements
  std::function<bool(std::string_view tensor)> has_tensor;
  // The numbers of a one-dimensional tensor that is not in blocks; empty where there is none.
  std::function<std::vector<double>(std::string_view tensor)> numbers;
  int64_t vocabulary = 0;  // rows of the embedding
  std::string dtype;       // of its elements, "float16" for blocks
};

// All of them; names of architectures may repeat.
std::span<const GgufDialect> gguf_dialects();

// Throws Error(unsupported) for an architecture that is not known.
const GgufDialect& find_gguf_dialect(const GgufFacts& facts);

// Whether any of the file's layers has the tensor "blk.<layer>.<name>".
bool any_layer_has(const GgufFacts& facts, std::string_view arch, std::string_view name);

// Throws Error(unsupported, corrupt_data) for keys that the dialect does not know, lacks or cannot express.
Json gguf_config(const GgufDialect& dialect, const GgufFacts& facts);

}  // namespace arc
