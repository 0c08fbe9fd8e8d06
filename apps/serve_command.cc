// The command `arc serve`: the HTTP server over one engine.
#include "fmt/format.h"

#include "commands.h"
#include "serve/http_server.h"
#include "serve/openai_routes.h"
#include "terminal.h"

namespace arc::app {

int serve(const EngineConfig& config, const ServeOptions& options) {
  std::unique_ptr<Engine> engine;
  {
    ProgressBar bar;
    engine = load_engine(config, [&bar](const std::string& what, double fraction) { bar.show(what, fraction); });
  }
  const ModelInfo info = engine->info();
  serve::ApiOptions api;
  api.limits.vocab_size = info.vocab_size;
  const serve::Router router(serve::openai_routes(*engine, api), options.api_key);
  serve::HttpServer server({.host = options.host, .port = options.port, .stop_on_signals = true}, router);
  fmt::print(stderr, "{}\nlistening on http://{}:{}/v1 as \"{}\"\n", info.load_report, options.host, server.port(),
             info.name);
  server.run();
  return 0;
}

}  // namespace arc::app
