#include "engine/tiny_folder.h"

#include <fstream>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace arc::test {

void write_model_folder(const Golden& golden, int vocab, const std::filesystem::path& folder) {
  std::ofstream(folder / "config.json") << golden.config_json;
  write_checkpoint(golden, DType::f32, folder / "model.safetensors");
  nlohmann::ordered_json vocabulary;
  for (int i = 0; i < vocab; ++i) vocabulary[fmt::format("<t{}>", i)] = i;
  const nlohmann::ordered_json tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", nlohmann::ordered_json::array()},
      {"normalizer", nullptr},
      {"pre_tokenizer", nullptr},
      {"post_processor", nullptr},
      {"decoder", nullptr},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::ordered_json::array()}}}};
  std::ofstream(folder / "tokenizer.json") << tokenizer.dump();
}

}  // namespace arc::test
