// Conversations to token ids.
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "engine/model_loader.h"

namespace arc {
namespace {

constexpr size_t kMaxTemplateBytes = size_t{1} << 20;

Json optional_json(const std::string& text, const char* what) {
  return text.empty() ? Json(nullptr) : parse_json(text, what);
}

}  // namespace

std::optional<ChatTemplate> open_chat_template(const std::filesystem::path& folder, const std::string& override_path,
                                               const Tokenizer& tokenizer) {
  std::optional<ChatTemplate> found = override_path.empty()
                                          ? ChatTemplate::from_folder(folder)
                                          : ChatTemplate(read_text_file(override_path, kMaxTemplateBytes));
  if (!found) return found;
  if (!override_path.empty()) found->set_special_tokens(folder);
  found->set_special_tokens(tokenizer);
  return found;
}

std::vector<int32_t> tokenize_chat(const LoadedModel& model, const ChatPrompt& prompt) {
  if (!model.chat_template) {
    throw Error(ErrorCode::invalid_argument,
                "this model has no chat template; give one with --chat-template, or use /v1/completions");
  }
  const jinja::Rendering rendering =
      model.chat_template->render({.messages = parse_json(prompt.messages_json, "messages"),
                                   .tools = optional_json(prompt.tools_json, "tools"),
                                   .extra = optional_json(prompt.template_arguments_json, "chat_template_kwargs"),
                                   .add_generation_prompt = prompt.add_generation_prompt});
  // The template has written the special tokens itself, and nobody else may.
  return model.tokenizer.encode(rendering.text, {.add_special_tokens = false, .plain = rendering.from_request});
}

}  // namespace arc
