#include "engine/tiny_folder.h"

#include <fstream>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace arc::test {

std::string bpe_tokenizer(const nlohmann::ordered_json& vocabulary, const nlohmann::ordered_json& decoder) {
  const nlohmann::ordered_json tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", nlohmann::ordered_json::array()},
      {"normalizer", nullptr},
      {"pre_tokenizer", nullptr},
      {"post_processor", nullptr},
      {"decoder", decoder},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", nlohmann::ordered_json::array()}}}};
  return tokenizer.dump();
}

void write_model_folder(const Golden& golden, int vocab, const std::filesystem::path& folder) {
  std::ofstream(folder / "config.json") << golden.config_json;
  write_checkpoint(golden, DType::f32, folder / "model.safetensors");
  nlohmann::ordered_json vocabulary;
  for (int i = 0; i < vocab; ++i) vocabulary[fmt::format("<t{}>", i)] = i;
  std::ofstream(folder / "tokenizer.json") << bpe_tokenizer(vocabulary, nullptr);
}

}  // namespace arc::test
