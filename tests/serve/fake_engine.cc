#include "tests/serve/fake_engine.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"

namespace arc::testing {
namespace {

constexpr int32_t kVocabSize = 2000;
constexpr int32_t kFirstWord = 256;

bool is_ascii(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

FakeEngine::FakeEngine(const FakeEngineOptions& options) : options_(options), thread_([this] { loop(); }) {}

FakeEngine::~FakeEngine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (auto& [id, run] : running_) run->cancelled = true;
  }
  changed_.notify_all();
  thread_.join();
}

RequestId FakeEngine::submit(Request request, EventSink sink) {
  auto run = std::make_shared<Running>();
  run->prompt = tokenize(request.prompt);
  run->sampling = std::move(request.sampling);
  run->embedding = request.embedding;
  run->sink = std::move(sink);
  run->choices.resize(static_cast<size_t>(run->sampling.n));
  const std::lock_guard lock(mutex_);
  if (run->prompt.empty()) throw Error(ErrorCode::invalid_argument, "The prompt is empty.");
  if (static_cast<int32_t>(run->prompt.size()) >= options_.max_seq_len) {
    throw Error(ErrorCode::prompt_too_long, fmt::format("The prompt has {} tokens; the model takes 1 to {}.",
                                                        run->prompt.size(), options_.max_seq_len - 1));
  }
  if (static_cast<int32_t>(running_.size()) >= options_.max_queue) {
    ++stats_.requests_refused;
    throw Error(ErrorCode::resource, "The queue is full; try again later.");
  }
  run->id = next_id_++;
  running_.emplace(run->id, run);
  ++stats_.requests_total;
  stats_.prompt_tokens_total += static_cast<int64_t>(run->prompt.size());
  changed_.notify_all();
  return run->id;
}

void FakeEngine::cancel(RequestId id) {
  const std::lock_guard lock(mutex_);
  const auto found = running_.find(id);
  if (found != running_.end()) found->second->cancelled = true;
}

ModelInfo FakeEngine::info() const {
  return {.name = "fake",
          .architecture = "echo",
          .created = 1700000000,
          .max_seq_len = options_.max_seq_len,
          .vocab_size = kVocabSize,
          .has_chat_template = true,
          .embedding_size = 4};
}

EngineStats FakeEngine::stats() const {
  const std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.running = static_cast<int32_t>(running_.size());
  return stats;
}

bool FakeEngine::healthy(std::string* reason) const {
  const std::lock_guard lock(mutex_);
  *reason = broken_;
  return broken_.empty();
}

void FakeEngine::break_down(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  broken_ = reason;
}

void FakeEngine::hold(bool held) {
  const std::lock_guard lock(mutex_);
  held_ = held;
  changed_.notify_all();
}

std::vector<int32_t> FakeEngine::tokenize(const Prompt& prompt) const {
  if (const auto* tokens = std::get_if<TokenPrompt>(&prompt)) return tokens->tokens;
  if (const auto* text = std::get_if<TextPrompt>(&prompt)) return tokens_of(text->text);
  const Json messages = parse_json(std::get<ChatPrompt>(prompt).messages_json, "messages");
  return tokens_of(messages.back().value("content", std::string()));
}

std::string FakeEngine::detokenize(const std::vector<int32_t>& tokens) const {
  std::string bytes;
  for (const int32_t token : tokens) bytes += piece(token);
  return utf8_replace_invalid(bytes);
}

std::vector<int32_t> FakeEngine::tokens_of(const std::string& text) const {
  const std::lock_guard lock(mutex_);
  std::vector<int32_t> tokens;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin + 1), text.size());
    const std::string word = text.substr(begin, end - begin);
    begin = end;
    const auto known = std::ranges::find(words_, word);
    const bool full = static_cast<int32_t>(words_.size()) == kVocabSize - kFirstWord;
    if (!is_ascii(word) || (full && known == words_.end())) {
      for (const char byte : word) tokens.push_back(static_cast<uint8_t>(byte));
      continue;
    }
    tokens.push_back(kFirstWord + static_cast<int32_t>(known - words_.begin()));
    if (known == words_.end()) words_.push_back(word);
  }
  return tokens;
}

std::string FakeEngine::piece(int32_t token) const {
  if (token < kFirstWord) return std::string(1, static_cast<char>(token));
  const std::lock_guard lock(mutex_);
  const size_t index = static_cast<size_t>(token - kFirstWord);
  return index < words_.size() ? words_[index] : fmt::format("<{}>", token);
}

PositionLogprobs FakeEngine::logprobs_of(int32_t token, size_t position, int32_t top) const {
  const auto entry = [&](int32_t id, float logprob) {
    return TokenLogprob{.token = id, .bytes = piece(id), .logprob = logprob};
  };
  const float best = -0.25f * static_cast<float>(position + 1);
  PositionLogprobs result{.chosen = entry(token, best)};
  for (int32_t i = 0; i < top; ++i) {
    result.top.push_back(entry((token + i) % kVocabSize, best - static_cast<float>(i)));
  }
  return result;
}

