#include "text/chat_template.h"

#include <array>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/mapped_file.h"
#include "text/tokenizer.h"

namespace arc {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefault = "default";
constexpr const char* kToolUse = "tool_use";
constexpr std::array<const char*, 7> kSpecialTokens = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                       "pad_token", "cls_token", "mask_token"};
constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool", "function", "ipython"};
constexpr std::array<const char*, 4> kOwnVariables = {"messages", "tools", "documents", "add_generation_prompt"};

Json read_json_if_present(const fs::path& path) {
  if (!fs::exists(path)) return nullptr;
  Json json = parse_json(read_text_file(path), path.filename().string());
  if (!json.is_object()) throw Error(ErrorCode::corrupt_data, path.string() + " is no JSON object");
  return json;
}

// A token is a text, or an object with its text in `content`.
std::optional<std::string> token_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string()) {
    return value["content"].get<std::string>();
  }
  return std::nullopt;
}

// Model-specific tokens have names of their own in `extra_special_tokens`.
void collect_special_tokens(const Json& config, ChatTemplate& chat_template) {
  if (!config.is_object()) return;
  for (const char* name : kSpecialTokens) {
    if (!config.contains(name)) continue;
    if (const auto text = token_text(config[name])) chat_template.set_special_token(name, *text);
  }
  if (!config.contains("extra_special_tokens") || !config["extra_special_tokens"].is_object()) return;
  for (const auto& [name, value] : config["extra_special_tokens"].items()) {
    if (const auto text = token_text(value)) chat_template.set_special_token(name, *text);
  }
}

void require_objects(const Json& list, std::string_view what) {
  if (!list.is_array()) throw Error(ErrorCode::invalid_argument, fmt::format("'{}' must be a list", what));
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_object())
      throw Error(ErrorCode::invalid_argument, fmt::format("{}[{}] must be an object", what, i));
  }
}

// OpenAI clients send `arguments` as JSON text; templates expect the object.
void parse_arguments(Json& message, size_t index) {
  const auto calls = message.find("tool_calls");
  if (calls == message.end() || !calls->is_array()) return;
  for (Json& call : *calls) {
    if (!call.is_object()) continue;
    const auto function = call.find("function");
    Json& holder = function != call.end() && function->is_object() ? *function : call;
    const auto arguments = holder.find("arguments");
    if (arguments == holder.end() || !arguments->is_string()) continue;
    const auto text = arguments->get<std::string>();
    const std::string where = fmt::format("messages[{}]: the arguments of a tool call", index);
    Json parsed = Json::object();
    try {
      if (!text.empty()) parsed = parse_json(text, where);
    } catch (const Error& e) {  // the request is wrong, not a file
      throw Error(ErrorCode::invalid_argument, e.what());
    }
    if (!parsed.is_object()) throw Error(ErrorCode::invalid_argument, where + " must be a JSON object");
    *arguments = std::move(parsed);
  }
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view text, const jinja::Limits& limits) {
  add(kDefault, text, limits);
}

void ChatTemplate::add(const std::string& name, std::string_view text, const jinja::Limits& limits) {
  const std::string title = name == kDefault ? "chat template" : fmt::format("chat template '{}'", name);
  templates_.insert_or_assign(name, jinja::Template(text, title, limits));
}

ChatTemplate ChatTemplate::from_json(const Json& value, std::string_view where, const jinja::Limits& limits) {
  if (value.is_string()) return ChatTemplate(value.get_ref<const std::string&>(), limits);
  const auto wrong = [&] {
    return Error(ErrorCode::corrupt_data, fmt::format("{} must be a text or a list of {{name, template}}", where));
  };
  if (!value.is_array() || value.empty()) throw wrong();
  ChatTemplate result;
  for (const Json& entry : value) {
    const auto text_of = [&](const char* key) {
      if (!entry.is_object() || !entry.contains(key) || !entry[key].is_string()) throw wrong();
      return entry[key].get<std::string>();
    };
    result.add(text_of("name"), text_of("template"), limits);
  }
  return result;
}

