// The command `arc eval`: tables, a heat map, or JSON.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <unistd.h>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "arc/error.h"
#include "commands.h"
#include "terminal.h"

namespace arc::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr size_t kWrongShown = 12;

// The set that comes with Arc: beside the installed program, or linked into the build folder.
std::string set_file(const EvalOptions& options, const char* name) {
  if (!options.set.empty()) return options.set;
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* folder : {"../share/arc/eval", "share/arc/eval"}) {
    const fs::path file = (program / folder / name).lexically_normal();
    if (fs::exists(file, error)) return file;
  }
  throw Error(
      ErrorCode::not_found,
      fmt::format("the set {} is not installed with Arc: install it with ./install.sh, or name one with --set", name));
}

// The evaluation with a bar that is gone when its result is printed.
template <typename Evaluation>
auto with_bar(const EvalOptions& options, const Evaluation& evaluation) {
  ProgressBar bar;
  return evaluation(EvalRun{.state = options.state,
                            .settings = options.settings,
                            .progress = [&bar](const std::string& what, double part) { bar.show(what, part); }});
}

std::string plus_minus(double value, double error, int digits) {
  return fmt::format("{:.{}f} +- {:.{}f}", value, digits, error, digits);
}

// What was evaluated, once it is.
Json head(const Engine& engine, const EvalOptions& options) {
  const ModelInfo info = engine.info();
  const EngineStats stats = engine.stats();
  return {{"model", info.name},
          {"architecture", info.architecture},
          {"parameters", info.n_parameters},
          {"runs_on", info.runs_on},
          {"settings", options.settings},
          {"evaluation", options.what},
          {"keys_read", stats.keys_read},
          {"coded_keys_read", stats.coded_keys_read}};
}

// Windows and tasks that a state file held already read nothing.
void print_reads(const EngineStats& stats) {
  fmt::print("{:.1f}% of the {} keys that attention read were compressed\n",
             stats.keys_read > 0
                 ? 100.0 * static_cast<double>(stats.coded_keys_read) / static_cast<double>(stats.keys_read)
                 : 0.0,
             stats.keys_read);
}

void print_json(Json report) {
  fmt::print("{}\n", report.dump(2));
}

// ---- texts

std::vector<std::string> documents_of(const EvalOptions& options) {
  std::vector<std::string> documents = read_documents(set_file(options, "text.jsonl"));
  if (options.documents > 0) documents.resize(std::min(documents.size(), static_cast<size_t>(options.documents)));
  return documents;
}

int perplexity(Engine& engine, const EvalOptions& options) {
  const Perplexity p = with_bar(options, [&](const EvalRun& run) {
    return evaluate_perplexity(engine, documents_of(options), options.text, run);
  });
  if (options.json) {
    Json report = head(engine, options);
    report.update({{"perplexity", p.perplexity},
                   {"perplexity_error", p.perplexity_error},
                   {"nll", p.nll},
                   {"nll_error", p.nll_error},
                   {"bits_per_byte", p.bits_per_byte},
                   {"tokens", p.tokens},
                   {"bytes", p.bytes},
                   {"windows", p.windows}});
    print_json(std::move(report));
    return 0;
  }
  fmt::print("perplexity {} on {} tokens in {} windows\n", plus_minus(p.perplexity, p.perplexity_error, 3), p.tokens,
             p.windows);
  fmt::print("{} nats per token, {:.3f} bits per byte\n", plus_minus(p.nll, p.nll_error, 4), p.bits_per_byte);
  return 0;
}

int divergence(Engine& engine, const EvalOptions& options) {
  const std::unique_ptr<Engine> reference = load(*options.against);
  const Divergence d = with_bar(options, [&](const EvalRun& run) {
    return evaluate_divergence(engine, *reference, documents_of(options), options.text, run);
  });
  if (options.json) {
    Json report = head(engine, options);
    report.update({{"mean", d.mean},
                   {"mean_error", d.mean_error},
                   {"median", d.median},
                   {"p99", d.p99},
                   {"max", d.max},
                   {"same_top", d.same_top},
                   {"catastrophic", d.catastrophic},
                   {"perplexity", d.perplexity},
                   {"reference_perplexity", d.reference_perplexity},
                   {"positions", d.positions},
                   {"windows", d.windows}});
    print_json(std::move(report));
    return 0;
  }
  fmt::print("KL divergence in nats at {} positions in {} windows\n", d.positions, d.windows);
  fmt::print("  mean {:.3g} +- {:.2g}, median {:.3g}\n", d.mean, d.mean_error, d.median);
  fmt::print("  99th percentile {:.3g}, largest {:.3g}\n", d.p99, d.max);
  fmt::print("  same most likely token {:.2f}%, catastrophic {:.3f}%\n", 100 * d.same_top, 100 * d.catastrophic);
  fmt::print("  perplexity {:.4f}, of the reference {:.4f}\n", d.perplexity, d.reference_perplexity);
  return 0;
}

// ---- tasks

std::vector<EvalTask> tasks_of(const EvalOptions& options, const char* name) {
  const auto unwanted = [&](const EvalTask& task) {
    return (!options.only.empty() && std::ranges::count(options.only, task.task) == 0) ||
           (!options.lengths.empty() && std::ranges::count(options.lengths, task.tokens) == 0);
  };
  const std::string file = set_file(options, name);
  std::vector<EvalTask> all = read_tasks(file), chosen;
  std::erase_if(all, unwanted);
  std::map<std::string, int32_t> seen;
  for (EvalTask& task : all) {
    if (seen[task.task]++ % options.every == options.from) chosen.push_back(std::move(task));
  }
  if (chosen.empty()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("nothing is left of {} to ask: check --only, --lengths and --from", file));
  }
  return chosen;
}

