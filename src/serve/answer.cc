#include "serve/answer.h"

#include <algorithm>
#include <variant>

#include "base/check.h"
#include "serve/api_error.h"

namespace arc::serve {
namespace {

// Proxies must pass events on at once.
HttpResponse stream_head() {
  return {.content_type = "text/event-stream; charset=utf-8",
          .headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}};
}

// The API has texts and token lists only where it has echo.
std::string echo_text(const Engine& engine, const Prompt& prompt) {
  if (const auto* text = std::get_if<TextPrompt>(&prompt)) return text->text;
  return engine.detokenize(std::get<TokenPrompt>(prompt).tokens);
}

}  // namespace

Answer::Answer(Engine& engine, AnswerHead head, ApiRequest request, std::shared_ptr<ResponseChannel> channel)
    : engine_(engine),
      head_(std::move(head)),
      request_(std::move(request)),
      channel_(std::move(channel)),
      chunks_(head_, request_.include_usage),
      n_per_prompt_(static_cast<size_t>(request_.requests.at(0).sampling.n)),
      prompts_(request_.requests.size()),
      choices_(prompts_.size() * n_per_prompt_, {.logprobs = {request_.api, request_.tokens_as_ids}}),
      n_open_(choices_.size()) {}

Answer::~Answer() {
  if (!submitted_ || over_) return;
  fail(500, "The engine ended without answering.");
  deliver();
}

void Answer::submit() {
  try {
    for (size_t i = 0; i < prompts_.size(); ++i) {
      Request& request = request_.requests[i];
      if (request_.echo) prompts_[i].echo = echo_text(engine_, request.prompt);
      const RequestId id = engine_.submit(
          std::move(request), [self = shared_from_this(), i](const Event& event) { self->on_event(i, event); });
      const std::lock_guard lock(mutex_);
      ids_.push_back(id);
    }
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    cancel();
    throw;
  }
  bool failed = false;
  {
    const std::lock_guard lock(mutex_);
    submitted_ = true;
    failed = over_ && n_open_ > 0;
    if (request_.stream) channel_->begin_stream(stream_head(), std::string(kSseHeartbeat));
    deliver();
  }
  if (failed) cancel();
  channel_->on_abandon([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->cancel();
  });
}

void Answer::cancel() {
  std::vector<RequestId> ids;
  {
    const std::lock_guard lock(mutex_);
    ids = ids_;
  }
  for (const RequestId id : ids) engine_.cancel(id);
}

void Answer::on_event(size_t prompt_index, const Event& event) {
  bool failed = false;
  {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    if (event.finish == FinishReason::error) {
      std::string reason;
      fail(engine_.healthy(&reason) ? 500 : 503, event.error);
    } else if (event.finish == FinishReason::cancelled) {
      fail(503, "The request was cancelled: the server is shutting down.");
    } else {
      take_event(prompt_index, event);
    }
    failed = over_ && n_open_ > 0;
    deliver();
  }
  if (failed && prompts_.size() > 1) cancel();
}

void Answer::take_event(size_t prompt_index, const Event& event) {
  PromptState& prompt = prompts_[prompt_index];
  const size_t index = prompt_index * n_per_prompt_ + static_cast<size_t>(event.choice);
  ARC_CHECK(static_cast<size_t>(event.choice) < n_per_prompt_) << event.choice;
  ChoiceState& state = choices_[index];
  if (!event.prompt_logprobs.empty()) prompt.logprobs = event.prompt_logprobs;

  const bool first = !std::exchange(state.started, true);
  std::string_view text = event.text;
  std::string with_echo;
  if (first && request_.echo) {
    with_echo = prompt.echo + event.text;
    text = with_echo;
    for (size_t i = 0; i < prompt.logprobs.size(); ++i) state.logprobs.add(prompt.logprobs[i], i > 0);
  }
  for (const PositionLogprobs& position : event.logprobs) state.logprobs.add(position);

  if (request_.stream) {
    append_chunks(static_cast<int32_t>(index), first, text, event);
  } else {
    state.choice.text += text;
  }
  if (event.finish) finish_choice(prompt, state, event);
}

void Answer::append_chunks(int32_t index, bool first, std::string_view text, const Event& event) {
  if (first && head_.api == Api::chat) chunks_.append_role(stream_, index);
  const std::string logprobs = choices_[static_cast<size_t>(index)].logprobs.take();
  if (text.empty() && logprobs == "null" && !event.finish) return;  // a part of a character, or of a stop string
  chunks_.append_text(stream_, index, text, logprobs, event.finish);
}

void Answer::finish_choice(PromptState& prompt, ChoiceState& state, const Event& event) {
  state.choice.finish = *event.finish;
  state.choice.logprobs = state.logprobs.take();
  const int32_t n_completion = prompt.usage.completion_tokens + event.usage.completion_tokens;
  prompt.usage = event.usage;
  prompt.usage.completion_tokens = n_completion;
  if (--n_open_ == 0) complete();
}

void Answer::complete() {
  over_ = true;
  if (request_.stream) {
    if (request_.include_usage) chunks_.append_usage(stream_, counts());
    stream_ += kSseDone;
    return;
  }
  std::vector<Choice> choices;
  for (ChoiceState& state : choices_) choices.push_back(std::move(state.choice));
  whole_.body = whole_answer(head_, choices, counts());
}

void Answer::fail(int status, std::string_view message) {
  over_ = true;
  whole_ = error_response(status, message);
  append_sse_event(stream_, whole_.body);
  stream_ += kSseDone;
}

// Hands what has been written to the channel.
void Answer::deliver() {
  if (!submitted_) return;
  if (!request_.stream) {
    if (over_) channel_->send(whole_);
    return;
  }
  channel_->write(stream_);
  stream_.clear();
  if (over_) channel_->end();
}

TokenCounts Answer::counts() const {
  TokenCounts counts;
  for (const PromptState& prompt : prompts_) {
    counts.prompt += prompt.usage.prompt_tokens;
    counts.cached += prompt.usage.cached_tokens;
    counts.completion += prompt.usage.completion_tokens;
  }
  return counts;
}

}  // namespace arc::serve
