#include "gpu/batches.h"

#include <algorithm>
#include <cstdio>

#include "exec/cuda/cuda_backend.h"
#include "gpu/filled_model.h"

namespace arc::bench {
namespace {

struct Batch {
  int n, context;
};
constexpr Batch kBatches[] = {{8, 4096}, {32, 4096}, {64, 4096}, {256, 4096}, {64, 16384}};
constexpr int kMost = 256, kDecoded = kTileTokens;
constexpr double kSeconds = 1.0;
constexpr int64_t kReserve = int64_t{2} << 30;

// Multiplications and additions of a token's products.
double operations(const Plan& plan) {
  double sum = 0;
  for (const Stage& stage : plan.stages) sum += static_cast<double>(stage.cost.flops_per_token);
  return sum;
}

}  // namespace

bool bench_batches(const Shape& shape, const std::string& cache, const CudaDevice& device, double read_ceiling) {
  const StepCapacity capacity{
      .tokens = kMaxTokens, .rows = kMost, .seqs = kMost, .positions = kMaxContext + kTileTokens};
  Plan plan = lowered(shape, cache, BlockCode::none);
  if (const std::string problem = gpu::problem(plan, capacity, device); !problem.empty()) {
    std::printf("%s: %s\n", shape.name, problem.c_str());
    return true;
  }
  const double multiply = matrix_ceiling(device), read = 1e9 * read_ceiling;
  const LoadedWeights weights_there = random_weights(plan, device);
  FilledModel model(std::move(plan), weights_there, capacity, device);
  const int64_t open = int64_t{kMost} * kOpenRing, tile = block_bytes(model.plan(), false);
  const int64_t room = (gpu::find().free_bytes - kReserve - open * block_bytes(model.plan(), true)) / tile;
  int64_t tiles = 0;
  for (const Batch& b : kBatches) {
    if (const int64_t wanted = int64_t{b.n} * b.context / kTileTokens; wanted <= room) tiles = std::max(tiles, wanted);
  }
  CacheCapacity blocks;
  for (size_t g = 0; g < model.plan().groups.size(); ++g)
    blocks.blocks[g] = static_cast<int32_t>(1 + (model.plan().groups[g].kind == CacheKind::open ? open : tiles));
  model.fill(blocks);
  bool ok = true;
  for (const Batch& b : kBatches) {
    std::printf("%-10s %s, %3d x %5d: ", shape.name, cache.c_str(), b.n, b.context);
    if (int64_t{b.n} * b.context / kTileTokens > tiles) {
      std::printf("does not fit\n");
      continue;
    }
    const StepShape step{.batch = b.n, .start = b.context - kDecoded};
    const Decoded decoded = model.decode(step, kDecoded, kSeconds);
    const double weights = weight_bytes_read(model.plan(), b.n, any_stage) / read;
    const double products = operations(model.plan()) * b.n / multiply;
    const double cache_read = model.cache_bytes_read(step, decoded.n) / read;
    const double least = std::max(weights, products) + cache_read;
    ok = ok && decoded.same;
    std::printf("%7.2f ms, %8.1f tokens/s, %4.1f%% of %.2f ms (weights %.2f, products %.2f; cache %.2f); %s\n",
                1e3 * decoded.seconds, b.n / decoded.seconds, 100 * least / decoded.seconds, 1e3 * least, 1e3 * weights,
                1e3 * products, 1e3 * cache_read,
                decoded.same ? "single steps draw the same" : "single steps draw OTHER tokens");
    std::fflush(stdout);
  }
  return ok;
}

}  // namespace arc::bench