void FakeEngine::loop() {
  for (;;) {
    std::vector<std::shared_ptr<Running>> now;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || (!running_.empty() && !held_); });
      if (running_.empty()) return;
      for (const auto& [id, run] : running_) now.push_back(run);
      ++stats_.steps_total;
    }
    if (options_.token_delay.count() > 0) std::this_thread::sleep_for(options_.token_delay);
    for (const auto& run : now) {
      if (step(*run)) continue;
      const std::lock_guard lock(mutex_);
      running_.erase(run->id);
    }
  }
}

bool FakeEngine::step(Running& run) {
  if (run.cancelled) {
    count_end(FinishReason::cancelled);
    run.sink({.id = run.id, .finish = FinishReason::cancelled});
    return false;
  }
  if (run.embedding) {
    embed(run);
    return false;
  }
  bool open = false;
  for (size_t i = 0; i < run.choices.size(); ++i) {
    if (run.choices[i].done) continue;
    if (!step_choice(run, i)) return false;
    open = open || !run.choices[i].done;
  }
  if (!open) count_end(FinishReason::stop);
  return open;
}

void FakeEngine::embed(Running& run) {
  const auto n = static_cast<int32_t>(run.prompt.size());
  Event event{.id = run.id, .prompt_tokens = run.prompt, .finish = FinishReason::stop};
  if (options_.fail_after == 0) {
    event.finish = FinishReason::error;
    event.error = "The device stopped answering.";
  } else {
    event.embedding = {static_cast<float>(n), 0.5f, 0.25f, 1.0f / 3};
    if (run.embedding->dimensions > 0) event.embedding.resize(static_cast<size_t>(run.embedding->dimensions));
    event.usage = {.prompt_tokens = n};
  }
  count_end(*event.finish);
  run.sink(event);
}

// False after an error.
bool FakeEngine::step_choice(Running& run, size_t index) {
  const SamplingParams& sampling = run.sampling;
  Choice& choice = run.choices[index];
  Event event{.id = run.id, .choice = static_cast<int32_t>(index)};
  if (static_cast<int32_t>(choice.n_tokens) == options_.fail_after) {
    count_end(FinishReason::error);
    event.finish = FinishReason::error;
    event.error = "The device stopped answering.";
    run.sink(event);
    return false;
  }
  if (std::exchange(run.first_event, false)) {
    event.prompt_tokens = run.prompt;
    for (size_t i = 0; sampling.prompt_logprobs && i < run.prompt.size(); ++i) {
      event.prompt_logprobs.push_back(logprobs_of(run.prompt[i], i, i == 0 ? 0 : sampling.top_logprobs));
    }
  }
  int32_t token = run.prompt[(index + choice.n_tokens) % run.prompt.size()];
  for (const auto& [id, bias] : sampling.logit_bias) {
    if (bias >= 100) token = id;
  }
  if (sampling.max_tokens != 0 && std::ranges::find(sampling.stop_token_ids, token) != sampling.stop_token_ids.end()) {
    ++choice.n_tokens;
    event.finish = FinishReason::stop;
  } else if (sampling.max_tokens != 0) {
    event.tokens = {token};
    if (sampling.logprobs) event.logprobs = {logprobs_of(token, choice.n_tokens, sampling.top_logprobs)};
    choice.held += piece(token);
    ++choice.n_tokens;
    const size_t whole = utf8_complete_prefix(choice.held);
    event.text = utf8_replace_invalid(choice.held.substr(0, whole));
    choice.held.erase(0, whole);
  }
  const size_t before = choice.text.size();
  choice.text += event.text;
  for (const std::string& stop : sampling.stop) {
    const size_t found = choice.text.find(stop);
    if (found == std::string::npos) continue;
    event.text.resize(found > before ? found - before : 0);
    event.stop_text = stop;
    event.finish = FinishReason::stop;
  }
  const auto n = static_cast<int32_t>(choice.n_tokens);
  if (!event.finish && n == sampling.max_tokens) event.finish = FinishReason::length;
  if (!event.finish && !sampling.ignore_eos && choice.n_tokens == run.prompt.size()) event.finish = FinishReason::stop;
  if (event.finish) {
    choice.done = true;
    event.usage = {.prompt_tokens = static_cast<int32_t>(run.prompt.size()), .completion_tokens = n};
    const std::lock_guard lock(mutex_);
    stats_.generated_tokens_total += n;
  }
  run.sink(event);
  return true;
}

void FakeEngine::count_end(FinishReason reason) {
  const std::lock_guard lock(mutex_);
  if (reason == FinishReason::cancelled) {
    ++stats_.requests_cancelled;
  } else if (reason == FinishReason::error) {
    ++stats_.requests_failed;
  } else {
    ++stats_.requests_finished;
  }
}

}  // namespace arc::testing
