// arc-gpu-check: every test that needs a GPU, in one program that runs anywhere a driver is.
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gnu/libc-version.h>
#include <map>
#include <poll.h>
#include <set>
#include <span>
#include <sys/wait.h>
#include <thread>
#include <tuple>
#include <unistd.h>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/json.h"
#include "exec/cuda/cuda_backend.h"
#include "gpu/checks.h"
#include "gpu/cuda_backend.h"
#include "kernels/cpu/isa.h"

namespace arc::test {
namespace {

namespace fs = std::filesystem;

constexpr char kUsage[] =
    "arc-gpu-check [FILTER...] [--out FILE] [--in-process] [--timeout SECONDS] [--jobs N] [--resume] "
    "[--list]\n"
    "Runs the suites whose names contain one of the filters; without any, all.\n"
    "  --out FILE       each result as a line of JSON, as soon as it is there\n"
    "  --resume         what FILE says is well is not run again, and counts in the end\n"
    "  --in-process     all in this process: for compute-sanitizer and debuggers; a fault ends everything\n"
    "  --timeout N      seconds for one suite; default 240\n"
    "  --jobs N         threads of checks that compute much on the host; default: all cores\n"
    "  --list           names of the suites\n"
    "  --on-reference   the reference takes the device's place: tests the checks themselves\n"
    "A share is the largest error in parts of what its derived bound allows; without one, equal bits were asked for.\n"
    "Exit status: 0 all is well, 1 something failed, 2 there is no device to test.\n"
    "Memory errors: compute-sanitizer --tool memcheck ./arc-gpu-check --in-process kernel/ golden/qwen3\n";

struct Options {
  std::vector<std::string> filters;
  std::string out, child;
  bool in_process = false, resume = false, list = false, on_reference = false;
  int timeout_s = 240, n_jobs = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    const auto value = [&] {
      if (i + 1 < argc) return std::string(argv[++i]);
      std::fputs(kUsage, stderr);
      std::exit(2);
    };
    if (arg == "--out") {
      options.out = value();
    } else if (arg == "--child") {
      options.child = value();
    } else if (arg == "--timeout") {
      options.timeout_s = std::atoi(value().c_str());
    } else if (arg == "--jobs") {
      options.n_jobs = std::max(1, std::atoi(value().c_str()));
    } else if (arg == "--in-process") {
      options.in_process = true;
    } else if (arg == "--resume") {
      options.resume = true;
    } else if (arg == "--list") {
      options.list = true;
    } else if (arg == "--on-reference") {
      options.on_reference = true;
    } else if (arg.starts_with("-")) {
      std::fputs(kUsage, stderr);
      std::exit(arg == "--help" ? 0 : 2);
    } else {
      options.filters.push_back(arg);
    }
  }
  return options;
}

// What lies beside the program, unless the environment names something else.
void find_data() {
  const fs::path here = fs::read_symlink("/proc/self/exe").parent_path();
  if (fs::exists(here / "goldens")) setenv("ARC_GOLDENS", (here / "goldens").c_str(), 0);
  if (fs::exists(here / "tinystories")) setenv("ARC_TINYSTORIES", (here / "tinystories").c_str(), 0);
}

// ---- what an earlier run found --------------------------------------------------------------------------------------

struct Known {
  std::vector<Row> rows;         // all well
  std::set<std::string> suites;  // whole ones
  std::set<std::string> checks(const std::string& suite) const {
    std::set<std::string> names;
    for (const Row& row : rows) {
      if (row.suite == suite) names.insert(row.check);
    }
    return names;
  }
};

// The lines that Results writes. The last one may have been cut off.
Known read_known(const std::string& path) {
  Known known;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line) && !file.eof();) {
    const Json json = parse_json(line, path);
    if (json.contains("done")) known.suites.insert(json.at("done").get<std::string>());
    if (json.contains("check")) known.rows.push_back(from_json_line(line));
  }
  for (const Row& row : known.rows) {
    if (!row.finding.ok) known.suites.erase(row.suite);
  }
  std::erase_if(known.rows, [](const Row& row) { return !row.finding.ok; });
  return known;
}

// ---- a child: suites one after another ------------------------------------------------------------------------------
//
// Lines: JSON for each row, "begun CHECK" before each check, "done" behind each suite. After a failure it ends: the
// device may be beyond help.

int run_child(std::span<const Suite> suites, int n_threads, const Known& known, const Target& target) {
  const auto put = [](const std::string& line) {
    const std::string text = line + "\n";
    if (write(STDOUT_FILENO, text.data(), text.size()) < 0) std::exit(3);
  };
  bool ok = true;
  for (const Suite& suite : suites) {
    Report report(
        suite.name, n_threads,
        [&](const Row& row) {
          ok = ok && row.finding.ok;
          put(to_json_line(row));
        },
        [&](const std::string& check) { put("begun " + check); });
    report.leave_out(known.checks(suite.name));
    suite.run(report, target);
    put("done");
    if (!ok) break;
  }
  return 0;
}

// ---- the parent ----------------------------------------------------------------------------------------------------

struct Child {
  pid_t pid = -1;
  int out = -1;
};

