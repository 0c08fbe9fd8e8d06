// Goldens as GGUF files: what llama.cpp's converter makes of their weights and configs, done here once more.
#pragma once

#include <filesystem>
#include <string>

#include "base/json.h"
#include "parity/golden.h"

namespace arc::test {

// The config that a GGUF file can express: the golden's, changed where the format has no key.
Json expressible_config(const Golden& golden);

// Whether GGUF knows the golden's family, and Arc reads it.
bool has_gguf(const Golden& golden);

// Writes the golden's weights as F32 tensors with the metadata of `config`.
void write_gguf(const Golden& golden, const Json& config, const std::filesystem::path& path);
// The same under another of ggml's architectures: "phi3" for Mistral's golden.
void write_gguf(const Golden& golden, const Json& config, const std::string& arch, const std::filesystem::path& path);

}  // namespace arc::test
