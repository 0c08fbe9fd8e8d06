// The command `arc serve`: the HTTP server over one engine.
#include "fmt/format.h"

#include "commands.h"
#include "serve/http_server.h"
#include "serve/openai_routes.h"

namespace arc::app {

int serve(const EngineConfig& config, const ServeOptions& options) {
  if (options.ui) fmt::print(stderr, "--ui: the page is not there yet; the API is\n");
  const std::unique_ptr<Engine> engine = load(config);
  const ModelInfo info = engine->info();
  serve::ApiOptions api;
  api.limits.vocab_size = info.vocab_size;
  const serve::Router router(serve::openai_routes(*engine, api), options.api_key, options.allowed_origins);
  serve::HttpServer server({.host = options.host, .port = options.port, .stop_on_signals = true}, router);
  fmt::print(stderr, "{}listening on http://{}:{}/v1 as \"{}\"\n", info.load_report, options.host, server.port(),
             info.name);
  const bool local = options.host == "localhost" || options.host == "::1" || options.host.starts_with("127.");
  if (!local && options.api_key.empty()) {
    fmt::print(stderr, "anyone who reaches {} may use it; --api-key KEY asks clients for a key\n", options.host);
  }
  server.run();
  return 0;
}

}  // namespace arc::app