// Begins with the suite `first`.
Child start(const std::string& first, const Options& options) {
  std::vector<std::string> args = {"arc-gpu-check", "--child", first, "--jobs", std::to_string(options.n_jobs)};
  if (options.on_reference) args.push_back("--on-reference");
  if (options.resume) args.insert(args.end(), {"--resume", "--out", options.out});
  args.insert(args.end(), options.filters.begin(), options.filters.end());
  std::vector<char*> pointers;
  for (std::string& arg : args) pointers.push_back(arg.data());
  pointers.push_back(nullptr);
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return {};
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    execv("/proc/self/exe", pointers.data());
    _exit(127);
  }
  close(ends[1]);
  return {.pid = pid, .out = ends[0]};
}

enum class Said { more, end, nothing_in_time };

// What a process says until `take` answers that this is enough.
Said read_lines(const Child& child, int timeout_s, std::string& pending,
                const std::function<bool(const std::string&)>& take) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(timeout_s);
  std::array<char, 4096> bytes{};
  for (;;) {
    for (size_t at = 0; (at = pending.find('\n')) != std::string::npos;) {
      const std::string line = pending.substr(0, at);
      pending.erase(0, at + 1);
      if (take(line)) return Said::more;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd poll_fd{.fd = child.out, .events = POLLIN};
    if (left.count() <= 0 || poll(&poll_fd, 1, static_cast<int>(left.count())) <= 0) return Said::nothing_in_time;
    const ssize_t n = read(child.out, bytes.data(), bytes.size());
    if (n <= 0) return Said::end;
    pending.append(bytes.data(), static_cast<size_t>(n));
  }
}

// Set by SIGTERM: what has been found so far is still reported.
volatile std::sig_atomic_t terminated = 0;

// As many of the suites as one process comes to; how many those were. `whole` is told of each that came to its end.
size_t run_in_child(std::span<const Suite> suites, const Options& options, const std::function<void(const Row&)>& sink,
                    const std::function<void(const std::string& suite)>& whole) {
  const Child child = start(suites.front().name, options);
  std::string pending, begun;
  size_t n_done = 0;
  Said said = Said::more;
  bool failed = false;
  while (said == Said::more && n_done < suites.size()) {
    begun = "its start";
    said = read_lines(child, options.timeout_s, pending, [&](const std::string& line) {
      if (line == "done") return true;
      if (line.starts_with("begun ")) {
        begun = line.substr(6);
      } else {
        const Row row = from_json_line(line);
        failed = failed || !row.finding.ok;
        sink(row);
      }
      return false;
    });
    if (said == Said::more) whole(suites[n_done++].name);
  }
  if (said == Said::nothing_in_time) kill(child.pid, SIGKILL);
  int status = 0;
  waitpid(child.pid, &status, 0);
  close(child.out);
  const bool ended_itself = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (n_done == suites.size() || (failed && n_done > 0 && ended_itself && begun == "its start")) return n_done;
  Finding finding;
  finding.fail(terminated != 0                 ? "terminated in this check"
               : said == Said::nothing_in_time ? fmt::format("killed after {} s in this suite", options.timeout_s)
               : WIFSIGNALED(status)           ? fmt::format("died in this check: {}", strsignal(WTERMSIG(status)))
                                     : fmt::format("ended in this check with status {}", WEXITSTATUS(status)));
  sink({.suite = suites[n_done].name, .check = begun, .finding = finding});
  return n_done + 1;
}

Json facts(const CudaDevice& d) {
  return {{"device", d.name},
          {"capability", d.capability},
          {"processors", d.n_processors},
          {"memory", d.memory_bytes},
          {"driver", d.driver},
          {"runtime", d.runtime},
          {"libc", gnu_get_libc_version()},
          {"cpu", cpu::isa_name(cpu::choose_isa())}};
}

// Architectures, weight formats and forms of the cache against the reference: how many pairs there were, the worst
// share of a bound, and what was left out.
void print_pairs(const std::vector<Row>& rows) {
  struct Sum {
    int n = 0, n_skipped = 0;
    double worst = 0.0;
    void add(const PairResult& pair) {
      ++(pair.skipped.empty() ? n : n_skipped);
      worst = std::max(worst, pair.share);
    }
  };
  Sum all;
  std::map<std::string, Sum> architectures, formats, caches;
  std::map<std::string, std::map<std::string, int>> skipped;
  for (const Row& row : rows) {
    for (const PairResult& pair : row.finding.pairs) {
      for (Sum* sum : {&all, &architectures[pair.architecture], &formats[pair.format], &caches[pair.cache]})
        sum->add(pair);
      if (!pair.skipped.empty()) ++skipped[pair.architecture + ", " + pair.skipped][pair.cache];
    }
  }
  if (all.n == 0) return;
  const auto print = [](const char* what, const std::map<std::string, Sum>& sums) {
    std::printf("\n| %s | pairs | worst share | skipped |\n|---|---|---|---|\n", what);
    for (const auto& [name, sum] : sums)
      std::printf("| %s | %d | %.3f | %d |\n", name.c_str(), sum.n, sum.worst, sum.n_skipped);
  };
  std::printf("\nplan parity: %d pairs of architecture, weights and cache, worst share of the bound %.3f, %d skipped\n",
              all.n, all.worst, all.n_skipped);
  print("architecture", architectures);
  print("weights", formats);
  print("cache", caches);
  std::puts("\nskipped:");
  for (const auto& [why, which] : skipped) {
    std::printf("  %s:", why.c_str());
    for (const auto& [cache, n] : which) std::printf(" %s (%d)", cache.c_str(), n);
    std::puts("");
  }
}

