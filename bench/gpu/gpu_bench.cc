// arc-gpu-bench: how fast a device decodes models of published shapes with random weights, against what it can read.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "ceiling.h"
#include "exec/cuda/cuda_backend.h"
#include "exec/cuda/cuda_executor.h"
#include "gpu/random_fill.h"
#include "models/arch.h"
#include "plan/lower.h"
#include "weights/checkpoint_slots.h"

namespace arc::bench {
namespace {

constexpr int kMaxBatch = 64;
constexpr int kContext = 512;  // tokens in the cache of each sequence
constexpr int kSteps = 20, kWarmSteps = 3;
constexpr int kLease = 60;  // fits behind the context

struct Shape {
  const char* name;
  const char* config;
};

constexpr Shape kShapes[] = {
    {"qwen3-0.6b",
     R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072,
 "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
 "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": true})"},
    {"qwen3-8b",
     R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288,
 "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
 "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": false})"},
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Plan lowered(const Shape& shape) {
  const Config config(parse_json(shape.config, shape.name));
  const Arch& arch = find_arch(config.architecture());
  return lower(arch.build(config), ShapeOnlySlots(arch.own_names, DType::bf16),
               {.kernels = &gpu::kernels(), .policy = [](int) { return KvPolicy::raw_of(DType::bf16); }});
}

Tensor on_device(const Tensor& host, Device device) {
  Tensor there = Tensor::zeros(host.shape(), host.dtype(), device);
  copy_bytes(there.data(), device, host.data(), {}, host.size_bytes());
  return there;
}

// Matrices random, small enough that nothing overflows; norms one.
Linear make_weight(const WeightSlot& slot, uint64_t seed, Device device) {
  Linear weight{.format = slot.format, .count = slot.count, .out = slot.out, .in = slot.in};
  if (slot.role == WeightSlot::Role::matrix) {
    weight.data = Tensor::zeros({slot.count, slot.out, slot.in}, DType::bf16, device);
    fill_random_bf16(weight.data.data(), weight.data.numel(), 1.0f / std::sqrt(static_cast<float>(slot.in)),
                     seed << 40);
    return weight;
  }
  const bool constant = slot.role == WeightSlot::Role::constant;
  const Tensor host = Tensor::zeros({slot.in}, constant ? DType::f64 : DType::f32);
  if (constant) std::ranges::copy(slot.values, host.as<double>());
  if (!constant) std::fill_n(host.as<float>(), slot.in, 1.0f);
  weight.data = on_device(host, device);
  return weight;
}

// One decode step of `batch` sequences, each with kContext tokens behind it.
class DecodeStep {
 public:
  DecodeStep(int batch, int tiles)
      : tokens_(batch),
        positions_(batch, kContext),
        q_start_(batch + 1),
        seq_lens_(batch, kContext + 1),
        rows_(batch),
        slots_(batch),
        sampling_(batch, SamplingRow{.temperature = 0.0f}) {
    std::iota(q_start_.begin(), q_start_.end(), 0);
    std::iota(rows_.begin(), rows_.end(), 0);
    for (int s = 0; s < batch; ++s) {
      tokens_[s] = 1000 + 7 * s;
      for (int i = 0; i < tiles; ++i) table_.push_back(1 + s * tiles + i);
      slots_[s] = int64_t{table_[s * tiles + kContext / kTileTokens]} * kTileTokens + kContext % kTileTokens;
    }
    inputs_ = {.n_seqs = batch,
               .n_tokens = batch,
               .n_rows = batch,
               .tokens = tokens_.data(),
               .positions = positions_.data(),
               .q_start = q_start_.data(),
               .seq_lens = seq_lens_.data()};
    inputs_.groups[0] = {.block_table = table_.data(), .table_stride = tiles, .slots = slots_.data()};
    inputs_.rows = rows_.data();
    inputs_.sampling = sampling_.data();
  }
  const StepInputs& inputs() const { return inputs_; }

