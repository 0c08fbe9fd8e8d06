// One response on its way from any thread to the I/O thread of its connection.
#pragma once

#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "serve/http_message.h"

namespace arc::serve {

// Thread-safe, and no call waits for a socket: bytes are framed by the caller's thread and queued until the connection
// takes them. A slow reader therefore slows only itself; when more than `max_unsent_bytes` of a stream wait for it, the
// response is given up as if the client had gone.
class ResponseChannel {
 public:
  // `wake` tells the connection that there is something to take; it may be called on any thread.
  ResponseChannel(const Framing& framing, size_t max_unsent_bytes, std::function<void()> wake);

  // ---- the handler's side: either send(), or begin_stream(), write() ..., end().

  void send(const HttpResponse& response);
  // `heartbeat` is what the connection may write() while nothing else comes, so that silence is not taken for death.
  void begin_stream(const HttpResponse& head, std::string heartbeat = {});
  void write(std::string_view data);
  void end();

  // `callback` runs once, on the I/O thread or here, when nobody waits for this response any more: the work behind it
  // should be cancelled. The response may still be completed; what can be delivered then is delivered.
  void on_abandon(std::function<void()> callback);

  // ---- the connection's side.

  enum class State { open, complete };
  // Replaces `bytes` by what is queued. `complete`: these are the last.
  State take(std::string& bytes);
  void heartbeat();
  void abandon();
  // The connection is done with this response: no more wakes, later calls of the handler have no effect.
  void detach();
  // More waited than may: the reader is to be given up, even in the middle of a write.
  bool overflowed() const;
  bool keep_alive() const;

 private:
  void write_locked(std::string_view data);
  void queue_locked(std::string_view data);
  void complete_locked();

  mutable std::mutex mutex_;
  Framing framing_;
  const size_t max_unsent_bytes_;
  std::function<void()> wake_;
  std::function<void()> on_abandon_;
  std::string pending_;
  std::string heartbeat_;
  bool streaming_ = false;
  bool woken_ = false;
  bool abandoned_ = false;
  bool overflowed_ = false;
  State state_ = State::open;
};

}  // namespace arc::serve
