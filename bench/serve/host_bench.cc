// What the host does for a step, with nothing computed: microseconds of the engine's thread between two steps (or at a
// step of a lease), of the output thread for a token, and tokens per second through the server.
#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "CLI/CLI.hpp"
#include "fmt/format.h"

#include "engine/engine_impl.h"
#include "serve/http_server.h"
#include "serve/idle_executor.h"
#include "serve/load.h"
#include "serve/openai_routes.h"
#include "serve/program.h"
#include "serve/router.h"

namespace arc::bench {
namespace {

struct Options {
  std::string model;
  std::vector<int> rows = {1, 64, 256};
  int context = 512;
  int max_seq_len = 32768;
  int steps = 512;
  int lease = 64;
  double step_us = 1000;
  bool logprobs = false;
  double serve_seconds = 2;
};

// An engine around an executor that computes nothing. The cache is as long as the sequences are, whatever the model.
struct IdleEngine {
  IdleEngine(const Options& options, int n_rows, int lease) {
    const EngineConfig config{.model = options.model,
                              .max_seqs = n_rows,
                              .max_batched_tokens = std::max(n_rows, 2048),
                              .kv_memory_bytes = 64 << 20,
                              .swap_memory_bytes = 1 << 20,
                              .prefix_cache = false,
                              .executor = "cpu",
                              .threads = 1};
    LoadedModel model = load_model(config, {});
    const int longest = options.context + options.steps + 2 * lease;
    model.info.max_seq_len = std::max(options.max_seq_len, longest);
    for (CacheGroup& group : model.cache.geometry.groups) {
      group.n_blocks = 2 + n_rows * (blocks_for_tokens(longest, group.tokens_per_block) + 1);
    }
    auto idle = std::make_unique<IdleExecutor>(
        IdleExecutor::Options{.step_us = options.step_us, .max_lease = lease, .vocab_size = model.info.vocab_size});
    executor = idle.get();
    model.executor = std::move(idle);
    engine = std::make_unique<EngineImpl>(std::move(model), config);
  }
  IdleExecutor* executor = nullptr;
  std::unique_ptr<EngineImpl> engine;
};

// Answers side by side; all of them are read. The processor's time of the thread that brought them, per token.
double run_answers(Engine& engine, const Options& options, int n_rows) {
  std::mutex mutex;
  std::condition_variable all_read;
  int n_open = n_rows;
  int64_t n_tokens = 0;
  double begin = 0, end = 0;
  for (int i = 0; i < n_rows; ++i) {
    TokenPrompt prompt;
    for (int t = 0; t < options.context; ++t) prompt.tokens.push_back((i * 31 + t * 17) % engine.info().vocab_size);
    SamplingParams sampling{.temperature = 0.7f, .max_tokens = options.steps, .ignore_eos = true};
    sampling.logprobs = options.logprobs;
    engine.submit({.prompt = std::move(prompt), .sampling = sampling}, [&](const Event& event) {
      const std::lock_guard lock(mutex);
      if (n_tokens == 0) begin = thread_us();
      n_tokens += static_cast<int64_t>(event.tokens.size());
      end = thread_us();
      if (event.finish && --n_open == 0) all_read.notify_one();
    });
  }
  std::unique_lock lock(mutex);
  all_read.wait(lock, [&] { return n_open == 0; });
  return (end - begin) / static_cast<double>(n_tokens);
}

void measure_steps(const Options& options, int n_rows, int lease) {
  IdleEngine idle(options, n_rows, lease);
  const double output_us = run_answers(*idle.engine, options, n_rows);
  std::vector<double> us = idle.executor->take_host_us(n_rows);
  std::ranges::sort(us);
  fmt::print("{:>5} {:<7} {:>6} {:>10.1f} {:>10.1f} {:>10.2f} {:>14.2f}\n", n_rows, lease > 1 ? "lease" : "steps",
             us.size(), quantile(us, 0.5), quantile(us, 0.99), quantile(us, 0.5) / n_rows, output_us);
  std::fflush(stdout);
}

void measure_server(const Options& options, int n_rows, int lease) {
  IdleEngine idle(options, n_rows, lease);
  const serve::Router router(serve::openai_routes(*idle.engine));
  serve::HttpServer server({.port = 0}, router);
  std::thread thread([&] { server.run(); });
  const LoadResult result = run_load(
      {.port = server.port()},
      {.n_connections = n_rows, .max_tokens = options.steps, .stream = true, .seconds = options.serve_seconds});
  server.stop();
  thread.join();
  fmt::print("{:>5} {:<7} {:>12.0f} tokens/s, {} failed\n", n_rows, lease > 1 ? "lease" : "steps",
             result.tokens_per_second(), result.n_failed);
  std::fflush(stdout);
}

int main_checked(int argc, char** argv) {
  Options options;
  CLI::App app("The host's part of a step", "host_bench");
  app.add_option("--model", options.model, "its tokenizer and cache; default: the built-in one");
  app.add_option("--rows", options.rows)->delimiter(',')->capture_default_str();
  app.add_option("--context", options.context, "tokens of a prompt")->capture_default_str();
  app.add_option("--max-seq-len", options.max_seq_len, "that the engine is made for")->capture_default_str();
  app.add_option("--steps", options.steps, "tokens of an answer")->capture_default_str();
  app.add_option("--lease", options.lease, "steps of a lease; 1: no leases")->capture_default_str();
  app.add_option("--step-us", options.step_us, "how long a step seems to take")->capture_default_str();
  app.add_flag("--logprobs", options.logprobs, "of each token");
  app.add_option("--serve-seconds", options.serve_seconds, "through the server; 0: not")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  std::vector<int> leases = {1};
  if (options.lease > 1) leases.push_back(options.lease);

  fmt::print("{:>5} {:<7} {:>6} {:>10} {:>10} {:>10} {:>14}\n", "rows", "mode", "steps", "host us", "p99 us", "us/row",
             "output us/token");
  for (const int lease : leases) {
    for (const int n_rows : options.rows) measure_steps(options, n_rows, lease);
  }
  for (const int n_rows : options.rows) {
    if (options.serve_seconds > 0) measure_server(options, n_rows, 1);
  }
  return 0;
}

}  // namespace
}  // namespace arc::bench

int main(int argc, char** argv) {
  return arc::bench::run_program("host_bench", arc::bench::main_checked, argc, argv);
}
