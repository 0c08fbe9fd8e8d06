// Published configs, without weights: the plan of each has as many parameters as the model is known to have. The
// configs and counts lie outside the project; without them nothing is tested.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <regex>
#include <sstream>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/mapped_file.h"
#include "models/arch.h"
#include "plan/lower.h"
#include "weights/checkpoint_slots.h"

namespace arc::test {
namespace {

std::filesystem::path configs_folder() {
  const char* shared = std::getenv("ARC_SHARED");
  return (shared != nullptr ? std::filesystem::path(shared) : std::filesystem::path(ARC_SOURCE_DIR) / ".." / "shared") /
         "data" / "configs";
}

// "file.json" to parameters without and with buffers (a correction of the router's choice counts as one).
std::map<std::string, std::pair<int64_t, int64_t>> published_counts(const std::filesystem::path& path) {
  static const std::regex kRow(R"(\| \S+[^|]*\| `(\S+)` \| (\d+) \| (\d+) \|.*)");
  std::map<std::string, std::pair<int64_t, int64_t>> counts;
  std::istringstream lines(read_text_file(path));
  for (std::string line; std::getline(lines, line);) {
    std::smatch row;
    if (std::regex_match(line, row, kRow)) counts[row[1]] = {std::stoll(row[2]), std::stoll(row[3])};
  }
  return counts;
}

TEST(Parameters, OfPublishedConfigs) {
  const std::filesystem::path folder = configs_folder();
  if (!std::filesystem::exists(folder / "PARAMETERS.md")) GTEST_SKIP() << folder.string() << " is not there";
  int n_equal = 0;
  for (const auto& [file, counts] : published_counts(folder / "PARAMETERS.md")) {
    const Config config(parse_json(read_text_file(folder / file), file));
    const std::string name = config.architecture();
    const auto is_of = [&](const Arch* arch) { return arch->name == name; };
    if (std::ranges::none_of(all_archs(), is_of)) continue;
    const Arch& arch = find_arch(name);
    const ModelSpec spec = arch.build(config);
    scaled_weights_from(config);
    config.expect_known();
    const int64_t count = parameter_count(lower(spec, ShapeOnlySlots(arch.own_names, spec.tied_head, DType::bf16), {}));
    EXPECT_TRUE(count == counts.first || count == counts.second) << file << ": " << count;
    ++n_equal;
  }
  std::printf("  %d configs counted\n", n_equal);
  EXPECT_GE(n_equal, 39);
}

}  // namespace
}  // namespace arc::test