Json to_json(const Accuracy& accuracy) {
  return {{"n", accuracy.n}, {"right", accuracy.right}, {"accuracy", accuracy.share()}, {"error", accuracy.error()}};
}

// The last message's end, what was expected and what came.
Json wrong_answers(const std::vector<EvalTask>& tasks, const std::vector<TaskAnswer>& answers,
                   const std::string& name) {
  Json wrong = Json::array();
  for (size_t i = 0; i < tasks.size() && wrong.size() < kWrongShown; ++i) {
    if (tasks[i].task != name || answers[i].right) continue;
    wrong.push_back({{"messages", Json::parse(tasks[i].prompt.messages_json)},
                     {"expected", tasks[i].expected},
                     {"got", answers[i].text}});
  }
  return wrong;
}

int tasks(Engine& engine, const EvalOptions& options) {
  const std::vector<EvalTask> tasks = tasks_of(options, "tasks.jsonl");
  const auto answers = with_bar(options, [&](const EvalRun& run) { return answer_tasks(engine, tasks, run); });
  std::vector<std::string> names;  // in the order of the set
  std::map<std::string, Accuracy> counts;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (!counts.contains(tasks[i].task)) names.push_back(tasks[i].task);
    Accuracy& count = counts[tasks[i].task];
    ++count.n;
    count.right += answers[i].right ? 1 : 0;
  }
  if (options.json) {
    Json report = head(engine, options), list = Json::object();
    for (const std::string& name : names) {
      list[name] = to_json(counts[name]);
      list[name]["wrong"] = wrong_answers(tasks, answers, name);
    }
    report["tasks"] = std::move(list);
    print_json(std::move(report));
    return 0;
  }
  for (const std::string& name : names) {
    const Accuracy& a = counts[name];
    fmt::print("{:<16}{:>6} of {:<6}{:>16}%\n", name, a.right, a.n, plus_minus(100 * a.share(), 100 * a.error(), 1));
  }
  return 0;
}

// ---- needle

void print_grid(const NeedleGrid& grid) {
  const bool colours = ::isatty(STDOUT_FILENO) != 0;
  fmt::print("{:>8}", "tokens");
  for (const double depth : grid.depths) fmt::print("{:>5.0f}%", 100 * depth);
  fmt::print("   depth\n");
  for (size_t r = 0; r < grid.lengths.size(); ++r) {
    fmt::print("{:>8}", grid.lengths[r]);
    for (size_t c = 0; c < grid.depths.size(); ++c) {
      const Accuracy& cell = grid.cells[r * grid.depths.size() + c];
      const std::string text = cell.n > 0 ? fmt::format("{:>5.0f} ", 100 * cell.share()) : "    - ";
      // 256 colours: red to yellow to green along the cube's edge, black on top.
      const int step = static_cast<int>(cell.share() * 10 + 0.5);
      const int colour = step <= 5 ? 196 + 6 * step : 226 - 36 * (step - 5);
      fmt::print("{}", colours && cell.n > 0 ? fmt::format("\033[30;48;5;{}m{}\033[0m", colour, text) : text);
    }
    fmt::print("\n");
  }
}

int needle(Engine& engine, const EvalOptions& options) {
  const std::vector<EvalTask> tasks = tasks_of(options, "needle.jsonl");
  const auto answers = with_bar(options, [&](const EvalRun& run) { return answer_tasks(engine, tasks, run); });
  const NeedleGrid grid = needle_grid(tasks, answers);
  Accuracy all;
  for (const Accuracy& cell : grid.cells) {
    all.n += cell.n;
    all.right += cell.right;
  }
  if (!options.svg.empty()) {
    std::ofstream file(options.svg);
    file << needle_svg(grid, fmt::format("{}: {:.1f}% of {} found", engine.info().name, 100 * all.share(), all.n));
    if (!file.flush()) throw Error(ErrorCode::io, fmt::format("cannot write {}", options.svg));
  }
  if (options.json) {
    Json report = head(engine, options), rows = Json::array();
    for (size_t r = 0; r < grid.lengths.size(); ++r) {
      Json row = Json::array();
      for (size_t c = 0; c < grid.depths.size(); ++c) row.push_back(grid.cells[r * grid.depths.size() + c].share());
      rows.push_back(std::move(row));
    }
    report.update(to_json(all));
    report.update({{"lengths", grid.lengths}, {"depths", grid.depths}, {"grid", rows}});
    report["wrong"] = wrong_answers(tasks, answers, tasks.front().task);
    print_json(std::move(report));
    return 0;
  }
  print_grid(grid);
  fmt::print("found {} of {}, {}%\n", all.right, all.n, plus_minus(100 * all.share(), 100 * all.error(), 1));
  return 0;
}

}  // namespace

int eval(const EngineConfig& config, const EvalOptions& options) {
  if (options.what == "kl" && !options.against) {
    throw Error(ErrorCode::invalid_argument,
                "kl compares with a reference: name its settings with --against, such as "
                "--against pa-cache-type=auto");
  }
  const std::unique_ptr<Engine> engine = load(config);
  const auto evaluate = options.what == "perplexity" ? perplexity
                        : options.what == "kl"       ? divergence
                        : options.what == "needle"   ? needle
                                                     : tasks;
  const int status = evaluate(*engine, options);
  if (!options.json && config.cache_type != "auto") print_reads(engine->stats());
  return status;
}

}  // namespace arc::app
