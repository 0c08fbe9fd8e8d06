// The command `arc bench`: a table, or JSON.
#include <algorithm>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "commands.h"
#include "terminal.h"

namespace arc::app {
namespace {

using Json = nlohmann::ordered_json;

bool is_prefill(const BenchRow& row) {
  return row.kind == BenchRow::Kind::prefill;
}
const char* test_name(const BenchRow& row) {
  return is_prefill(row) ? "prefill" : "decode";
}

// Three digits, a space, and a letter for thousands.
std::string short_number(double value) {
  int thousands = 0;
  for (; value >= 999.5 && thousands < 5; ++thousands) value /= 1000;
  const int decimals = value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
  return fmt::format("{:.{}f} {}", value, decimals,
                     std::string_view("KMGTP").substr(std::max(thousands - 1, 0), thousands > 0 ? 1 : 0));
}

// One decimal, none from `limit` on, so that it fits a column.
std::string rounded(double value, double limit = 99999.95) {
  return fmt::format("{:.{}f}", value, value < limit ? 1 : 0);
}

void print_table(const std::vector<BenchRow>& rows, const ModelInfo& info) {
  fmt::print("{} ({}), {} parameters\n{}\n", info.name, info.architecture, info.n_parameters, info.runs_on);
  fmt::print("a token reads {}B of weights and {}B of cache per token of context\n\n",
             short_number(static_cast<double>(info.costs.weight_bytes)),
             short_number(static_cast<double>(info.costs.cache_bytes_per_context_token)));
  fmt::print("{:<8}{:>5}{:>8}{:>7}{:>10}{:>9}{:>9}{:>8}{:>10}{:>6}\n", "test", "batch", "context", "tokens", "tokens/s",
             "min", "max", "/token", "/s", "share");
  for (const BenchRow& row : rows) {
    const Spread speed = row.tokens_per_second();
    const char* unit = is_prefill(row) ? "F" : "B";
    fmt::print("{:<8}{:>5}{:>8}{:>7}{:>10}{:>9}{:>9}{:>8}{:>10}{:>6}\n", test_name(row), row.batch, row.context,
               row.tokens, rounded(speed.median), rounded(speed.min), rounded(speed.max),
               short_number(row.work_per_token) + unit, short_number(row.work_per_second()) + unit,
               rounded(100 * row.share(), 99.95) + "%");
  }
  fmt::print("\n");
  for (const BenchRow::Kind kind : {BenchRow::Kind::prefill, BenchRow::Kind::decode}) {
    const auto row = std::ranges::find(rows, kind, &BenchRow::kind);
    if (row == rows.end()) continue;
    const char* unit = is_prefill(*row) ? "F" : "B";
    const Spread ceiling = row->ceiling();
    fmt::print("{}: share of {}, {}{}/s (from {}{} to {}{})\n", test_name(*row),
               is_prefill(*row) ? matrix_peak_name() : "the read ceiling", short_number(ceiling.median), unit,
               short_number(ceiling.min), unit, short_number(ceiling.max), unit);
  }
}

Json to_json(const Spread& spread) {
  return {{"median", spread.median}, {"min", spread.min}, {"max", spread.max}};
}

void print_json(const std::vector<BenchRow>& rows, const ModelInfo& info) {
  Json list = Json::array();
  for (const BenchRow& row : rows) {
    const std::string unit = is_prefill(row) ? "flops" : "bytes";
    list.push_back({{"test", test_name(row)},
                    {"batch", row.batch},
                    {"context", row.context},
                    {"tokens", row.tokens},
                    {"tokens_per_second", to_json(row.tokens_per_second())},
                    {unit + "_per_token", row.work_per_token},
                    {unit + "_per_second", row.work_per_second()},
                    {"ceiling_" + unit + "_per_second", to_json(row.ceiling())},
                    {"ceiling", is_prefill(row) ? matrix_peak_name() : "memory read"},
                    {"share", row.share()},
                    {"seconds", row.seconds}});
  }
  const Json report = {{"model", info.name},
                       {"architecture", info.architecture},
                       {"parameters", info.n_parameters},
                       {"runs_on", info.runs_on},
                       {"weight_bytes_per_token", info.costs.weight_bytes},
                       {"cache_bytes_per_context_token", info.costs.cache_bytes_per_context_token},
                       {"flops_per_prompt_token", info.costs.flops_per_token},
                       {"results", list}};
  fmt::print("{}\n", report.dump(2));
}

}  // namespace

int bench(const EngineConfig& config, const BenchCommandOptions& options) {
  BenchOptions wanted = options.bench;
  wanted.threads = config.threads;
  std::erase(wanted.prompts, 0);
  EngineConfig fitting = config;
  fitting.prefix_cache = false;
  fitting.max_seqs = std::max(config.max_seqs, std::ranges::max(wanted.batches));
  const std::unique_ptr<Engine> engine = load(fitting);
  std::vector<BenchRow> rows;
  {
    ProgressBar bar;
    rows = run_bench(*engine, wanted, [&bar](const std::string& what, double fraction) { bar.show(what, fraction); });
  }
  if (options.json) {
    print_json(rows, engine->info());
  } else {
    print_table(rows, engine->info());
  }
  return 0;
}

}  // namespace arc::app
