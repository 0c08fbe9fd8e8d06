// Time of a whole decode step on the CPU for every cache type: one sequence at any context, no prompt read before. Each
// type takes turns with `auto`. The cache's contents are zeros, in memory of their own.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "engine/model_loader.h"

namespace arc {
namespace {

constexpr const char* kTypes[] = {"q8", "turboquant", "turboquant-3", "turboquant-aggressive"};
constexpr int32_t kSteps = 4;  // of a measurement

double now(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double median(std::vector<double> times) {
  const auto middle = times.begin() + static_cast<ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

class Decoder {
 public:
  Decoder(const std::string& folder, const std::string& type, int32_t threads, int32_t longest)
      : model_(load_model({.model = folder,
                           .dtype = "bf16",
                           .cache_type = type,
                           .max_seqs = 1,
                           .max_seq_len = longest,
                           .kv_memory_bytes = int64_t{5} << 30,
                           .swap_memory_bytes = 64 << 20,
                           .executor = "cpu",
                           .threads = threads},
                          {})),
        threads_(threads) {
    for (size_t g = 0; g < model_.groups.size(); ++g) {  // untouched memory would be one page of zeros
      std::vector<StepCopy> copies;
      for (int32_t b = 0; b < model_.cache.capacity.blocks[g]; ++b) {
        copies.push_back({.group = static_cast<int32_t>(g), .from = 0, .to = b});
      }
      model_.executor->swap_in(copies);
    }
  }

  // Processor seconds a thread of one step behind `context` tokens.
  double step(int32_t context) {
    const int32_t position = context - 2, token = 1, length = position + 1, row = 0, drawn = -1;  // fills no tile
    const int32_t q_start[2] = {0, 1}, tiles = context / kTileTokens;
    const SamplingRow greedy{.temperature = 0.0f};
    StepInputs step{.n_seqs = 1,
                    .n_tokens = 1,
                    .n_rows = 1,
                    .tokens = &token,
                    .positions = &position,
                    .q_start = q_start,
                    .seq_lens = &length,
                    .rows = &row,
                    .sampling = &greedy,
                    .row_token = &drawn};
    std::vector<int32_t> tables[kMaxCacheGroups];
    int64_t slots[kMaxCacheGroups] = {};
    for (size_t g = 0; g < model_.groups.size(); ++g) {
      const int32_t blocks = model_.cache.capacity.blocks[g] - 1;
      for (int32_t i = 0; i < tiles; ++i) tables[g].push_back(1 + i % blocks);
      slots[g] = int64_t{tables[g][position / kTileTokens]} * kTileTokens + position % kTileTokens;
      step.groups[g] = {.block_table = tables[g].data(), .table_stride = tiles, .slots = &slots[g]};
    }
    std::vector<RowResult> results(1);
    const double busy = now(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < kSteps; ++i) model_.executor->run(step, results);
    return (now(CLOCK_PROCESS_CPUTIME_ID) - busy) / kSteps / threads_;
  }

 private:
  LoadedModel model_;
  int32_t threads_;
};

void measure(const std::string& folder, int32_t threads, const std::vector<int32_t>& contexts, int rounds) {
  const int32_t longest = std::ranges::max(contexts);
  Decoder plain(folder, "auto", threads, longest);
  for (const char* type : kTypes) {
    Decoder coded(folder, type, threads, longest);
    for (const int32_t context : contexts) {
      std::vector<double> of_plain, of_coded;
      for (int i = 0; i < rounds; ++i) {
        of_plain.push_back(plain.step(context));
        of_coded.push_back(coded.step(context));
      }
      const double a = median(of_plain), b = median(of_coded);
      std::printf("%6d tokens: auto %8.2f ms, %-22s %8.2f ms, %.2f times its speed\n", context, 1e3 * a, type, 1e3 * b,
                  a / b);
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace arc

// steps_bench MODEL [threads] [contexts, comma-separated] [rounds]. Times are processor seconds per thread, which a
// machine with nobody else on it would show by the clock.
int main(int argc, char** argv) {
  const auto argument = [&](int i, const char* otherwise) { return std::string(i < argc ? argv[i] : otherwise); };
  std::vector<int32_t> contexts;
  const std::string list = argument(3, "512,4096,16384,32768");
  for (size_t at = 0; at < list.size(); at = std::min(list.find(',', at), list.size()) + 1) {
    contexts.push_back(std::stoi(list.substr(at)));
  }
  arc::measure(argument(1, "."), std::stoi(argument(2, "2")), contexts, std::stoi(argument(4, "5")));
}
