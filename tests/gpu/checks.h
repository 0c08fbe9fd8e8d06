// The checks that need a device, in suites: each runs in a process of its own, so that a fault ends one suite only.
#pragma once

#include <string>
#include <vector>

#include "gpu/report.h"
#include "parity/tiny_model.h"

namespace arc::test {

// What is tested.
struct Target {
  const Backend* backend = nullptr;  // null: the reference
  std::string executor = "ref";      // of the engine
};

struct Suite {
  std::string name;
  std::function<void(Report&, const Target&)> run;
};

// All suites: kernels, goldens, the engine, the built-in model.
std::vector<Suite> suites();

// Which of them one file adds.
void add_kernel_suites(std::vector<Suite>& suites);
void add_golden_suites(std::vector<Suite>& suites);
void add_coverage_suites(std::vector<Suite>& suites);
void add_engine_suites(std::vector<Suite>& suites);
void add_sample_suites(std::vector<Suite>& suites);
void add_loop_suites(std::vector<Suite>& suites);
void add_launch_suites(std::vector<Suite>& suites);
void add_tape_suites(std::vector<Suite>& suites);

// Of the factors of products on the device: numbers are taken apart in two bf16 of 8 bits, low * low is left out, and
// matrix units cut sums off instead of rounding them.
constexpr double kProductRounding = 0x1p-16;
// Of a number that becomes a bf16, relative: half a step of 2^-7. In prompts these are tokens that meet bf16 weights (a
// sum of w x moves by at most as much of the sum of |w x|), and queries and weights of attention over a bf16 cache.
constexpr double kBf16Rounding = 0x1p-8;
constexpr double kPromptRounding = kBf16Rounding + kProductRounding;

// The worst share and the failures of a comparison stage by stage.
struct ParityReport;
Finding finding_of(const ParityReport& report);

}  // namespace arc::test