 private:
  std::vector<int32_t> tokens_, positions_, q_start_, seq_lens_, rows_, table_;
  std::vector<int64_t> slots_;
  std::vector<SamplingRow> sampling_;
  StepInputs inputs_;
};

double median(std::vector<double>& values) {
  std::ranges::nth_element(values, values.begin() + static_cast<ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

// Median seconds of a step.
double step_seconds(CudaExecutor& executor, const StepInputs& inputs) {
  std::vector<RowResult> results(inputs.n_rows);
  std::vector<double> seconds;
  for (int i = 0; i < kWarmSteps + kSteps; ++i) {
    const auto start = std::chrono::steady_clock::now();
    if (executor.run(inputs, results) != RunOutcome::ok) throw Error(ErrorCode::resource, "the device failed");
    if (i >= kWarmSteps) seconds.push_back(seconds_since(start));
  }
  return median(seconds);
}

// Median seconds of a step within leases.
double lease_seconds(CudaExecutor& executor, StepInputs inputs) {
  LoopControl control{.lease = kLease};
  inputs.control = &control;
  if (!executor.can_lease(inputs)) return 0.0;
  std::vector<double> seconds;
  for (int i = 0; i < 4; ++i) {
    int n = 0;
    const auto start = std::chrono::steady_clock::now();
    const RunOutcome outcome =
        executor.run_lease(inputs, [&](std::span<const LeaseToken> tokens) { n += static_cast<int>(tokens.size()); });
    if (outcome != RunOutcome::ok || n != kLease * inputs.n_rows) throw Error(ErrorCode::resource, "the device failed");
    if (i > 0) seconds.push_back(seconds_since(start) / kLease);
  }
  return median(seconds);
}

// Where the time goes when every stage is waited for: microseconds by operation.
std::string by_operation(CudaExecutor& executor, const Plan& plan, const StepInputs& inputs) {
  std::map<std::string, double> us;
  std::vector<RowResult> results(inputs.n_rows);
  auto start = std::chrono::steady_clock::now();
  executor.set_observer([&](size_t stage) {
    us[std::string(op_name(plan.stages[stage].args))] += 1e6 * seconds_since(start);
    start = std::chrono::steady_clock::now();
  });
  start = std::chrono::steady_clock::now();
  executor.run(inputs, results);
  executor.set_observer({});
  std::string text;
  for (const auto& [op, time] : us) text += fmt::format("{}{} {:.0f}", text.empty() ? "" : ", ", op, time);
  return text;
}

void bench_shape(const Shape& shape, const CudaDevice& device, double ceiling) {
  const Plan plan = lowered(shape);
  const StepCapacity capacity{.tokens = kMaxBatch, .rows = kMaxBatch, .seqs = kMaxBatch, .positions = 2 * kContext};
  if (const std::string problem = gpu::problem(plan, capacity, device); !problem.empty()) {
    std::printf("%s: %s\n", shape.name, problem.c_str());
    return;
  }
  LoadedWeights weights;
  for (const WeightSlot& slot : plan.weights) {
    weights.weights.push_back(make_weight(slot, weights.weights.size() + 1, device.device()));
  }
  CudaExecutor executor(plan, std::move(weights), capacity, device);
  constexpr int kTiles = kContext / kTileTokens + 1;
  CacheCapacity cache;
  cache.blocks[0] = 1 + kMaxBatch * kTiles;
  executor.allocate_cache(cache);
  const StageCost cost = total_cost(plan);
  for (const int batch : {1, 8, 64}) {
    const DecodeStep step(batch, kTiles);
    const double seconds = step_seconds(executor, step.inputs());
    const double bytes =
        static_cast<double>(cost.weight_bytes) + static_cast<double>(cost.cache_bytes_per_token) * kContext * batch;
    std::printf("%-12s batch %2d, context %d: %8.3f ms a step, %8.1f tokens/s, %6.2f GB read, %5.1f%% of the ceiling\n",
                shape.name, batch, kContext, 1e3 * seconds, batch / seconds, bytes / 1e9,
                100 * bytes / 1e9 / seconds / ceiling);
    executor.set_graphs(true);
    const double graph = step_seconds(executor, step.inputs());
    executor.set_graphs(false);
    const double loop = lease_seconds(executor, step.inputs());
    std::printf("    ms a token: %.3f a launch per stage, %.3f as graphs, %.3f in a lease of %d (at growing context)\n",
                1e3 * seconds, 1e3 * graph, 1e3 * loop, kLease);
    std::printf("    us by operation, each waited for: %s\n", by_operation(executor, plan, step.inputs()).c_str());
    std::fflush(stdout);
  }
}

// The better of two readers over 16 GB, or half of what is free; median of 5. GB/s.
double read_ceiling(const CudaDevice& device) {
  const int64_t bytes = std::min<int64_t>(int64_t{16} << 30, device.free_bytes / 2) / (1 << 20) * (1 << 20);
  const Tensor memory = Tensor::zeros({bytes}, DType::u8, device.device());
  const auto address = reinterpret_cast<uint64_t>(memory.data());
  double best = 0.0;
  for (const tape::Reader reader : {tape::Reader::grid_stride, tape::Reader::ring}) {
    std::vector<double> rates;
    for (int i = 0; i < 5; ++i) rates.push_back(tape::read_rate(reader, address, bytes, device.n_processors));
    std::ranges::sort(rates);
    std::printf("reads %.0f GB/s with %s\n", rates[2], reader == tape::Reader::ring ? "bulk copies" : "plain loads");
    best = std::max(best, rates[2]);
  }
  return best;
}

int run(int argc, char** argv) {
  const CudaDevice device = gpu::find();
  if (!device.problem.empty()) {
    std::fprintf(stderr, "arc-gpu-bench: %s\n", device.problem.c_str());
    return 2;
  }
  std::printf("%s, %d processors, %.1f GB\n", device.name.c_str(), device.n_processors,
              static_cast<double>(device.memory_bytes) / 1e9);
  const double ceiling = read_ceiling(device);
  for (const Shape& shape : kShapes) {
    if (argc < 2 || std::strstr(shape.name, argv[1]) != nullptr) bench_shape(shape, device, ceiling);
  }
  return 0;
}

}  // namespace
}  // namespace arc::bench

// arc-gpu-bench [SHAPE]
int main(int argc, char** argv) {
  try {
    return arc::bench::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "arc-gpu-bench: %s\n", e.what());
    return 1;
  }
}
