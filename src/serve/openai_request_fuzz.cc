// Fuzz target: request bodies of all APIs. Any body is a request or an arc::Error, and no conversation writes a special
// token: only the template does.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "nlohmann/json.hpp"

#include "base/check.h"
#include "base/error.h"
#include "serve/api_error.h"
#include "serve/openai_request.h"
#include "text/added_tokens.h"
#include "text/chat_template.h"

namespace {

constexpr std::string_view kTemplate =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content | default('', true) | trim }}"
    "{{ m.tool_calls | default([]) | tojson }}<|im_end|>{% endfor %}{{ tools | tojson }}<|im_start|>";

void check_conversation(const arc::ChatPrompt& prompt) {
  static const arc::ChatTemplate chat_template(kTemplate, {.max_steps = 1'000'000});
  static const arc::AddedTokens tokens(
      {{.id = 0, .content = "<|im_start|>", .special = true}, {.id = 1, .content = "<|im_end|>", .special = true}},
      arc::Normalizer());
  const auto json = [](const std::string& text) { return text.empty() ? arc::Json() : arc::Json::parse(text); };
  const arc::Json messages = json(prompt.messages_json);
  const arc::jinja::Rendering rendering = chat_template.render(
      {.messages = messages, .tools = json(prompt.tools_json), .extra = json(prompt.template_arguments_json)});
  const auto segments = tokens.split_raw(rendering.text, rendering.from_request);
  const auto n_special = std::ranges::count_if(segments, [](const arc::Segment& s) { return s.token.has_value(); });
  ARC_CHECK(n_special == static_cast<int64_t>(2 * messages.size() + 1)) << rendering.text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using arc::serve::Api;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const Api api : {Api::chat, Api::completions, Api::embeddings, Api::tokenize, Api::detokenize}) {
    try {
      const arc::serve::ApiRequest request = arc::serve::parse_request(api, body, {.vocab_size = 1000});
      for (const arc::Request& one : request.requests) {
        if (const auto* prompt = std::get_if<arc::ChatPrompt>(&one.prompt)) check_conversation(*prompt);
      }
    } catch (const arc::Error& e) {
      (void)arc::serve::error_response(e);
    }
  }
  return 0;
}
