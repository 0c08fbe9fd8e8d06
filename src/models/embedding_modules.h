// Reads how a folder made with sentence-transformers turns hidden states into one vector: modules.json and the configs
// that it names.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "spec/embedding_spec.h"

namespace arc {

// The text of a file of the model's folder, by its path there; nothing when there is none.
using ReadFile = std::function<std::optional<std::string>(const std::string& path)>;

// `dim`: of the hidden states. Nothing without a modules.json. Throws Error(unsupported, corrupt_data,
// invalid_argument) that names the file and what in it is not understood.
std::optional<EmbeddingSpec> read_embedding_modules(const ReadFile& read, int32_t dim);

}  // namespace arc
