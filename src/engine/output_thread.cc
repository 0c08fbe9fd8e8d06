#include "engine/output_thread.h"

#include <utility>

namespace arc {

OutputThread::Choice::Choice(const Tokenizer& tokenizer, const ActiveRequest& request)
    : detokenizer(tokenizer), stops(request.sampling.stop) {
  detokenizer.prime(request.prompt);
}

OutputThread::OutputThread(const Tokenizer& tokenizer, const EmbeddingHead* head,
                           std::function<void(RequestId, int32_t)> on_stop_string)
    : tokenizer_(tokenizer), head_(head), on_stop_string_(std::move(on_stop_string)), thread_([this] { loop(); }) {}

OutputThread::~OutputThread() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void OutputThread::push(std::vector<OutputItem> items) {
  if (items.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(items));
  }
  wake_.notify_one();
}

void OutputThread::loop() {
  while (true) {
    std::vector<std::vector<OutputItem>> steps;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) return;
      steps.swap(queue_);
    }
    for (const auto& items : steps) {
      for (const OutputItem& item : items) deliver(item);
    }
  }
}

PositionLogprobs OutputThread::to_public(const RowResult& row) const {
  const auto one = [this](int32_t token, float logprob) {
    return TokenLogprob{.token = token, .bytes = tokenizer_.token_bytes(token), .logprob = logprob};
  };
  PositionLogprobs out{.chosen = one(row.token, row.logprob)};
  for (const RawLogprob& entry : row.top) out.top.push_back(one(entry.token, entry.logprob));
  return out;
}

void OutputThread::add_token(const OutputItem& item, Choice& choice, Event& event) {
  ++choice.n_tokens;
  if (item.is_stop_token) return;
  event.tokens.push_back(item.token);
  if (item.request->sampling.logprobs) event.logprobs.push_back(to_public(item.logprobs));
  const bool may_stop = item.request->stop.may_stop(choice.n_tokens);
  StopStrings::Piece piece = choice.stops.push(choice.detokenizer.push(item.token), may_stop);
  event.text += piece.text;
  if (!piece.stop) return;
  choice.stop_text = std::move(piece.stop);
  on_stop_string_(item.request->id, item.choice);
}

// The last event. What the detokenizer and the stop strings held back comes out first.
void OutputThread::finish(const OutputItem& item, Choice& choice, Event& event) {
  const OutputEnd& end = *item.end;
  event.finish = end.reason;
  event.error = end.error;
  event.usage = end.usage;
  event.usage.completion_tokens = choice.n_tokens;
  if (!end.pooled.empty()) event.embedding = head_->finish(end.pooled, item.request->embedding->dimensions);
  if (choice.stop_text) {
    event.finish = FinishReason::stop;
    event.stop_text = std::move(*choice.stop_text);
    return;
  }
  StopStrings::Piece piece =
      choice.stops.push(choice.detokenizer.finish(), item.request->stop.may_stop(choice.n_tokens));
  event.text += piece.text;
  if (piece.stop) {
    event.finish = FinishReason::stop;
    event.stop_text = std::move(*piece.stop);
  } else {
    event.text += choice.stops.finish();
  }
}

// Scores of the prompt arrive chunk by chunk and go out with the first token. Position 0 has none.
void OutputThread::begin_event(const OutputItem& item, Choice& choice, Event& event) {
  if (begun_.insert(item.request->id).second) event.prompt_tokens = item.request->prompt;
  if (choice.prompt_logprobs.empty()) return;
  event.prompt_logprobs.push_back(
      {.chosen = {.token = item.request->prompt[0], .bytes = tokenizer_.token_bytes(item.request->prompt[0])}});
  for (const RowResult& row : choice.prompt_logprobs) event.prompt_logprobs.push_back(to_public(row));
  choice.prompt_logprobs.clear();
}

void OutputThread::deliver(const OutputItem& item) {
  const auto key = std::pair(item.request->id, item.choice);
  Choice& choice = choices_.try_emplace(key, tokenizer_, *item.request).first->second;
  choice.prompt_logprobs.insert(choice.prompt_logprobs.end(), item.prompt_logprobs.begin(), item.prompt_logprobs.end());
  if (item.token < 0 && !item.end) return;
  Event event{.id = item.request->id, .choice = item.choice, .made = item.made};
  begin_event(item, choice, event);
  if (item.token >= 0 && !choice.stop_text) add_token(item, choice, event);
  if (item.end) finish(item, choice, event);
  const bool nothing = event.tokens.empty() && event.text.empty() && !event.finish && event.prompt_tokens.empty();
  if (!nothing) item.request->sink(event);
  if (!item.end) return;
  choices_.erase(key);
  const auto next = choices_.lower_bound(std::pair(item.request->id, 0));
  if (next == choices_.end() || next->first.first != item.request->id) begun_.erase(item.request->id);
}

}  // namespace arc
