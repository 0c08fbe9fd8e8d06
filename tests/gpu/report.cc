#include "gpu/report.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <mutex>
#include <thread>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/json.h"

namespace arc::test {
namespace {

constexpr double kBeyond = 1e99;

}  // namespace

Row Report::row_of(const Check& check) const {
  const auto start = std::chrono::steady_clock::now();
  Row row{.suite = suite_, .check = check.name};
  try {
    row.finding = check.body();
  } catch (const std::exception& e) {
    row.finding.fail(e.what());
  }
  row.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return row;
}

void Report::check(const std::string& name, const std::function<Finding()>& body) {
  begun_(name);
  sink_(row_of({name, body}));
}

void Report::check_all(const std::vector<Check>& checks) {
  std::mutex mutex;
  std::atomic<size_t> next = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < n_threads_; ++i) {
    threads.emplace_back([&] {
      for (size_t c = next++; c < checks.size(); c = next++) {
        if (known_.contains(checks[c].name)) continue;
        {
          const std::lock_guard lock(mutex);
          begun_(checks[c].name + ", or one beside it");
        }
        const Row row = row_of(checks[c]);
        const std::lock_guard lock(mutex);
        sink_(row);
      }
    });
  }
}

void Report::skip(const std::string& name, const std::string& reason) {
  sink_({.suite = suite_, .check = name, .finding = {.skipped = reason}});
}

void print_row(const Row& row) {
  const Finding& f = row.finding;
  const std::string share = f.share ? fmt::format("{:.3g}", *f.share) : "-";
  const char* verdict = !f.skipped.empty() ? "skipped" : f.ok ? "ok" : "FAIL";
  std::printf("%-22s %-46s %9s  %-7s %6.1f s%s%s\n", row.suite.c_str(), row.check.c_str(), share.c_str(), verdict,
              row.seconds, f.skipped.empty() ? "" : "  ", f.skipped.c_str());
  if (!f.ok || !f.share) {
    for (const std::string& detail : f.details) std::printf("    %s\n", detail.c_str());
  }
  std::fflush(stdout);
}

// JSON has no infinity: a share beyond all bounds is kBeyond.
std::string to_json_line(const Row& row) {
  const auto finite = [](double share) { return std::isfinite(share) ? share : kBeyond; };
  const Finding& f = row.finding;
  Json json = {{"suite", row.suite},   {"check", row.check},   {"ok", f.ok},
               {"details", f.details}, {"skipped", f.skipped}, {"seconds", row.seconds}};
  if (f.share) json["share"] = finite(*f.share);
  for (const auto& [op, share] : f.by_operation) json["by_operation"][op] = finite(share);
  for (const PairResult& pair : f.pairs) {
    json["pairs"].push_back({{"architecture", pair.architecture},
                             {"format", pair.format},
                             {"cache", pair.cache},
                             {"share", finite(pair.share)},
                             {"skipped", pair.skipped}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Row from_json_line(const std::string& line) {
  const Json json = parse_json(line, "a row of the report");
  Row row{.suite = json.at("suite").get<std::string>(), .check = json.at("check").get<std::string>()};
  row.finding.ok = json.at("ok").get<bool>();
  row.finding.details = json.at("details").get<std::vector<std::string>>();
  row.finding.skipped = json.at("skipped").get<std::string>();
  row.seconds = json.at("seconds").get<double>();
  if (json.contains("share")) row.finding.share = json.at("share").get<double>();
  if (json.contains("by_operation")) {
    for (const auto& [op, share] : json.at("by_operation").items()) row.finding.by_operation[op] = share.get<double>();
  }
  if (json.contains("pairs")) {
    for (const Json& pair : json.at("pairs")) {
      row.finding.pairs.push_back({.architecture = pair.at("architecture").get<std::string>(),
                                   .format = pair.at("format").get<std::string>(),
                                   .cache = pair.at("cache").get<std::string>(),
                                   .share = pair.at("share").get<double>(),
                                   .skipped = pair.at("skipped").get<std::string>()});
    }
  }
  return row;
}

std::string first_difference(const std::vector<double>& got, const std::vector<double>& expected) {
  if (got.size() != expected.size()) return fmt::format("{} numbers instead of {}", got.size(), expected.size());
  size_t first = got.size(), n = 0;
  double worst = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == expected[i]) continue;
    if (n++ == 0) first = i;
    const double error = std::fabs(got[i] - expected[i]);
    worst = std::isnan(error) ? HUGE_VAL : std::fmax(worst, error);
  }
  if (n == 0) return {};
  return fmt::format("{} of {} numbers differ, the first at {}: {:.9g} and {:.9g}; by at most {:.3g}", n, got.size(),
                     first, got[first], expected[first], worst);
}

}  // namespace arc::test
