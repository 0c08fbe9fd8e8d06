// A server over a fake engine, running on a thread of its own.
#pragma once

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "serve/http_server.h"
#include "serve/openai_routes.h"
#include "serve/router.h"
#include "tests/serve/fake_engine.h"

namespace arc::testing {

struct TestServerOptions {
  FakeEngineOptions engine;
  serve::HttpOptions http;
  serve::ApiOptions api;
  std::string api_key;
  std::vector<std::string> allowed_origins;
};

class TestServer {
 public:
  explicit TestServer(const TestServerOptions& options = {})
      : engine(options.engine),
        router_(serve::openai_routes(engine, options.api), options.api_key, options.allowed_origins),
        server_(on_any_port(options.http), router_),
        thread_([this] { server_.run(); }) {}
  ~TestServer() {
    stop();
    stop();  // without grace
    join();
  }

  uint16_t port() const { return server_.port(); }
  void stop() { server_.stop(); }
  void join() {
    if (thread_.joinable()) thread_.join();
  }

  FakeEngine engine;

 private:
  static serve::HttpOptions on_any_port(serve::HttpOptions options) {
    options.port = 0;
    return options;
  }

  serve::Router router_;
  serve::HttpServer server_;
  std::thread thread_;
};

}  // namespace arc::testing
