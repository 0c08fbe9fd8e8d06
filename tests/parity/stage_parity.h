// parity(A, B): the reference and another executor walk one plan stage by stage. After each stage the other's buffers
// are compared with the reference's and then made equal to them, so that every stage is judged by its own error.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "parity/golden.h"
#include "parity/tiny_model.h"

namespace arc::test {

struct ParityReport {
  std::map<std::string, double> shares;  // per operation: the largest share of its bound
  std::string first_failure;             // the first stage outside its bound, in words; empty: none
  std::vector<std::string> failures;     // of each operation the first
  double worst() const;
};

// Runs `tokens` on both, in chunks of `chunk` (0: all at once); the roundings: see StageBounds.
ParityReport stage_parity(TinyModel& reference, TinyModel& other, std::span<const int32_t> tokens, int chunk,
                          double product_rounding, double attend_rounding = 0.0);
// A golden's tokens, on an executor as `other` says.
ParityReport stage_parity(const Golden& golden, const Checkpoint& checkpoint, const TinyOptions& other, int chunk,
                          double product_rounding, double attend_rounding = 0.0);

}  // namespace arc::test
