#include "serve/embedding_answer.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "fmt/format.h"
#include "fmt/ranges.h"

#include "base/error.h"
#include "serve/api_error.h"
#include "serve/json_text.h"
#include "text/base64.h"

namespace arc::serve {
namespace {

constexpr size_t kAtOnce = 32;  // inputs that the engine has

static_assert(std::endian::native == std::endian::little, "base64 holds little-endian floats");

std::string json_of(const std::vector<float>& values, bool base64) {
  if (!base64) return fmt::format("[{}]", fmt::join(values, ","));
  return '"' + base64_encode({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)}) + '"';
}

}  // namespace

EmbeddingAnswer::EmbeddingAnswer(Engine& engine, std::string model, ApiRequest request,
                                 std::shared_ptr<ResponseChannel> channel)
    : engine_(engine),
      model_(std::move(model)),
      request_(std::move(request)),
      channel_(std::move(channel)),
      vectors_(request_.requests.size()) {}

EmbeddingAnswer::~EmbeddingAnswer() {
  if (!over_) channel_->send(error_response(500, "The engine ended without answering."));
}

void EmbeddingAnswer::submit() {
  try {
    for (size_t i = 0; i < std::min(kAtOnce, vectors_.size()); ++i) submit_next();
  } catch (...) {
    bool answered = false;
    {
      const std::lock_guard lock(mutex_);
      answered = std::exchange(over_, true);
    }
    cancel();
    if (answered) return;
    throw;
  }
  channel_->on_abandon([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self) return;
    {
      const std::lock_guard lock(self->mutex_);
      self->over_ = true;
    }
    self->cancel();
  });
}

void EmbeddingAnswer::submit_next() {
  size_t index = 0;
  {
    const std::lock_guard lock(mutex_);
    if (over_ || n_sent_ == vectors_.size()) return;
    index = n_sent_++;
  }
  const RequestId id =
      engine_.submit(std::move(request_.requests[index]),
                     [self = shared_from_this(), index](const Event& event) { self->on_event(index, event); });
  bool late = false;
  {
    const std::lock_guard lock(mutex_);
    ids_.push_back(id);
    late = over_;
  }
  if (late) engine_.cancel(id);
}

void EmbeddingAnswer::on_event(size_t index, const Event& event) {
  if (!event.finish) return;
  if (event.finish == FinishReason::error) {
    std::string reason;
    return fail(error_response(engine_.healthy(&reason) ? 500 : 503, event.error));
  }
  if (event.finish == FinishReason::cancelled) {
    return fail(error_response(503, "The request was cancelled: the server is shutting down."));
  }
  std::string vector = json_of(event.embedding, request_.base64);
  {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    vectors_[index] = std::move(vector);
    n_tokens_ += event.usage.prompt_tokens;
    if (++n_done_ == vectors_.size()) {
      over_ = true;
      channel_->send({.body = body()});
      return;
    }
  }
  try {
    submit_next();
  } catch (const Error& error) {
    fail(error_response(error));
  }
}

void EmbeddingAnswer::fail(const HttpResponse& response) {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(over_, true)) return;
    channel_->send(response);
  }
  cancel();
}

void EmbeddingAnswer::cancel() {
  std::vector<RequestId> ids;
  {
    const std::lock_guard lock(mutex_);
    ids = ids_;
  }
  for (const RequestId id : ids) engine_.cancel(id);
}

std::string EmbeddingAnswer::body() const {
  std::string out = R"({"object":"list","data":[)";
  for (size_t i = 0; i < vectors_.size(); ++i) {
    out += fmt::format(R"({}{{"object":"embedding","index":{},"embedding":{}}})", i > 0 ? "," : "", i, vectors_[i]);
  }
  out += R"(],"model":)";
  append_json_string(out, model_);
  return out + fmt::format(R"(,"usage":{{"prompt_tokens":{0},"total_tokens":{0}}}}})", n_tokens_);
}

}  // namespace arc::serve
