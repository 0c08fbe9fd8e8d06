// A golden as a model folder that the engine loads: config.json, model.safetensors, and a tokenizer without merges.
#pragma once

#include "parity/golden.h"

namespace arc::test {

// Token i is spelled "<ti>"; only ids matter. There are `vocab` tokens and no merges.
void write_model_folder(const Golden& golden, int vocab, const std::filesystem::path& folder);

}  // namespace arc::test
