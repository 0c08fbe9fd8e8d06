#include "engine/gguf_tokenizer.h"

#include <string>
#include <vector>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/utf8.h"
#include "text/gguf_vocabulary.h"

namespace arc {
namespace {

// The keys under "tokenizer.", typed. Absent ones give nothing; one of the wrong type throws Error(corrupt_data).
class Keys {
 public:
  explicit Keys(const GgufMetadata& metadata) : metadata_(metadata) {}

  std::optional<std::string> text(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return std::nullopt;
    const auto text = value->string();
    if (!text) fail(key, "must be a text");
    return utf8_replace_invalid(*text);
  }
  std::optional<int64_t> integer(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return std::nullopt;
    const auto integer = value->integer();
    if (!integer) fail(key, "must be an integer");
    return integer;
  }
  std::optional<bool> flag(std::string_view key) const {
    const GgufValue* value = find(key);
    if (value == nullptr) return std::nullopt;
    const Json json = value->is_array() ? Json() : value->json();
    if (!json.is_boolean()) fail(key, "must be true or false");
    return json.get<bool>();
  }
  // Lists of another kind are empty, and a vocabulary without tokens is refused.
  std::vector<std::string> texts(std::string_view key) const {
    std::vector<std::string> result;
    if (const GgufValue* value = find(key)) {
      for (const std::string_view text : value->strings()) result.push_back(utf8_replace_invalid(text));
    }
    return result;
  }
  std::vector<int64_t> integers(std::string_view key) const {
    const GgufValue* value = find(key);
    return value == nullptr ? std::vector<int64_t>() : value->integers();
  }
  std::vector<double> numbers(std::string_view key) const {
    const GgufValue* value = find(key);
    return value == nullptr ? std::vector<double>() : value->numbers();
  }

 private:
  const GgufValue* find(std::string_view key) const {
    const auto found = metadata_.find(fmt::format("tokenizer.{}", key));
    return found == metadata_.end() ? nullptr : &found->second;
  }
  [[noreturn]] static void fail(std::string_view key, std::string_view what) {
    throw Error(ErrorCode::corrupt_data, fmt::format("tokenizer.{} {}", key, what));
  }

  const GgufMetadata& metadata_;
};

}  // namespace

Tokenizer gguf_tokenizer(const GgufMetadata& metadata) {
  const Keys keys(metadata);
  GgufVocabulary file{.model = keys.text("ggml.model").value_or(""),
                      .pre = keys.text("ggml.pre").value_or("default"),
                      .tokens = keys.texts("ggml.tokens"),
                      .scores = keys.numbers("ggml.scores"),
                      .token_type = keys.integers("ggml.token_type"),
                      .merges = keys.texts("ggml.merges"),
                      .bos_token_id = keys.integer("ggml.bos_token_id"),
                      .eos_token_id = keys.integer("ggml.eos_token_id"),
                      .eot_token_id = keys.integer("ggml.eot_token_id"),
                      .eom_token_id = keys.integer("ggml.eom_token_id"),
                      .unknown_token_id = keys.integer("ggml.unknown_token_id"),
                      .seperator_token_id = keys.integer("ggml.seperator_token_id"),
                      .padding_token_id = keys.integer("ggml.padding_token_id"),
                      .add_bos_token = keys.flag("ggml.add_bos_token"),
                      .add_eos_token = keys.flag("ggml.add_eos_token"),
                      .add_sep_token = keys.flag("ggml.add_sep_token"),
                      .add_space_prefix = keys.flag("ggml.add_space_prefix"),
                      .remove_extra_whitespaces = keys.flag("ggml.remove_extra_whitespaces"),
                      .lowercase = keys.flag("ggml.normalizer.lowercase").value_or(true),
                      .strip_accents = keys.flag("ggml.normalizer.strip_accents")};
  for (const int64_t byte : keys.integers("ggml.precompiled_charsmap")) {
    file.precompiled_charsmap += static_cast<char>(byte);
  }
  const auto architecture = metadata.find("general.architecture");
  file.strips_after_added = architecture != metadata.end() && architecture->second.string() == "phi3";
  return Tokenizer(tokenizer_of_gguf(file));
}

std::optional<ChatTemplate> gguf_chat_template(const GgufMetadata& metadata, const Tokenizer& tokenizer) {
  const Keys keys(metadata);
  Json templates = Json::array();
  const auto add = [&](const std::string& name, const std::string& key) {
    if (const auto text = keys.text(key); text && !text->empty()) {
      templates.push_back({{"name", name}, {"template", *text}});
    }
  };
  add("default", "chat_template");
  for (const std::string& name : keys.texts("chat_templates")) add(name, "chat_template." + name);
  if (templates.empty()) return std::nullopt;
  ChatTemplate chat = ChatTemplate::from_json(templates, "tokenizer.chat_template");
  chat.set_special_tokens(tokenizer);
  return chat;
}

}  // namespace arc
