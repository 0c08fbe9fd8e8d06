// Token ids to text, stop strings, and the caller's events: on a thread of its own, so that the model never waits for
// them.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "engine/active_request.h"
#include "engine/embedding_head.h"
#include "exec/executor.h"
#include "sample/stop_strings.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace arc {

// How an answer, or an embedding, ended.
struct OutputEnd {
  FinishReason reason = FinishReason::stop;
  std::string error;
  Usage usage;
  std::vector<double> pooled;  // of an embedding
};

// What one step gave one choice of a request. Raw ids; text is made by the output thread.
struct OutputItem {
  std::shared_ptr<const ActiveRequest> request;
  int32_t choice = 0;
  Clock::time_point made{};    // when its step was done
  int32_t token = -1;          // -1: none
  bool is_stop_token = false;  // ends the answer and is not part of it
  RowResult logprobs;          // when the request asks for them
  std::vector<RowResult> prompt_logprobs;
  std::unique_ptr<OutputEnd> end;  // null: it goes on
};

class OutputThread {
 public:
  // `on_stop_string(request, choice)` tells the engine that an answer has ended early. `head`: of embeddings, or null.
  // All arguments outlive this.
  OutputThread(const Tokenizer& tokenizer, const EmbeddingHead* head,
               std::function<void(RequestId, int32_t)> on_stop_string);
  ~OutputThread();  // delivers what is queued first

  void push(std::vector<OutputItem> items);

 private:
  struct Choice {
    Choice(const Tokenizer& tokenizer, const ActiveRequest& request);
    Detokenizer detokenizer;
    StopStrings stops;
    int32_t n_tokens = 0;
    std::vector<RowResult> prompt_logprobs;  // not yet delivered
    std::optional<std::string> stop_text;    // the stop string that was found; the engine's later tokens are dropped
  };

  void loop();
  void deliver(const OutputItem& item);
  void begin_event(const OutputItem& item, Choice& choice, Event& event);
  void add_token(const OutputItem& item, Choice& choice, Event& event);
  void finish(const OutputItem& item, Choice& choice, Event& event);  // of an item with an end
  PositionLogprobs to_public(const RowResult& row) const;

  const Tokenizer& tokenizer_;
  const EmbeddingHead* head_;
  std::function<void(RequestId, int32_t)> on_stop_string_;
  std::map<std::pair<RequestId, int32_t>, Choice> choices_;
  std::set<RequestId> begun_;  // requests whose first event is out

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::vector<OutputItem>> queue_;  // one list a step
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace arc
