// The HTTP/1.1 server: sockets, parsing, limits, keep-alive, streaming, graceful end.
//
// One thread does all input and output. A request with a large body is handled on a second thread, because reading its
// JSON and its tokens takes long; answers come from any thread through their ResponseChannel.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "serve/router.h"

namespace arc::serve {

struct HttpOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 1234;          // 0: the system chooses
  bool stop_on_signals = false;  // SIGINT and SIGTERM call stop()

  size_t max_connections = 4096;  // one more is answered 503
  size_t max_header_bytes = size_t{16} << 10;
  size_t max_body_bytes = size_t{16} << 20;
  size_t max_unsent_bytes = size_t{16} << 20;   // of one stream, waiting for its reader; more cancels the request
  size_t inline_body_bytes = size_t{32} << 10;  // larger bodies are handled on the second thread

  std::chrono::milliseconds idle_timeout{75'000};        // between requests
  std::chrono::milliseconds header_timeout{10'000};      // from the first byte to the last of the head
  std::chrono::milliseconds body_timeout{60'000};        // for the rest
  std::chrono::milliseconds write_timeout{60'000};       // without a byte accepted by the reader
  std::chrono::milliseconds heartbeat_interval{10'000};  // of a silent stream
  std::chrono::milliseconds shutdown_grace{30'000};      // for requests that run when stop() is called

  std::function<int64_t()> now = {};  // unix seconds, of the Date header; absent: the system's clock
};

// A client that closes its sending side while it waits has gone: its request is cancelled.
class HttpServer {
 public:
  // Listens from here on. Throws Error(io) that names the address. `router` outlives the server.
  HttpServer(const HttpOptions& options, const Router& router);
  ~HttpServer();

  uint16_t port() const;

  // Serves on the calling thread until stop() has done its work.
  void run();

  // Any thread; returns at once. Takes no new connections, lets running requests finish within the grace, then cancels
  // them so that they end with an error. A second call ends the grace.
  void stop();

 private:
  class Server;
  class Connection;
  std::unique_ptr<Server> server_;
};

}  // namespace arc::serve
