// Serves the fake engine on a port of the system's choice, which it prints: for tests with other clients.
//   fake_server [api-key]
#include <cstdio>
#include <string>

#include "serve/http_server.h"
#include "serve/openai_routes.h"
#include "serve/router.h"
#include "tests/serve/fake_engine.h"

int main(int argc, char** argv) {
  arc::testing::FakeEngine engine({.token_delay = std::chrono::milliseconds(1), .max_seq_len = 4096});
  const arc::serve::Router router(arc::serve::openai_routes(engine), argc > 1 ? argv[1] : "");
  arc::serve::HttpServer server({.port = 0, .stop_on_signals = true}, router);
  std::printf("http://127.0.0.1:%d\n", server.port());
  std::fflush(stdout);
  server.run();
}
