// A model's chat template: which file or named template, and the variables that it sees.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "nlohmann/json.hpp"

#include "base/json.h"
#include "text/jinja.h"

namespace arc {

class Tokenizer;

// What one prompt is made from.
struct ChatInput {
  Json messages;             // a list of objects
  Json tools = nullptr;      // a list of JSON schemas, or null
  Json documents = nullptr;  // a list of objects, or null
  Json extra = nullptr;      // further variables (`enable_thinking` ...): an object, or null
  bool add_generation_prompt = false;
};

class ChatTemplate {
 public:
  // One template. Errors as jinja::Template.
  explicit ChatTemplate(std::string_view text, const jinja::Limits& limits = {});

  // A template's text, or a list of {"name", "template"}, as tokenizer_config.json has it. `where` names it in
  // messages.
  static ChatTemplate from_json(const Json& value, std::string_view where, const jinja::Limits& limits = {});

  // A model folder: chat_template.jinja and additional_chat_templates/*.jinja, else `chat_template` of
  // tokenizer_config.json or of chat_template.json; with the folder's special tokens. Nothing when the folder has no
  // template.
  static std::optional<ChatTemplate> from_folder(const std::filesystem::path& folder, const jinja::Limits& limits = {});

  // Sets the variable `name` ("bos_token") of every rendering.
  void set_special_token(const std::string& name, const std::string& text) { special_tokens_[name] = text; }
  // The same for those that tokenizer_config.json and special_tokens_map.json of a model folder name.
  void set_special_tokens(const std::filesystem::path& folder);
  // The same for the tokens of `tokenizer` that are not set yet.
  void set_special_tokens(const Tokenizer& tokenizer);

  // The prompt. The template sees `messages` (tool-call arguments that are JSON text as objects), `tools`, `documents`,
  // `add_generation_prompt`, the special tokens and `extra`, which may replace special tokens; nothing else is defined.
  // With tools, the template named `tool_use` is taken when there is one. The names of the usual roles count as
  // written by the template, because templates make tokens of them ("<|" + role + "|>"). Throws as
  // jinja::Template::render, and Error(invalid_argument) for input of the wrong shape.
  jinja::Rendering render(const ChatInput& input, const jinja::Clock& clock = jinja::local_time) const;

 private:
  ChatTemplate() = default;
  void add(const std::string& name, std::string_view text, const jinja::Limits& limits);
  const jinja::Template& choose(bool with_tools) const;

  std::map<std::string, jinja::Template> templates_;  // by name
  std::map<std::string, std::string> special_tokens_;
};

}  // namespace arc
