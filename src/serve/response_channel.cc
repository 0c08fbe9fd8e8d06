#include "serve/response_channel.h"

#include <utility>

#include "base/check.h"

namespace arc::serve {

ResponseChannel::ResponseChannel(const Framing& framing, size_t max_unsent_bytes, std::function<void()> wake)
    : framing_(framing), max_unsent_bytes_(max_unsent_bytes), wake_(std::move(wake)) {}

void ResponseChannel::send(const HttpResponse& response) {
  const std::lock_guard lock(mutex_);
  ARC_CHECK(!streaming_ && state_ == State::open) << "a request was answered twice";
  queue_locked(response_head(response, framing_, response.body.size()));
  if (!framing_.head_only) queue_locked(response.body);
  complete_locked();
}

void ResponseChannel::begin_stream(const HttpResponse& head, std::string heartbeat) {
  const std::lock_guard lock(mutex_);
  ARC_CHECK(!streaming_ && state_ == State::open) << "a request was answered twice";
  if (framing_.http_1_0) framing_.keep_alive = false;
  streaming_ = true;
  heartbeat_ = std::move(heartbeat);
  queue_locked(response_head(head, framing_, std::nullopt));
}

void ResponseChannel::write(std::string_view data) {
  const std::lock_guard lock(mutex_);
  write_locked(data);
}

void ResponseChannel::write_locked(std::string_view data) {
  if (!wake_ || overflowed_ || state_ != State::open || data.empty() || framing_.head_only) return;
  if (pending_.size() + data.size() > max_unsent_bytes_) {
    overflowed_ = true;
    woken_ = false;  // the connection has taken nothing for long: it waits for the socket, not for this
    queue_locked({});
    return;
  }
  if (framing_.http_1_0) return queue_locked(data);
  append_chunk(pending_, data);
  queue_locked({});
}

void ResponseChannel::end() {
  const std::lock_guard lock(mutex_);
  if (state_ != State::open) return;
  if (!framing_.http_1_0 && !framing_.head_only) queue_locked(kLastChunk);
  complete_locked();
}

void ResponseChannel::on_abandon(std::function<void()> callback) {
  {
    const std::lock_guard lock(mutex_);
    if (!abandoned_) {
      if (state_ != State::complete) on_abandon_ = std::move(callback);
      return;
    }
  }
  callback();
}

ResponseChannel::State ResponseChannel::take(std::string& bytes) {
  const std::lock_guard lock(mutex_);
  bytes.clear();
  bytes.swap(pending_);
  woken_ = false;
  return state_;
}

void ResponseChannel::heartbeat() {
  const std::lock_guard lock(mutex_);
  write_locked(heartbeat_);
}

void ResponseChannel::abandon() {
  std::function<void()> callback;
  {
    const std::lock_guard lock(mutex_);
    if (state_ == State::complete) return;
    abandoned_ = true;
    callback = std::exchange(on_abandon_, nullptr);
  }
  if (callback) callback();
}

void ResponseChannel::detach() {
  const std::lock_guard lock(mutex_);
  wake_ = nullptr;
  pending_ = {};
}

bool ResponseChannel::overflowed() const {
  const std::lock_guard lock(mutex_);
  return overflowed_;
}

bool ResponseChannel::keep_alive() const {
  const std::lock_guard lock(mutex_);
  return framing_.keep_alive;
}

// Appends `data` and wakes the connection, once per take().
void ResponseChannel::queue_locked(std::string_view data) {
  if (!wake_) return;
  pending_ += data;
  if (!std::exchange(woken_, true)) wake_();
}

void ResponseChannel::complete_locked() {
  state_ = State::complete;
  on_abandon_ = nullptr;
  queue_locked({});
}

}  // namespace arc::serve
