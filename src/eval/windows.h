// Texts cut into windows that a model can read at once.
#pragma once

#include <string>
#include <vector>

#include "nlohmann/json.hpp"

#include "arc/eval.h"
#include "base/json.h"

namespace arc {

struct Window {
  std::vector<int32_t> tokens;
  int32_t first = 1;  // the first token that counts: none before it counts here, all from it on do
  int32_t counted() const { return static_cast<int32_t>(tokens.size()) - first; }
};

struct Windows {
  std::vector<Window> list;  // each counts at least one token
  int64_t bytes = 0;         // of the documents
  Json key;                  // what the list follows from
};

// Throws Error(invalid_argument) for sizes that do not fit the model, and when nothing is left to count.
Windows cut_windows(const Engine& engine, const std::vector<std::string>& documents, const TextOptions& options);

// A sum over windows, as a mean per token with its standard error (ratio estimate, windows independent).
struct WindowSum {
  double sum = 0;
  double n = 0;
};
struct MeanError {
  double mean = 0, error = 0;
};
MeanError mean_of(const std::vector<WindowSum>& windows);

}  // namespace arc
