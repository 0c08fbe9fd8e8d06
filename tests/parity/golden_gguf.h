// Goldens as GGUF files: what llama.cpp's converter makes of their weights and configs, done here once more.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

#include "base/json.h"
#include "io/gguf_bytes.h"
#include "parity/golden.h"

namespace arc::test {

// What ggml calls the golden's architecture; "" where Arc does not read the family from GGUF.
std::string gguf_architecture(const Golden& golden);

// All goldens but those of families that Arc does not read from GGUF, which are named here.
std::vector<std::string> gguf_golden_names();

// The config that a GGUF file can express: the golden's, changed where the format has no key.
Json expressible_config(const Golden& golden);

struct GoldenGguf {
  Json metadata = Json::object();
  GgufBytes tensors;

  // Whole numbers are written as u32, others as f32.
  void write(const std::filesystem::path& path) const;
};

// The golden's weights as F32 tensors with the metadata of `config`. `old`: as before latent attention was absorbed.
GoldenGguf to_gguf(const Golden& golden, const Json& config, bool old = false);

}  // namespace arc::test
