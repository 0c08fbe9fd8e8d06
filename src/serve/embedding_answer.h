// The answer to one request for embeddings: a vector for each of its inputs, in one response.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "arc/engine.h"
#include "serve/openai_request.h"
#include "serve/response_channel.h"

namespace arc::serve {

// Lives as long as the engine has events for it. Inputs go to the engine some at a time: each that is done sends the
// next, so that a long list takes no more than its share of the queue.
class EmbeddingAnswer : public std::enable_shared_from_this<EmbeddingAnswer> {
 public:
  // `engine` outlives the answer.
  EmbeddingAnswer(Engine& engine, std::string model, ApiRequest request, std::shared_ptr<ResponseChannel> channel);
  // A request that the engine dropped without a last event still gets an end.
  ~EmbeddingAnswer();

  // Throws what Engine::submit throws; then nothing has been answered.
  void submit();

 private:
  void submit_next();
  void on_event(size_t index, const Event& event);
  void fail(const HttpResponse& response);
  void cancel();
  std::string body() const;

  Engine& engine_;
  const std::string model_;
  ApiRequest request_;
  const std::shared_ptr<ResponseChannel> channel_;

  std::mutex mutex_;                  // guards what follows
  std::vector<std::string> vectors_;  // as JSON
  std::vector<RequestId> ids_;
  size_t n_sent_ = 0, n_done_ = 0;
  int64_t n_tokens_ = 0;
  bool over_ = false;  // nothing more will be said
};

}  // namespace arc::serve