std::optional<ChatTemplate> ChatTemplate::from_folder(const fs::path& folder, const jinja::Limits& limits) {
  ChatTemplate files;
  const auto add_file = [&](const std::string& name, const fs::path& path) {
    files.add(name, read_text_file(path, limits.max_template_bytes), limits);
  };
  if (fs::exists(folder / "chat_template.jinja")) add_file(kDefault, folder / "chat_template.jinja");
  if (fs::is_directory(folder / "additional_chat_templates")) {
    for (const auto& entry : fs::directory_iterator(folder / "additional_chat_templates")) {
      if (entry.path().extension() == ".jinja") add_file(entry.path().stem().string(), entry.path());
    }
  }
  std::optional<ChatTemplate> result;
  if (!files.templates_.empty()) result = std::move(files);
  for (const char* file : {"tokenizer_config.json", "chat_template.json"}) {
    if (result) break;
    const Json json = read_json_if_present(folder / file);
    if (!json.is_object() || !json.contains("chat_template") || json["chat_template"].is_null()) continue;
    result = from_json(json["chat_template"], fmt::format("{}: chat_template", file), limits);
  }
  if (result) result->set_special_tokens(folder);
  return result;
}

void ChatTemplate::set_special_tokens(const fs::path& folder) {
  for (const char* file : {"special_tokens_map.json", "tokenizer_config.json"}) {
    collect_special_tokens(read_json_if_present(folder / file), *this);
  }
}

void ChatTemplate::set_special_tokens(const Tokenizer& tokenizer) {
  const auto set = [&](const char* name, const std::optional<int32_t>& id) {
    const std::string* text = id ? tokenizer.token_text(*id) : nullptr;
    if (text != nullptr) special_tokens_.try_emplace(name, *text);
  };
  set("bos_token", tokenizer.special().bos);
  set("eos_token", tokenizer.special().eos);
  set("pad_token", tokenizer.special().pad);
  set("unk_token", tokenizer.special().unk);
}

const jinja::Template& ChatTemplate::choose(bool with_tools) const {
  for (const char* name : {with_tools ? kToolUse : kDefault, kDefault}) {
    const auto it = templates_.find(name);
    if (it != templates_.end()) return it->second;
  }
  std::vector<std::string> names;
  for (const auto& [name, parsed] : templates_) names.push_back(name);
  throw Error(ErrorCode::invalid_argument,
              fmt::format("the model has several chat templates ({}) and none is named 'default'; choose one with "
                          "--chat-template",
                          fmt::join(names, ", ")));
}

jinja::Rendering ChatTemplate::render(const ChatInput& input, const jinja::Clock& clock) const {
  Json variables = Json::object();
  if (!input.extra.is_null()) {
    if (!input.extra.is_object()) throw Error(ErrorCode::invalid_argument, "template variables must be an object");
    for (const auto& [name, value] : input.extra.items()) variables[name] = value;
  }
  for (const char* name : kOwnVariables) {
    if (variables.contains(name)) {
      throw Error(ErrorCode::invalid_argument, fmt::format("'{}' cannot be set as a template variable", name));
    }
  }
  require_objects(input.messages, "messages");
  if (!input.tools.is_null()) require_objects(input.tools, "tools");
  if (!input.documents.is_null()) require_objects(input.documents, "documents");
  Json messages = input.messages;
  for (size_t i = 0; i < messages.size(); ++i) parse_arguments(messages[i], i);
  variables["messages"] = std::move(messages);
  variables["tools"] = input.tools;
  variables["documents"] = input.documents;
  variables["add_generation_prompt"] = input.add_generation_prompt;
  return choose(!input.tools.is_null()).render(variables, {.variables = special_tokens_, .words = kRoles}, clock);
}

}  // namespace arc
