#include "serve/openai_response.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "fmt/format.h"

#include "base/utf8.h"
#include "serve/json_text.h"

namespace arc::serve {
namespace {

std::string_view finish_name(FinishReason finish) {
  return finish == FinishReason::length ? "\"length\"" : "\"stop\"";
}

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

// The object's beginning, up to the items of "choices".
std::string object_prefix(const AnswerHead& head, std::string_view object) {
  return fmt::format(R"({{"id":{},"object":"{}","created":{},"model":{},"choices":[)", json_string(head.id), object,
                     head.created, json_string(head.model));
}

std::string usage_json(const TokenCounts& counts) {
  return fmt::format(R"({{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},)"
                     R"("prompt_tokens_details":{{"cached_tokens":{}}}}})",
                     counts.prompt, counts.completion, counts.prompt + counts.completion, counts.cached);
}

void append_item(std::string& list, std::string_view item) {
  if (!list.empty()) list += ',';
  list += item;
}

}  // namespace

std::string whole_answer(const AnswerHead& head, const std::vector<Choice>& choices, const TokenCounts& counts) {
  const bool chat = head.api == Api::chat;
  std::string out = object_prefix(head, chat ? "chat.completion" : "text_completion");
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) out += ',';
    fmt::format_to(std::back_inserter(out), R"({{"index":{},)", i);
    out += chat ? R"("message":{"role":"assistant","content":)" : R"("text":)";
    append_json_string(out, choices[i].text);
    if (chat) out += R"(,"refusal":null})";
    fmt::format_to(std::back_inserter(out), R"(,"logprobs":{},"finish_reason":{}}})", choices[i].logprobs,
                   finish_name(choices[i].finish));
  }
  out += R"(],"usage":)";
  out += usage_json(counts);
  out += '}';
  return out;
}

ChunkWriter::ChunkWriter(const AnswerHead& head, bool include_usage)
    : api_(head.api),
      prefix_("data: " + object_prefix(head, head.api == Api::chat ? "chat.completion.chunk" : "text_completion")),
      suffix_(include_usage ? "],\"usage\":null}\n\n" : "]}\n\n") {}

void ChunkWriter::append_role(std::string& out, int32_t index) const {
  out += prefix_;
  fmt::format_to(std::back_inserter(out), R"({{"index":{},"delta":{{"role":"assistant","content":""}})", index);
  append_choice_end(out, "null", std::nullopt);
}

void ChunkWriter::append_text(std::string& out, int32_t index, std::string_view text, std::string_view logprobs,
                              std::optional<FinishReason> finish) const {
  out += prefix_;
  fmt::format_to(std::back_inserter(out), R"({{"index":{},)", index);
  if (api_ == Api::completions) {
    out += R"("text":)";
    append_json_string(out, text);
  } else if (text.empty()) {
    out += R"("delta":{})";
  } else {
    out += R"("delta":{"content":)";
    append_json_string(out, text);
    out += '}';
  }
  append_choice_end(out, logprobs, finish);
}

void ChunkWriter::append_usage(std::string& out, const TokenCounts& counts) const {
  out += prefix_;
  out += R"(],"usage":)";
  out += usage_json(counts);
  out += "}\n\n";
}

void ChunkWriter::append_choice_end(std::string& out, std::string_view logprobs,
                                    std::optional<FinishReason> finish) const {
  out += R"(,"logprobs":)";
  out += logprobs;
  out += R"(,"finish_reason":)";
  out += finish ? finish_name(*finish) : "null";
  out += '}';
  out += suffix_;
}

void append_sse_event(std::string& out, std::string_view json) {
  out += "data: ";
  out += json;
  out += "\n\n";
}

void LogprobsWriter::add(const PositionLogprobs& position, bool known) {
  api_ == Api::chat ? add_chat(position) : add_completion(position, known);
}

// {"token", "logprob", "bytes", "top_logprobs": [the same three of each]}
void LogprobsWriter::add_chat(const PositionLogprobs& position) {
  const auto append_fields = [this](const TokenLogprob& token) {
    items_ += R"("token":)";
    append_json_string(items_, token_text(token));
    items_ += R"(,"logprob":)";
    append_json_logprob(items_, token.logprob);
    items_ += R"(,"bytes":[)";
    for (size_t i = 0; i < token.bytes.size(); ++i) {
      fmt::format_to(std::back_inserter(items_), "{}{}", i > 0 ? "," : "", static_cast<uint8_t>(token.bytes[i]));
    }
    items_ += ']';
  };
  append_item(items_, "{");
  append_fields(position.chosen);
  items_ += R"(,"top_logprobs":[)";
  for (size_t i = 0; i < position.top.size(); ++i) {
    items_ += i > 0 ? ",{" : "{";
    append_fields(position.top[i]);
    items_ += '}';
  }
  items_ += "]}";
}

// The object of alternatives has the chosen token, too, and each name once: unlike tokens may have equal bytes.
void LogprobsWriter::add_completion(const PositionLogprobs& position, bool known) {
  append_item(tokens_, json_string(token_text(position.chosen)));
  append_item(offsets_, fmt::format("{}", n_characters_));
  n_characters_ += std::ranges::count_if(position.chosen.bytes, [](char c) { return (c & 0xC0) != 0x80; });
  if (!known) {
    append_item(logprobs_, "null");
    append_item(tops_, "null");
    return;
  }
  append_item(logprobs_, "");
  append_json_logprob(logprobs_, position.chosen.logprob);

  std::vector<std::string> names;
  std::string object;
  const auto append_token = [&](const TokenLogprob& token) {
    std::string name = token_text(token);
    if (std::ranges::find(names, name) != names.end()) return;
    append_item(object, json_string(name));
    object += ':';
    append_json_logprob(object, token.logprob);
    names.push_back(std::move(name));
  };
  for (const TokenLogprob& token : position.top) append_token(token);
  append_token(position.chosen);
  append_item(tops_, "{" + object + "}");
}

std::string LogprobsWriter::take() {
  std::string out = "null";
  if (!items_.empty()) out = fmt::format(R"({{"content":[{}],"refusal":null}})", items_);
  if (!tokens_.empty()) {
    out = fmt::format(R"({{"tokens":[{}],"token_logprobs":[{}],"top_logprobs":[{}],"text_offset":[{}]}})", tokens_,
                      logprobs_, tops_, offsets_);
  }
  for (std::string* list : {&items_, &tokens_, &logprobs_, &tops_, &offsets_}) list->clear();
  return out;
}

// A token that is not UTF-8 alone is written as OpenAI does: "bytes:\xe2\x82".
std::string LogprobsWriter::token_text(const TokenLogprob& token) const {
  if (as_ids_) return fmt::format("token_id:{}", token.token);
  if (is_valid_utf8(token.bytes)) return token.bytes;
  std::string text = "bytes:";
  for (const char byte : token.bytes) fmt::format_to(std::back_inserter(text), "\\x{:02x}", static_cast<uint8_t>(byte));
  return text;
}

}  // namespace arc::serve
