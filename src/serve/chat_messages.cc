#include "serve/chat_messages.h"

#include <string>
#include <utility>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"

namespace arc::serve {
namespace {

constexpr size_t kMaxParts = 1024;
constexpr size_t kMaxToolCalls = 512;

std::string joined_text(const Field& parts) {
  std::string text;
  for (size_t i = 0; i < parts.list(kMaxParts).size(); ++i) {
    const Field part = parts[i];
    const Field type = part.member("type");
    if (type.string() != "text") {
      type.reject_unsupported(fmt::format("{}: this model reads text parts only.", type.name()));
    }
    if (i > 0) text += '\n';
    text += part.member("text").string();
  }
  return text;
}

void convert_content(const Field& message, Json& out) {
  const auto content = out.find("content");
  const bool absent = content == out.end() || content->is_null();
  if (absent && message.member("role").string() == "assistant") return;  // it may consist of tool calls
  const Field field = message.member("content");
  if (field.value().is_array()) {
    *content = joined_text(field);
  } else if (!field.value().is_string()) {
    field.reject("a string or a list of text parts");
  }
}

// Arguments that are not a JSON object stay text: models do produce such calls, and a client must be able to send them
// back.
Json parsed_arguments(const std::string& text) {
  try {
    Json parsed = parse_body(text);
    return parsed;
  } catch (const Error&) {
    return text;
  }
}

void convert_tool_calls(const Field& message, Json& out) {
  const auto calls = out.find("tool_calls");
  if (calls == out.end() || calls->is_null()) return;
  const Field field = message.member("tool_calls");
  for (size_t i = 0; i < field.list(kMaxToolCalls).size(); ++i) {
    const Field function = field[i].member("function");
    function.member("name").string();
    Json& arguments = (*calls)[i]["function"]["arguments"];
    if (arguments.is_string()) {
      arguments = parsed_arguments(arguments.get<std::string>());
    } else if (arguments.is_null()) {
      arguments = Json::object();
    } else {
      function.member("arguments").object();
    }
  }
}

}  // namespace

Json template_messages(const Field& messages, size_t max_messages) {
  Json out = messages.list(max_messages);
  if (out.empty()) messages.reject("a list of at least one message");
  for (size_t i = 0; i < out.size(); ++i) {
    const Field message = messages[i];
    message.member("role").string();
    convert_content(message, out[i]);
    convert_tool_calls(message, out[i]);
  }
  return out;
}

const Json& template_tools(const Field& tools, size_t max_tools) {
  for (size_t i = 0; i < tools.list(max_tools).size(); ++i) {
    const Field type = tools[i].member("type");
    if (type.string() != "function") type.reject("\"function\"");
    tools[i].member("function").member("name").string();
  }
  return tools.value();
}

}  // namespace arc::serve
