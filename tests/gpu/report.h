// What checks on a device find, row by row: a table for people, JSON for programs, and lines between processes.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace arc::test {

// One architecture with one weight format and one form of the cache, stage by stage.
struct PairResult {
  std::string architecture, format, cache;
  double share = 0.0;   // of the bound, the largest
  std::string skipped;  // why it was not compared; empty: it was
};

// What one check found.
struct Finding {
  bool ok = true;
  std::optional<double> share;                 // of the bound, the largest; absent: equality was asked for
  std::map<std::string, double> by_operation;  // likewise, where stages were compared
  std::vector<std::string> details;            // what went wrong, or what is worth knowing
  std::string skipped;                         // why nothing was compared; empty: it was
  std::vector<PairResult> pairs;               // that this check is made of

  void fail(std::string detail) {
    ok = false;
    details.push_back(std::move(detail));
  }
};

struct Row {
  std::string suite, check;
  Finding finding;
  double seconds = 0.0;
};

struct Check {
  std::string name;
  std::function<Finding()> body;
};

class Report {
 public:
  // Rows go to `sink` as soon as they are found; `begun` is told of each check before it runs.
  Report(std::string suite, int n_threads, std::function<void(const Row&)> sink,
         std::function<void(const std::string&)> begun)
      : suite_(std::move(suite)), n_threads_(n_threads), sink_(std::move(sink)), begun_(std::move(begun)) {}

  // Of check_all(), these have been found well before and are not run again.
  void leave_out(std::set<std::string> checks) { known_ = std::move(checks); }

  // Runs a check; what it throws is a failure.
  void check(const std::string& name, const std::function<Finding()>& body);
  // Side by side, for checks that compute much on the host and do not need each other. They must not capture graphs.
  void check_all(const std::vector<Check>& checks);
  void skip(const std::string& name, const std::string& reason);

 private:
  Row row_of(const Check& check) const;

  std::string suite_;
  int n_threads_;
  std::function<void(const Row&)> sink_;
  std::function<void(const std::string&)> begun_;
  std::set<std::string> known_;
};

void print_row(const Row& row);
std::string to_json_line(const Row& row);
Row from_json_line(const std::string& line);

// Numbers of two runs that must have the same bits: empty, or the first place where they differ.
std::string first_difference(const std::vector<double>& got, const std::vector<double>& expected);

}  // namespace arc::test
