#include "model_folders.h"

#include <fstream>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "engine/tiny_folder.h"

namespace arc::test {
namespace {

constexpr const char* kTemplate =
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}";

// Long enough for an answer that a key press can stop.
std::string longer_config(const std::string& config_json) {
  auto config = nlohmann::ordered_json::parse(config_json);
  config["max_position_embeddings"] = 1 << 14;
  return config.dump();
}

std::string tokenizer_json(int vocab) {
  nlohmann::ordered_json vocabulary;
  for (int i = 0; i < vocab; ++i) {
    const std::string token = i < 95    ? std::string(1, static_cast<char>(' ' + i))
                              : i == 95 ? "\n"
                                        : fmt::format("<t{}>", i);
    vocabulary[token] = i;
  }
  return bpe_tokenizer(vocabulary, {{"type", "Fuse"}});
}

}  // namespace

ModelFolders::ModelFolders() : root_("arc_cli") {
  const Golden golden = read_golden("llama");
  const int vocab = nlohmann::json::parse(golden.config_json)["vocab_size"].get<int>();
  for (const char* name : {"base", "chat"}) {
    const std::filesystem::path folder = root_.path() / name;
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "config.json") << longer_config(golden.config_json);
    std::ofstream(folder / "tokenizer.json") << tokenizer_json(vocab);
    write_checkpoint(golden, DType::f32, folder / "model.safetensors");
  }
  std::ofstream(root_.path() / "chat" / "chat_template.jinja") << kTemplate;
}

}  // namespace arc::test
