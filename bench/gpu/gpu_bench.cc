// arc-gpu-bench: how fast a device decodes models of published shapes with random weights, against what it can read.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "exec/cuda/cuda_backend.h"
#include "exec/cuda/cuda_executor.h"
#include "gpu/ceiling.h"
#include "gpu/free_running.h"
#include "gpu/library_products.h"
#include "gpu/random_fill.h"
#include "gpu/ring_latency.h"
#include "models/arch.h"
#include "plan/cache_policy.h"
#include "plan/lower.h"
#include "weights/checkpoint_slots.h"

namespace arc::bench {
namespace {

constexpr int kReplays = 7;
constexpr int kLease = 60, kLeases = 5;  // a lease fits behind a context of whole tiles

// A step to measure: `batch` sequences that each add `tokens` to a context.
struct Load {
  int batch = 1, context = 512, tokens = 1;
};
constexpr Load kLoads[] = {{1, 512}, {8, 512}, {1, 8192}, {64, 512}, {1, 32768}, {8, 8192}, {1, 0, 2048}};
constexpr int kFewLoads = 3;  // the first ones
constexpr Load kPrefill = {1, 0, 2048};
constexpr int kMaxBatch = 64, kMaxTokens = 2048, kMaxContext = 32768;

constexpr Load kAlone[] = {{1, 512}, {1, 4096}};  // of the persistent grid

constexpr const char* kParts[] = {"ring", "loads", "products", "loop", "persistent"};

int tiles_of(const Load& load) {
  return (load.context + load.tokens + kTileTokens - 1) / kTileTokens;
}

struct Shape {
  const char* name;
  const char* config;
  bool large = false;  // measured only where it is asked for
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
    {"qwen3-32b",
     R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": 5120, "intermediate_size": 25600,
 "num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
 "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": false})",
     true},
};

struct Options {
  std::string shape, cache = "auto", part;  // no part: all
  BlockCode weights = BlockCode::none;
  bool few = false;

  bool wants(const Shape& wanted) const {
    if (shape.empty() && wanted.large) return part == "persistent";
    return std::string_view(wanted.name).find(shape) != std::string_view::npos;
  }
  bool wants(std::string_view name) const { return part.empty() || part == name; }
};

// Matrices in a block code.
class CodedSlots : public SlotResolver {
 public:
  CodedSlots(const ShapeOnlySlots& slots, BlockCode code) : slots_(slots), code_(code) {}
  std::optional<SlotTensor> find(std::string_view slot, int layer, int expert, bool required) const override {
    std::optional<SlotTensor> tensor = slots_.find(slot, layer, expert, required);
    if (tensor && code_ != BlockCode::none && slot.find("norm") == std::string_view::npos) {
      tensor->dtype = DType::packed;
      tensor->code = code_;
    }
    return tensor;
  }

