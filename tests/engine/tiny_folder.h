// A golden as a model folder that the engine loads: config.json, model.safetensors, and a tokenizer without merges.
#pragma once

#include <filesystem>
#include <string>

#include "nlohmann/json_fwd.hpp"

#include "parity/golden.h"

namespace arc::test {

// A tokenizer.json of byte-pair encoding without merges or any other rule. `vocabulary`: token to id.
std::string bpe_tokenizer(const nlohmann::ordered_json& vocabulary, const nlohmann::ordered_json& decoder);

// Token i is spelled "<ti>"; only ids matter. There are `vocab` tokens and no merges.
void write_model_folder(const Golden& golden, int vocab, const std::filesystem::path& folder);

}  // namespace arc::test
