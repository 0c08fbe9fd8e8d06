// The state of an evaluation: results of its parts, kept in a file of JSON lines as they come.
#pragma once

#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

#include "arc/eval.h"
#include "base/json.h"

namespace arc {

class Journal {
 public:
  // `key`: what the parts follow from, besides run.settings. Reads what run.state already holds; a last line that was
  // not finished is dropped. Throws Error(invalid_argument) for a file of another evaluation, Error(io).
  Journal(const EvalRun& run, const Json& key, size_t n_parts, const std::string& what);

  // Parts that have no result yet.
  std::vector<size_t> missing() const;
  void add(size_t part, Json result);
  // All of them, once none is missing.
  const Json& result(size_t part) const { return *results_[part]; }

 private:
  void read(const std::string& path, const std::string& first_line);
  void show() const;

  std::vector<std::optional<Json>> results_;
  size_t n_done_ = 0;
  std::ofstream file_;
  ProgressSink progress_;
  std::string what_;
};

// A short name of a text's content, for keys.
std::string fingerprint(const std::string& text);

}  // namespace arc