 private:
  const ShapeOnlySlots& slots_;
  BlockCode code_;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Plan lowered(const Shape& shape, const Options& options) {
  const Config config(parse_json(shape.config, shape.name));
  const Arch& arch = find_arch(config.architecture());
  const ModelSpec spec = arch.build(config);
  const std::vector<LayerCache> layers = resolve_cache(spec, parse_cache_type(options.cache), DType::bf16);
  const ShapeOnlySlots slots(arch.own_names, spec.tied_head, DType::bf16);
  return lower(spec, CodedSlots(slots, options.weights),
               {.kernels = &gpu::kernels(), .policy = [&](int layer) { return layers[layer].policy; }});
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
    // In a block code these are small scales and any codes.
    weight.data = Tensor::zeros({weight_bytes(slot)}, DType::u8, device);
    fill_random_bf16(weight.data.data(), weight.data.numel() / 2, 1.0f / std::sqrt(static_cast<float>(slot.in)),
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

// One step of a load.
class BenchStep {
 public:
  explicit BenchStep(const Load& load)
      : rows_(load.batch), seq_lens_(load.batch), sampling_(load.batch, {.temperature = 0.0f}) {
    const int tiles = tiles_of(load);
    q_start_.push_back(0);
    for (int s = 0; s < load.batch; ++s) {
      for (int i = 0; i < tiles; ++i) table_.push_back(1 + s * tiles + i);
      for (int i = 0; i < load.tokens; ++i) {
        const int position = load.context + i;
        tokens_.push_back(1000 + 7 * s + i);
        positions_.push_back(position);
        slots_.push_back(int64_t{table_[s * tiles + position / kTileTokens]} * kTileTokens + position % kTileTokens);
      }
      q_start_.push_back(static_cast<int32_t>(tokens_.size()));
      seq_lens_[s] = load.context + load.tokens;
      rows_[s] = q_start_.back() - 1;
    }
    inputs_ = {.n_seqs = load.batch,
               .n_tokens = static_cast<int32_t>(tokens_.size()),
               .n_rows = load.batch,
               .tokens = tokens_.data(),
               .positions = positions_.data(),
               .q_start = q_start_.data(),
               .seq_lens = seq_lens_.data()};
    // Open tiles have as many blocks as packed ones: more than a scheduler gives them, the same work.
    for (GroupInputs& group : inputs_.groups) {
      group = {.block_table = table_.data(), .table_stride = tiles, .slots = slots_.data()};
    }
    inputs_.rows = rows_.data();
    inputs_.sampling = sampling_.data();
    inputs_.row_token = tokens_.data();  // nothing is drawn
  }
  const StepInputs& inputs() const { return inputs_; }

 private:
  std::vector<int32_t> tokens_, positions_, q_start_, rows_, seq_lens_, table_;
  std::vector<int64_t> slots_;
  std::vector<SamplingRow> sampling_;
  StepInputs inputs_;
};

bool any_stage(const Stage&) {
  return true;
}

// Measures loads of one model.
class Bench {
 public:
  Bench(const Shape& shape, CudaExecutor& executor, double ceiling, double matrix_peak)
      : shape_(shape), executor_(executor), stages_(executor.stages()), ceiling_(ceiling), matrix_peak_(matrix_peak) {}

  // Bytes that the chosen stages must read.
  double bytes(const Load& load, const std::function<bool(const Stage&)>& chosen) const {
    double sum = 0.0;
    for (const Stage& stage : stages_) {
      if (!chosen(stage)) continue;
      const double tokens = static_cast<double>(load.batch) * (load.context + load.tokens);
      sum +=
          static_cast<double>(stage.cost.weight_bytes) + static_cast<double>(stage.cost.cache_bytes_per_token) * tokens;
    }
    return sum;
  }

  // Seconds of each of the chosen stages.
  double row(const Load& load, const std::string& what, const std::function<bool(const Stage&)>& chosen) {
    const int n = static_cast<int>(std::ranges::count_if(stages_, chosen));
    if (n == 0) return 0.0;
    const BenchStep step(load);
    const double seconds = executor_.graph_seconds(step.inputs(), chosen, kReplays);
    const double read = bytes(load, chosen);
    std::printf("%-10s batch %2d, context %5d, tokens %4d: %-20s %4d stages, %9.1f us, %7.2f us each", shape_.name,
                load.batch, load.context, load.tokens, what.c_str(), n, 1e6 * seconds, 1e6 * seconds / n);
    if (read > 0) std::printf(", %5.0f GB/s, %5.1f%%", read / 1e9 / seconds, 100 * read / 1e9 / seconds / ceiling_);
    std::printf("\n");
    std::fflush(stdout);
    return seconds / n;
  }

  // A token's time within leases, sampling and control of the loop included.
  void lease_row(const Load& load, double step_seconds) {
    const BenchStep step(load);
    StepInputs inputs = step.inputs();
    LoopControl control{.lease = kLease};
    inputs.control = &control;
    inputs.row_token = nullptr;  // tokens are drawn
    if (!executor_.can_lease(inputs)) {
      std::puts("    no lease of this step");
      return;
    }
    std::vector<double> seconds;
    for (int i = 0; i < kLeases; ++i) {
      int n = 0;
      const auto start = std::chrono::steady_clock::now();
      const RunOutcome outcome = executor_.run_lease(
          inputs, [&](std::span<const LeaseToken> tokens) { n += static_cast<int>(tokens.size()); });
      if (outcome != RunOutcome::ok || n != kLease * load.batch) throw Error(ErrorCode::resource, "the device failed");
      seconds.push_back(seconds_since(start) / kLease);
    }
    std::ranges::nth_element(seconds, seconds.begin() + kLeases / 2);
    const double median = seconds[kLeases / 2];
    std::printf("    %.3f ms a token in leases of %d, greedy sampling included: %.1f us over the step in a graph\n",
                1e3 * median, kLease, 1e6 * (median - step_seconds));
  }

  // A step of one sequence on the resident grid, in launches, and on the grid again.
  void persistent(const Load& load) {
    const BenchStep step(load);
    const double read = bytes(load, any_stage);
    const auto print = [&](const char* what, double seconds) {
      std::printf("%-10s batch %2d, context %5d: %8.3f ms a step %-8s %5.0f GB/s, %5.1f%%\n", shape_.name, load.batch,
                  load.context, 1e3 * seconds, what, read / 1e9 / seconds, 100 * read / 1e9 / seconds / ceiling_);
      std::fflush(stdout);
      return seconds;
    };
    const auto grid = [&] { return print("on grid", executor_.tape_seconds(step.inputs(), 3 * kReplays)); };
    grid();
    print("launches", executor_.graph_seconds(step.inputs(), any_stage, kReplays));
    const double seconds = grid();
    lease_row(load, seconds);
  }

  void op_row(const Load& load, const std::string& op) {
    row(load, op, [&](const Stage& stage) { return op_name(stage.args) == op; });
  }

  // Own products of many tokens, which take `seconds` each, and the library's on the same weights. The rate counts the
  // weights times the tokens once; tokens of two bf16 take twice the work.
  void beside_library(int64_t n_tokens, int64_t out, int64_t in, double seconds) {
    const double operations = 2.0 * static_cast<double>(n_tokens * out * in);
    const auto print = [&](const char* what, double time) {
      std::printf("    %-44s %9.1f us, %6.1f TFLOP/s, %5.1f%% of the matrix peak\n", what, 1e6 * time,
                  operations / time / 1e12, 100 * operations / time / matrix_peak_);
    };
    std::vector<const void*> weights;
    for (size_t i = 0; i < stages_.size(); ++i) {
      if (op_name(stages_[i].args) != "linear") continue;
      const MatrixView& w = executor_.stage(i).weights[0];
      if (w.out == out && w.in == in && w.format == WeightFormat::plain(DType::bf16)) weights.push_back(w.data);
    }
    if (weights.empty()) return;
    print("Arc, tokens of two bf16", seconds);
    if (!library_.problem().empty()) return;
    print("cuBLASLt, tokens of two bf16", library_.seconds(weights, out, in, n_tokens, 2));
    print("cuBLASLt, tokens rounded to bf16", library_.seconds(weights, out, in, n_tokens, 1));
  }

  // Products, by the shape of their weights.
  void product_rows(const Load& load) {
    std::map<std::pair<int64_t, int64_t>, int> shapes;
    for (size_t i = 0; i < stages_.size(); ++i) {
      const Stage& stage = stages_[i];
      if (op_name(stage.args) != "linear") continue;
      const MatrixView& w = executor_.stage(i).weights[0];
      ++shapes[{w.out, w.in}];
    }
    for (const auto& [wanted, count] : shapes) {
      const double seconds =
          row(load, fmt::format("linear {}x{}", wanted.first, wanted.second), [&](const Stage& stage) {
            if (op_name(stage.args) != "linear") return false;
            const MatrixView& w = executor_.stage(static_cast<size_t>(&stage - stages_.data())).weights[0];
            return w.out == wanted.first && w.in == wanted.second;
          });
      // The head, there once, sees only the last of a prompt's tokens.
      if (load.tokens > 1 && count > 1) beside_library(load.tokens, wanted.first, wanted.second, seconds);
    }
  }

  void load(const Load& load) {
    const double tokens = load.batch * load.tokens;
    const BenchStep step(load);
    const double seconds = executor_.graph_seconds(step.inputs(), any_stage, kReplays);
    const double read = bytes(load, any_stage);
    std::printf(
        "%-10s batch %2d, context %5d, tokens %4d: %8.3f ms a step in a graph, %9.1f tokens/s, %6.2f GB, %5.1f%%\n",
        shape_.name, load.batch, load.context, load.tokens, 1e3 * seconds, tokens / seconds, read / 1e9,
        100 * read / 1e9 / seconds / ceiling_);
    if (load.tokens == 1) lease_row(load, seconds);
    std::map<std::string, int> ops;
    for (const Stage& stage : stages_) ++ops[std::string(op_name(stage.args))];
    for (const auto& [op, n] : ops) op_row(load, op);
    product_rows(load);
  }

 private:
  const Shape& shape_;
  CudaExecutor& executor_;
  std::span<const Stage> stages_;
  double ceiling_, matrix_peak_;  // GB/s, and operations per second
  LibraryProducts library_;
};

// Dense products of bf16 per second at the highest clock: what sm_90's matrix units do in a cycle (4096 operations a
// processor), were they always fed.
double matrix_peak(const CudaDevice& device) {
  int khz = 0;
  cudaDeviceGetAttribute(&khz, cudaDevAttrClockRate, device.index);
  return 4096.0 * device.n_processors * khz * 1e3;
}

// Keys and values at random, too; packed ones are any codes.
void fill_cache(const CudaExecutor& executor, const Plan& plan, int64_t blocks) {
  uint64_t seed = uint64_t{1} << 60;
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    if (op_name(plan.stages[i].args) != "append") continue;
    for (const KvView& kv : {executor.stage(i).kv, executor.stage(i).open}) {
      if (kv.data != nullptr) fill_random_bf16(kv.data, (1 + blocks) * kv.block_bytes / 2, 1.0f, seed += 1ull << 40);
    }
  }
}

void bench_shape(const Shape& shape, const Options& options, const CudaDevice& device, double ceiling) {
  const Plan plan = lowered(shape, options);
  const StepCapacity capacity{
      .tokens = kMaxTokens, .rows = kMaxBatch, .seqs = kMaxBatch, .positions = kMaxContext + 64};
  if (const std::string problem = gpu::problem(plan, capacity, device); !problem.empty()) {
    std::printf("%s: %s\n", shape.name, problem.c_str());
    return;
  }
  LoadedWeights weights;
  for (const WeightSlot& slot : plan.weights) {
    weights.weights.push_back(make_weight(slot, weights.weights.size() + 1, device.device()));
  }
  CudaExecutor executor(plan, std::move(weights), capacity, device);
  executor.set_tape(options.part == "persistent");
  if (options.part == "persistent" && executor.tape() == nullptr) {
    std::printf("%s: %s\n", shape.name, executor.describe().c_str());
    return;
  }
  const std::span<const Load> loads = options.part == "persistent"
                                          ? std::span<const Load>(kAlone)
                                          : std::span(kLoads).first(options.few ? kFewLoads : std::size(kLoads));
  int most = 0;
  for (const Load& load : loads) most = std::max(most, load.batch * tiles_of(load));
  CacheCapacity cache;
  cache.blocks.fill(1 + most);
  executor.allocate_cache(cache);
  fill_cache(executor, plan, most);
  Bench bench(shape, executor, ceiling, matrix_peak(device));
  for (const Load& load : loads) {
    if (options.wants("loads")) bench.load(load);
    if (options.part == "persistent") bench.persistent(load);
  }
  if (options.part == "products") bench.product_rows(kPrefill);
  if (options.wants("loop")) bench_free_running(shape.name, executor, 512);
}

// The better of two readers over 16 GB, or half of what is free; median of 5. GB/s.
double read_ceiling(const CudaDevice& device) {
  const int64_t bytes = std::min<int64_t>(int64_t{16} << 30, device.free_bytes / 2) / (1 << 20) * (1 << 20);
  const Tensor memory = Tensor::zeros({bytes}, DType::u8, device.device());
  const auto address = reinterpret_cast<uint64_t>(memory.data());
  double best = 0.0;
  for (const Reader reader : {Reader::grid_stride, Reader::ring}) {
    std::vector<double> rates;
    for (int i = 0; i < 5; ++i) rates.push_back(read_rate(reader, address, bytes, device.n_processors));
    std::ranges::sort(rates);
    std::printf("reads %.0f GB/s with %s\n", rates[2], reader == Reader::ring ? "bulk copies" : "plain loads");
    best = std::max(best, rates[2]);
  }
  return best;
}

constexpr char kUsage[] =
    "arc-gpu-bench [SHAPE] [--cache TYPE] [--weights CODE] [--few] [--part PART]\n"
    "  SHAPE            a part of a name, as 8b; default: all but 32b\n"
    "  --cache TYPE     as --pa-cache-type of arc; default auto\n"
    "  --weights CODE   Q8_0, Q4_0, Q4_K, Q5_K or Q6_K instead of bf16\n"
    "  --few            short decode loads only\n"
    "  --part PART      ring: how soon the host sees a token; loads: steps and their stages; products: those of a "
    "prompt,\n"
    "                   beside cuBLASLt where LD_LIBRARY_PATH has it; loop: leases while the host sleeps or is busy;\n"
    "                   persistent: steps of one sequence on the resident grid\n";

std::optional<Options> parse(std::span<char* const> args) {
  Options options;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string arg = args[i];
    const bool more = i + 1 < args.size();
    if (arg == "--few") {
      options.few = true;
    } else if (arg == "--part" && more) {
      options.part = args[++i];
      if (std::ranges::find(kParts, options.part) == std::end(kParts)) return std::nullopt;
    } else if (arg == "--cache" && more) {
      options.cache = args[++i];
    } else if (arg == "--weights" && more) {
      const std::string name = args[++i];
      for (const BlockCode code :
           {BlockCode::q8_0, BlockCode::q4_0, BlockCode::q4_k, BlockCode::q5_k, BlockCode::q6_k}) {
        if (block_code_info(code).name == name) options.weights = code;
      }
      if (options.weights == BlockCode::none) return std::nullopt;
    } else if (arg.starts_with("-")) {
      return std::nullopt;
    } else {
      options.shape = arg;
    }
  }
  return options;
}

int run(const Options& options) {
  const CudaDevice device = gpu::find();
  if (!device.problem.empty()) {
    std::fprintf(stderr, "arc-gpu-bench: %s\n", device.problem.c_str());
    return 2;
  }
  std::printf("%s, %d processors, %.1f GB; matrix units %.0f TFLOP/s at their highest clock\n", device.name.c_str(),
              device.n_processors, static_cast<double>(device.memory_bytes) / 1e9, matrix_peak(device) / 1e12);
  if (const std::string problem = LibraryProducts().problem(); !problem.empty())
    std::printf("no comparison with cuBLASLt: %s\n", problem.c_str());
  if (options.wants("ring") && !bench_ring_latency(100'000)) return 1;
  if (options.part == "ring") return 0;
  const double ceiling = read_ceiling(device);
  for (const Shape& shape : kShapes) {
    if (options.wants(shape)) bench_shape(shape, options, device, ceiling);
  }
  return 0;
}

}  // namespace
}  // namespace arc::bench

int main(int argc, char** argv) {
  const auto options = arc::bench::parse(std::span(argv, static_cast<size_t>(argc)).subspan(1));
  if (!options) {
    std::fputs(arc::bench::kUsage, stderr);
    return 2;
  }
  try {
    return arc::bench::run(*options);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "arc-gpu-bench: %s\n", e.what());
    return 1;
  }
}
