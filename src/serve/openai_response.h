// The JSON of OpenAI's answers: chat.completion, chat.completion.chunk and text_completion, whole and as server-sent
// events (WHATWG HTML, section 9.2). Text is appended to strings; there is no document.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arc/engine.h"
#include "serve/openai_request.h"

namespace arc::serve {

// What all objects of one answer have in common.
struct AnswerHead {
  Api api = Api::completions;
  std::string id;
  int64_t created = 0;  // unix seconds
  std::string model;
};

struct TokenCounts {
  int64_t prompt = 0, cached = 0, completion = 0;
};

// One finished answer.
struct Choice {
  std::string text;
  std::string logprobs = "null";  // JSON
  FinishReason finish = FinishReason::stop;
};

std::string whole_answer(const AnswerHead& head, const std::vector<Choice>& choices, const TokenCounts& counts);

// Writes the events of one streamed answer. What does not change is built once.
class ChunkWriter {
 public:
  // With `include_usage` every chunk has the field, null before the last.
  ChunkWriter(const AnswerHead& head, bool include_usage);

  // The first chunk of a chat answer.
  void append_role(std::string& out, int32_t index) const;
  // `logprobs` is JSON.
  void append_text(std::string& out, int32_t index, std::string_view text, std::string_view logprobs,
                   std::optional<FinishReason> finish) const;
  void append_usage(std::string& out, const TokenCounts& counts) const;

 private:
  void append_choice_end(std::string& out, std::string_view logprobs, std::optional<FinishReason> finish) const;

  Api api_;
  std::string prefix_;  // up to the choices
  std::string suffix_;  // after the choices, to the end of the event
};

// One event with `json` as its data, which has no line feed.
void append_sse_event(std::string& out, std::string_view json);
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";
inline constexpr std::string_view kSseHeartbeat = ": still here\n\n";

// Collects log probabilities as the API's object: a list of positions (chat) or four parallel lists (completions).
class LogprobsWriter {
 public:
  // `as_ids`: tokens are written "token_id:N".
  LogprobsWriter(Api api, bool as_ids) : api_(api), as_ids_(as_ids) {}

  // `known` is false for the first token of a prompt, which nothing predicts.
  void add(const PositionLogprobs& position, bool known = true);
  // The object of what was added since the last take, as JSON; "null" when nothing was.
  std::string take();

 private:
  void add_chat(const PositionLogprobs& position);
  void add_completion(const PositionLogprobs& position, bool known);
  std::string token_text(const TokenLogprob& token) const;

  Api api_;
  bool as_ids_;
  int64_t n_characters_ = 0;                        // of the text so far
  std::string items_;                               // chat
  std::string tokens_, logprobs_, tops_, offsets_;  // completions
};

}  // namespace arc::serve
