// Speed of a server in OpenAI's form: one-token requests and streamed tokens per second over kept-alive connections.
//
//   serve_bench --model DIR                       Arc in this process; also the latency that it adds to its engine
//   serve_bench 127.0.0.1:1234 127.0.0.1:8080     servers that run already, measured in turns
//
// The client is one thread of this process, so it shares the cores with what it measures.
#include <algorithm>
#include <future>
#include <optional>
#include <thread>

#include "CLI/CLI.hpp"
#include "fmt/format.h"

#include "arc/engine.h"
#include "serve/http_server.h"
#include "serve/load.h"
#include "serve/openai_routes.h"
#include "serve/program.h"
#include "serve/router.h"

namespace arc::bench {
namespace {

struct Options {
  std::vector<std::string> servers;
  EngineConfig engine{.cache_type = "auto"};  // llama-server's is not compressed either
  std::vector<int> connections = {1, 8, 32};
  int stream_tokens = 64;
  double seconds = 2.0;
  int rounds = 3;
};

// The server of this process.
class OwnServer {
 public:
  explicit OwnServer(const EngineConfig& config)
      : engine_(load_engine(config)),
        router_(serve::openai_routes(*engine_)),
        server_({.port = 0}, router_),
        thread_([this] { server_.run(); }) {}
  ~OwnServer() {
    server_.stop();
    thread_.join();
  }
  Engine& engine() { return *engine_; }
  Target target() const { return {.port = server_.port()}; }

 private:
  std::unique_ptr<Engine> engine_;
  serve::Router router_;
  serve::HttpServer server_;
  std::thread thread_;
};

Target parse_target(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) throw std::runtime_error("a server is given as ADDRESS:PORT, not " + text);
  return {.host = text.substr(0, colon), .port = static_cast<uint16_t>(std::stoi(text.substr(colon + 1)))};
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return quantile(values, 0.5);
}

// One kind of load on all servers in turns; the medians of the rounds.
void measure(const std::vector<Target>& targets, const Options& options, const Load& load) {
  std::vector<std::vector<LoadResult>> results(targets.size());
  for (int round = 0; round < options.rounds; ++round) {
    for (size_t t = 0; t < targets.size(); ++t) results[t].push_back(run_load(targets[t], load));
  }
  for (size_t t = 0; t < targets.size(); ++t) {
    std::vector<double> requests, tokens, p50, p99, first;
    int64_t n_failed = 0, n_reconnects = 0;
    for (const LoadResult& r : results[t]) {
      requests.push_back(r.requests_per_second());
      tokens.push_back(r.tokens_per_second());
      p50.push_back(quantile(r.latencies_ms, 0.5));
      p99.push_back(quantile(r.latencies_ms, 0.99));
      first.push_back(quantile(r.first_byte_ms, 0.5));
      n_failed += r.n_failed;
      n_reconnects += r.n_reconnects;
    }
    fmt::print("{:<10} {:>5} {:<22} {:>10.0f} {:>10.0f} {:>9.3f} {:>9.3f} {:>9.3f} {:>7} {:>7}\n",
               load.stream ? "stream" : "one token", load.n_connections,
               fmt::format("{}:{}", targets[t].host, targets[t].port), median(requests), median(tokens), median(p50),
               median(p99), median(first), n_failed, n_reconnects);
    std::fflush(stdout);
  }
}

// Milliseconds from submit() to the end of an answer of one token.
double bare_latency_ms(Engine& engine, const std::string& prompt) {
  const auto begin = std::chrono::steady_clock::now();
  std::promise<void> done;
  engine.submit({.prompt = TextPrompt{prompt}, .sampling = {.temperature = 0, .max_tokens = 1, .ignore_eos = true}},
                [&done](const Event& event) {
                  if (event.finish) done.set_value();
                });
  done.get_future().wait();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

// One-token answers from the engine itself and through the server, in turns.
void measure_added_latency(OwnServer& server, const Options& options) {
  std::vector<double> bare, served;
  for (int round = 0; round < 10; ++round) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(options.seconds / 10);
    while (std::chrono::steady_clock::now() < until) bare.push_back(bare_latency_ms(server.engine(), Load().prompt));
    const LoadResult over_http = run_load(server.target(), {.seconds = options.seconds / 10});
    served.insert(served.end(), over_http.latencies_ms.begin(), over_http.latencies_ms.end());
  }
  const double engine = median(bare), whole = median(served);
  fmt::print("one token, one connection: engine {:.3f} ms, through the server {:.3f} ms: {:.3f} ms added\n", engine,
             whole, whole - engine);
}

int main_checked(int argc, char** argv) {
  Options options;
  CLI::App app("Speed of servers in OpenAI's form", "serve_bench");
  app.add_option("servers", options.servers, "ADDRESS:PORT of servers that run");
  app.add_option("--model", options.engine.model, "serve this model in this process, too");
  app.add_option("--connections", options.connections)->delimiter(',')->capture_default_str();
  app.add_option("--stream-tokens", options.stream_tokens, "tokens of a streamed answer")->capture_default_str();
  app.add_option("--seconds", options.seconds, "of one measurement")->capture_default_str();
  app.add_option("--rounds", options.rounds, "measurements of each kind; the median counts")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  std::optional<OwnServer> own;
  std::vector<Target> targets;
  if (!options.engine.model.empty()) targets.push_back(own.emplace(options.engine).target());
  for (const std::string& server : options.servers) targets.push_back(parse_target(server));
  if (targets.empty()) throw std::runtime_error("nothing to measure: give --model or a server");

  fmt::print("{:<10} {:>5} {:<22} {:>10} {:>10} {:>9} {:>9} {:>9} {:>7} {:>7}\n", "load", "conns", "server",
             "requests/s", "tokens/s", "p50 ms", "p99 ms", "first ms", "failed", "reconn");
  for (const bool stream : {false, true}) {
    for (const int n : options.connections) {
      measure(targets, options,
              {.n_connections = n,
               .max_tokens = stream ? options.stream_tokens : 1,
               .stream = stream,
               .seconds = options.seconds});
    }
  }
  if (own) measure_added_latency(*own, options);
  return 0;
}

}  // namespace
}  // namespace arc::bench

int main(int argc, char** argv) {
  return arc::bench::run_program("serve_bench", arc::bench::main_checked, argc, argv);
}
