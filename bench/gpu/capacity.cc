#include "gpu/capacity.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "engine/cache_sizing.h"
#include "engine/executor_choice.h"
#include "gpu/filled_model.h"

namespace arc::bench {
namespace {

constexpr int kLong = 8;                 // sequences of the greatest length that fit
constexpr int kSeqTokens = 4096;         // the other question: how many of these fit
constexpr int32_t kStepTokens = 512;     // as --max-num-batched-tokens has it by default
constexpr int32_t kAnyLength = 1 << 24;  // longer than anything that fits
constexpr int kDecoded = kTileTokens;    // the last tile of each sequence
constexpr double kDecodeSeconds = 3;

// The cache as an engine makes it of `bytes` for so many sequences.
CacheRequest request(int64_t bytes, int32_t seqs, int32_t length) {
  return {.memory_bytes = bytes, .max_seqs = seqs, .max_seq_len = length, .max_batched_tokens = kStepTokens};
}

int64_t seqs_that_fit(const Plan& plan, int64_t bytes) {
  int32_t n = 0;
  while (tokens_within(plan.groups, request(bytes, n + 1, kSeqTokens)) >= int64_t{n + 1} * kSeqTokens) ++n;
  return n;
}

}  // namespace

bool bench_capacity(const Shape& shape, const CudaDevice& device, double read_ceiling) {
  const StepCapacity capacity{
      .tokens = kStepTokens, .rows = kMaxBatch, .seqs = kMaxBatch, .positions = kMaxContext + kTileTokens};
  const ExecutorChoice choice{.kind = ExecutorChoice::Kind::cuda, .device = device};
  LoadedWeights weights;
  int64_t uncompressed = 0;
  bool ok = true;
  for (const char* cache : {"auto", "turboquant"}) {
    Plan plan = lowered(shape, cache, BlockCode::none);
    if (const std::string problem = gpu::problem(plan, capacity, gpu::find());
        weights.weights.empty() && !problem.empty()) {
      std::printf("%s: %s\n", shape.name, problem.c_str());
      return ok;
    }
    if (weights.weights.empty()) weights = random_weights(plan, device);
    const int64_t bytes = choice.default_cache_bytes(plan, capacity);
    const int64_t in_few = tokens_within(plan.groups, request(bytes, kLong, kAnyLength));
    if (uncompressed == 0) uncompressed = in_few;
    std::printf("%-10s %-12s %6.2f GB of cache: %lld tokens in %d sequences, %.2f times auto's; %lld sequences of %d\n",
                shape.name, cache, static_cast<double>(bytes) / 1e9, static_cast<long long>(in_few), kLong,
                static_cast<double>(in_few) / static_cast<double>(uncompressed),
                static_cast<long long>(seqs_that_fit(plan, bytes)), kSeqTokens);
    const CachePlan sized = size_cache(plan.groups, request(bytes, kMaxBatch, kAnyLength));
    FilledModel model(std::move(plan), weights, capacity, device);
    model.fill(sized.capacity);
    const int tiles = static_cast<int>(std::min<int64_t>(model.n_tiles() / kMaxBatch, kMaxContext / kTileTokens));
    const StepShape step{.batch = kMaxBatch, .start = tiles * kTileTokens - kDecoded};
    const Decoded decoded = model.decode(step, kDecoded, kDecodeSeconds);
    ok = ok && decoded.same;
    std::printf(
        "    %lld tokens in %d sequences: each decodes %d behind %d, %.2f ms a token, %.1f%% of the read ceiling; %d "
        "once more in single steps: %s\n",
        static_cast<long long>(sized.n_tokens), kMaxBatch, decoded.n, step.start, 1e3 * decoded.seconds,
        100 * model.bytes_read(step, decoded.n) / decoded.seconds / read_ceiling / 1e9, decoded.n_checked,
        decoded.same ? "the same" : "WRONG");
    std::fflush(stdout);
  }
  return ok;
}

}  // namespace arc::bench
