// Submits requests to an engine and waits for their answers.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "arc/engine.h"

namespace arc::test {

struct Answer {
  std::vector<int32_t> tokens;
  std::string text;
  std::vector<PositionLogprobs> logprobs, prompt_logprobs;
  std::optional<FinishReason> finish;
  std::string error, stop_text;
  Usage usage;
  std::vector<float> embedding;
};

class Client {
 public:
  explicit Client(Engine& engine) : engine_(engine) {}

  // Starts a request; wait() gives the answers of all in the order of this call, choices one after another.
  RequestId send(Request request) {
    const int32_t n = request.sampling.n;
    size_t first = 0;
    {
      const std::lock_guard lock(mutex_);
      first = answers_.size();
      answers_.resize(first + static_cast<size_t>(n));
      n_open_ += n;
    }
    return engine_.submit(std::move(request),
                          [this, first](const Event& e) { take(e, first + static_cast<size_t>(e.choice)); });
  }

  std::vector<Answer> wait() {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return n_open_ == 0; });
    std::vector<Answer> out(answers_.begin(), answers_.end());
    answers_.clear();
    return out;
  }

 private:
  void take(const Event& e, size_t index) {
    const std::lock_guard lock(mutex_);
    Answer& a = answers_[index];
    a.tokens.insert(a.tokens.end(), e.tokens.begin(), e.tokens.end());
    a.text += e.text;
    a.logprobs.insert(a.logprobs.end(), e.logprobs.begin(), e.logprobs.end());
    a.prompt_logprobs.insert(a.prompt_logprobs.end(), e.prompt_logprobs.begin(), e.prompt_logprobs.end());
    if (!e.finish) return;
    a.finish = e.finish;
    a.error = e.error;
    a.stop_text = e.stop_text;
    a.usage = e.usage;
    a.embedding = e.embedding;
    if (--n_open_ == 0) finished_.notify_all();
  }

  Engine& engine_;
  std::mutex mutex_;
  std::condition_variable finished_;
  std::deque<Answer> answers_;
  int32_t n_open_ = 0;
};

}  // namespace arc::test
