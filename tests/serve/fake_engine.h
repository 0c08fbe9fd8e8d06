// An engine without a model, for tests of the server: it says the words of the prompt again. Deterministic.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "arc/engine.h"

namespace arc::testing {

struct FakeEngineOptions {
  std::chrono::microseconds token_delay{0};  // between the steps
  int32_t max_seq_len = 64;
  int32_t max_queue = 512;  // requests at a time; one more is refused
  int32_t fail_after = -1;  // tokens of an answer, then it ends with an error
};

// Tokens are words with the space before them, numbered from 256 in order of appearance; a word with other than ASCII
// characters is its bytes, tokens 0 to 255. Answer c of a prompt begins with its word c and ends after the last of a
// round; with ignore_eos it goes round until max_tokens. A token with a bias of 100 is said instead of any other. The
// n-th token of an answer has log probability -n/4. The vector of a prompt of n tokens is [n, 1/2, 1/4, 1/3].
class FakeEngine final : public Engine {
 public:
  explicit FakeEngine(const FakeEngineOptions& options = {});
  // Cancels what runs.
  ~FakeEngine() override;

  RequestId submit(Request request, EventSink sink) override;
  void cancel(RequestId id) override;
  ModelInfo info() const override;
  EngineStats stats() const override;
  bool healthy(std::string* reason) const override;
  std::vector<int32_t> tokenize(const Prompt& prompt) const override;
  std::string detokenize(const std::vector<int32_t>& tokens) const override;
  std::string token_text(int32_t token) const override { return piece(token); }

  // From here on the engine says that it has stopped.
  void break_down(const std::string& reason);
  // While held, requests are accepted but nothing is computed.
  void hold(bool held);

 private:
  struct Choice {
    size_t n_tokens = 0;
    std::string held;  // the begin of a character
    std::string text;
    bool done = false;
  };
  struct Running {
    RequestId id = 0;
    SamplingParams sampling;
    std::optional<EmbeddingParams> embedding;
    EventSink sink;
    std::vector<int32_t> prompt;
    std::vector<Choice> choices;
    bool first_event = true;
    std::atomic<bool> cancelled{false};
  };

  void loop();
  // One token for every choice; false when the request has ended.
  bool step(Running& run);
  void embed(Running& run);
  bool step_choice(Running& run, size_t index);
  std::vector<int32_t> tokens_of(const std::string& text) const;
  std::string piece(int32_t token) const;
  PositionLogprobs logprobs_of(int32_t token, size_t position, int32_t top) const;
  void count_end(FinishReason reason);

  const FakeEngineOptions options_;
  mutable std::mutex mutex_;
  mutable std::vector<std::string> words_;  // by token id - 256
  std::condition_variable changed_;
  std::map<RequestId, std::shared_ptr<Running>> running_;
  EngineStats stats_;
  std::string broken_;
  RequestId next_id_ = 1;
  bool stopping_ = false;
  bool held_ = false;
  std::thread thread_;
};

}  // namespace arc::testing
