// Plays a trace again on a model at rising rates, and measures what a hit in the prefix cache costs. JSON on stdout.
#include <optional>

#include "CLI/CLI.hpp"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "arc/engine.h"
#include "serve/program.h"
#include "serve/trace_replay.h"

namespace arc::bench {
namespace {

int main_checked(int argc, char** argv) {
  EngineConfig config{.max_seqs = 64};
  ReplayOptions options;
  HitOptions hit{.context = 0};
  std::string trace;
  std::vector<double> rates = {1, 2, 4};
  double begin = 600, slice = 300;
  CLI::App app("A trace on an engine", "replay_bench");
  app.add_option("--model", config.model, "default: the built-in one");
  app.add_option("--executor", config.executor)->capture_default_str();
  app.add_option("--cache", config.cache_type)->capture_default_str();
  app.add_option("--max-seqs", config.max_seqs)->capture_default_str();
  app.add_option("--max-batched-tokens", config.max_batched_tokens)->capture_default_str();
  app.add_option("--step-ms", config.step_ms)->capture_default_str();
  app.add_option("--kv-memory", config.kv_memory_bytes)->transform(CLI::AsSizeValue(false));
  app.add_option("--trace", trace, "Mooncake's .jsonl or Azure's .csv; none: only the hit");
  app.add_option("--begin", begin, "of the slice, in seconds of the trace")->capture_default_str();
  app.add_option("--slice", slice, "seconds of the trace")->capture_default_str();
  app.add_option("--rates", rates, "requests per second, one run each")->delimiter(',')->capture_default_str();
  app.add_option("--seconds", options.seconds, "of a run")->capture_default_str();
  app.add_option("--max-len", options.max_len, "of a prompt and its answer")->capture_default_str();
  app.add_option("--hit", hit.context, "tokens of a prompt that is asked again")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const auto engine = load_engine(config);
  nlohmann::ordered_json out{{"model", engine->info().name}, {"runs_on", engine->info().runs_on}};
  if (hit.context > 0) out["hit"] = measure_hit(*engine, hit);
  if (!trace.empty()) {
    const std::vector<TraceRequest> requests = read_trace(trace, begin, slice);
    out["trace"] = std::filesystem::path(trace).filename().string();
    for (const double rate : rates) {
      options.rate = rate;
      out["runs"].push_back(replay(*engine, requests, options));
    }
  }
  fmt::print("{}\n", out.dump(1));
  return 0;
}

}  // namespace
}  // namespace arc::bench

int main(int argc, char** argv) {
  return arc::bench::run_program("replay_bench", arc::bench::main_checked, argc, argv);
}
