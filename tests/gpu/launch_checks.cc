// One launch makes 2,048 tokens, and the host calls CUDA for nothing while they come.
#include <algorithm>
#include <chrono>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "nlohmann/json.hpp"

#include "base/json.h"
#include "gpu/checks.h"
#include "gpu/cuda_calls.h"
#include "gpu/decoder.h"

namespace arc::test {
namespace {

constexpr int kTokens = 2048, kMaxTokens = 2560;

// A tiny model that takes long sequences.
Golden long_qwen() {
  Golden golden = read_golden("qwen3");
  Json config = parse_json(golden.config_json, "config.json");
  config["max_position_embeddings"] = kMaxTokens;
  golden.config_json = config.dump();
  return golden;
}

bool is_launch(const std::string& name) {
  return name.find("GraphLaunch") != std::string::npos;
}

// What was called from the lease's start to its last token, and then: a launch, and nothing behind it.
Finding only_launch(const std::vector<std::string>& until_last, const std::vector<std::string>& all) {
  Finding finding;
  const auto first = std::ranges::find_if(until_last, is_launch);
  if (first == until_last.end()) {
    finding.fail("no launch was seen among the calls: " + fmt::format("{}", fmt::join(until_last, ", ")));
    return finding;
  }
  // The runtime's call makes the driver's.
  auto behind = first;
  while (behind != until_last.end() && is_launch(*behind)) ++behind;
  const std::vector<std::string> between(behind, until_last.end());
  const std::vector<std::string> after(all.begin() + static_cast<ptrdiff_t>(until_last.size()), all.end());
  finding.details.push_back(
      fmt::format("{} calls up to the launch; between the launch and the last of {} tokens {}{}; afterwards {}",
                  behind - until_last.begin(), kTokens, between.size(),
                  between.empty() ? "" : ": " + fmt::format("{}", fmt::join(between, ", ")), fmt::join(after, ", ")));
  if (!between.empty()) finding.fail("CUDA was called while tokens came");
  return finding;
}

void one_launch(Report& report, const Target& target) {
  if (target.backend == nullptr) return report.skip("a launch of 2,048 tokens", "no device");
  const Golden golden = long_qwen();
  const TemporaryFolder folder("arc_gpu_launch");
  Decoder decoder(golden, folder.path(), target, kTokens, kMaxTokens);
  for (const int n : {1, 3}) {
    std::vector<Sequence> expected;
    report.check(fmt::format("2,048 tokens of {} in one launch", n), [&] {
      expected = decoder.prompts(n);
      decoder.steps(expected, kTokens, true);
      std::vector<Sequence> got = decoder.prompts(n);
      decoder.lease(got, kTokens);
      Finding finding;
      if (const std::string parts = difference(got, expected); !parts.empty()) finding.fail(parts);
      if (decoder.executor().lease_end() != cuda::LoopEnd::lease) finding.fail("the loop did not end with its lease");
      return finding;
    });
    const std::string name = fmt::format("no call of CUDA meanwhile, {}", n);
    if (const std::string problem = CudaCalls().problem(); !problem.empty()) {
      report.skip(name, problem);
      continue;
    }
    report.check(name, [&] {
      std::vector<Sequence> got = decoder.prompts(n);
      std::vector<std::string> until_last;
      const CudaCalls calls;
      int n_tokens = 0;
      decoder.lease(got, kTokens, {}, {}, nullptr, [&] {
        if (++n_tokens == n * kTokens) until_last = calls.names();
      });
      Finding finding = only_launch(until_last, calls.names());
      if (const std::string parts = difference(got, expected); !parts.empty()) finding.fail(parts);
      return finding;
    });
  }
}

}  // namespace

void add_launch_suites(std::vector<Suite>& suites) {
  suites.push_back({"loop/one-launch", one_launch});
}

}  // namespace arc::test