// Rows, and the file that has each of them as soon as it is found: facts of the machine, rows, and {"done": SUITE}.
class Results {
 public:
  Results(const CudaDevice& device, const std::string& out, const Known& known) {
    if (!out.empty()) out_.open(out);
    put(facts(device).dump());
    for (const Row& row : known.rows) keep(row);
    for (const std::string& suite : known.suites) whole(suite);
  }
  void add(const Row& row) {
    print_row(row);
    keep(row);
  }
  void whole(const std::string& suite) { put(Json{{"done", suite}}.dump()); }
  // Prints what matters once more, in few lines. The exit status.
  int finish() const {
    std::map<std::string, std::pair<double, std::string>> worst;
    int failed = 0, skipped = 0;
    for (const Row& row : rows_) {
      failed += !row.finding.ok;
      skipped += !row.finding.skipped.empty();
      for (const auto& [op, share] : row.finding.by_operation) {
        auto& [most, where] = worst[op];
        if (where.empty() || share > most) std::tie(most, where) = std::pair(share, row.suite + ": " + row.check);
      }
    }
    std::puts("\nworst share of each operation:");
    for (const auto& [op, at] : worst) std::printf("  %-14s %9.3g  %s\n", op.c_str(), at.first, at.second.c_str());
    print_pairs(rows_);
    std::printf("\n%zu checks: %zu ok, %d FAILED, %d skipped\n", rows_.size(), rows_.size() - failed - skipped, failed,
                skipped);
    for (const Row& row : rows_) {
      if (!row.finding.ok || !row.finding.skipped.empty()) print_row(row);
    }
    return failed > 0 ? 1 : 0;
  }

 private:
  void put(const std::string& line) {
    if (out_.is_open()) out_ << line << std::endl;
  }
  // The latest row of a check counts.
  void keep(const Row& row) {
    std::erase_if(rows_, [&](const Row& other) { return other.suite == row.suite && other.check == row.check; });
    rows_.push_back(row);
    put(to_json_line(row));
  }

  std::vector<Row> rows_;
  std::ofstream out_;
};

int run(const Options& options) {
  find_data();
  std::vector<Suite> wanted = suites();
  std::erase_if(wanted, [&](const Suite& suite) {
    const auto contained = [&](const std::string& filter) { return suite.name.find(filter) != std::string::npos; };
    return !options.filters.empty() && std::ranges::none_of(options.filters, contained);
  });
  if (options.list) {
    for (const Suite& suite : wanted) std::puts(suite.name.c_str());
    return 0;
  }
  const CudaDevice device = options.on_reference ? CudaDevice{.name = "the reference"} : gpu::find();
  if (!device.problem.empty()) {
    std::fprintf(stderr, "arc-gpu-check: %s\n", device.problem.c_str());
    return 2;
  }
  Target target;
  if (!options.on_reference) target = {.backend = &cuda_backend(device), .executor = "cuda"};
  const Known known = options.resume ? read_known(options.out) : Known{};
  std::erase_if(wanted, [&](const Suite& suite) { return known.suites.contains(suite.name); });
  if (!options.child.empty()) {
    const auto first = std::ranges::find(wanted, options.child, &Suite::name);
    return run_child({first, wanted.end()}, options.n_jobs, known, target);
  }
  std::printf("%s\n%-22s %-46s %9s  %-7s %8s\n", facts(device).dump().c_str(), "suite", "check", "share", "verdict",
              "time");
  Results results(device, options.out, known);
  const auto sink = [&](const Row& row) { results.add(row); };
  const auto whole = [&](const std::string& suite) { results.whole(suite); };
  if (options.in_process) {
    for (const Suite& suite : wanted) {
      Report report(suite.name, options.n_jobs, sink, [](const std::string&) {});
      report.leave_out(known.checks(suite.name));
      suite.run(report, target);
      whole(suite.name);
    }
  } else {
    std::signal(SIGTERM, [](int) { terminated = 1; });
    for (std::span<const Suite> left = wanted; !left.empty() && terminated == 0;)
      left = left.subspan(run_in_child(left, options, sink, whole));
  }
  return results.finish();
}

}  // namespace

std::vector<Suite> suites() {
  std::vector<Suite> all;
  add_kernel_suites(all);
  add_golden_suites(all);
  add_coverage_suites(all);
  add_sample_suites(all);
  add_loop_suites(all);
  add_launch_suites(all);
  add_tape_suites(all);
  add_engine_suites(all);
  return all;
}

}  // namespace arc::test

int main(int argc, char** argv) {
  return arc::test::run(arc::test::parse(argc, argv));
}
