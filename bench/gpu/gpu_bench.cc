// arc-gpu-bench: how fast a device decodes models of published shapes with random weights, against what it can read.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "fmt/format.h"

#include "base/error.h"
#include "exec/cuda/cuda_backend.h"
#include "gpu/attention_bench.h"
#include "gpu/batches.h"
#include "gpu/bench_model.h"
#include "gpu/capacity.h"
#include "gpu/free_running.h"
#include "gpu/library_products.h"
#include "gpu/random_fill.h"
#include "gpu/ring_latency.h"
#include "gpu/serve_shape.h"
#include "gpu/step_inputs.h"
#include "gpu/table.h"

namespace arc::bench {
namespace {

constexpr int kReplays = 7;
constexpr int kLease = 60, kLeases = 5;  // a lease fits behind a context of whole tiles

// A step to measure: `batch` sequences that each add `tokens` to a context.
struct Load {
  int batch = 1, context = 512, tokens = 1;
  StepShape step() const { return {.batch = batch, .start = context, .tokens = tokens}; }
};
constexpr Load kLoads[] = {{1, 512}, {8, 512}, {1, 8192}, {64, 512}, {1, 32768}, {8, 8192}, {1, 0, 2048}};
constexpr int kFewLoads = 3;  // the first ones
constexpr Load kPrefill = {1, 0, kMaxTokens};
constexpr int kPrompts[] = {2048, 8192, 32768};
constexpr int kPromptReplays = 3;

constexpr Load kAlone[] = {{1, 512}, {1, 8192}};  // of the persistent grid

// Those in kDefault make the tables of docs/performance.md; the rest takes apart where the time goes.
constexpr const char* kParts[] = {"ring",      "table",      "loads",   "products", "loop",
                                  "attention", "persistent", "batches", "capacity", "serve"};
constexpr std::string_view kDefault = "ring table";

struct Options {
  std::string shape, cache = "auto", part, out;  // no part: those of kDefault
  BlockCode weights = BlockCode::none;
  bool few = false, resume = false;
  double seconds = TableOptions().seconds;
  ServeOptions serve;

  bool wants(std::string_view name) const {
    return part.empty() ? kDefault.find(name) != std::string_view::npos : part == name;
  }
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// One step of a load that draws nothing.
class LoadStep : public BenchStep {
 public:
  LoadStep(const Plan& plan, const Load& load)
      : BenchStep(plan, load.step(), load.tokens > 1 ? OpenTiles::fill : OpenTiles::ring) {
    inputs().row_token = inputs().tokens;
  }
};

// Measures loads of one model.
class Bench {
 public:
  Bench(const Shape& shape, const Plan& plan, CudaExecutor& executor, double ceiling, double matrix_peak)
      : shape_(shape),
        plan_(plan),
        executor_(executor),
        stages_(executor.stages()),
        ceiling_(ceiling),
        matrix_peak_(matrix_peak) {}

  // Bytes that the chosen stages must read.
  double bytes(const Load& load, const std::function<bool(const Stage&)>& chosen) const {
    const double tokens = static_cast<double>(load.batch) * (load.context + load.tokens);
    double sum = weight_bytes_read(plan_, load.batch * load.tokens, chosen);
    for (const Stage& stage : stages_) {
      if (chosen(stage)) sum += static_cast<double>(stage.cost.cache_bytes_per_token) * tokens;
    }
    return sum;
  }

  // Seconds of each of the chosen stages.
  double row(const Load& load, const std::string& what, const std::function<bool(const Stage&)>& chosen,
             int replays = kReplays) {
    const int n = static_cast<int>(std::ranges::count_if(stages_, chosen));
    if (n == 0) return 0.0;
    LoadStep step(plan_, load);
    const double seconds = executor_.graph_seconds(step.inputs(), chosen, replays);
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
    BenchStep step(plan_, load.step(), OpenTiles::ring);
    StepInputs& inputs = step.inputs();
    LoopControl control{.lease = kLease};
    inputs.control = &control;
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
    LoadStep step(plan_, load);
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

  void op_row(const Load& load, const std::string& op, int replays = kReplays) {
    row(load, op, [&](const Stage& stage) { return op_name(stage.args) == op; }, replays);
  }

  // Own products of many tokens, which take `seconds` each, and the library's on the same weights: both round tokens.
  void beside_library(int64_t n_tokens, int64_t out, int64_t in, double seconds) {
    const double operations = 2.0 * static_cast<double>(n_tokens * out * in);
    const auto print = [&](const char* what, double time) {
      best_product_ = std::max(best_product_, operations / time);
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
    print("Arc", seconds);
    if (library_.problem().empty()) print("cuBLASLt", library_.seconds(weights, out, in, n_tokens));
  }

  // Products, by the shape of their weights.
  void product_rows(const Load& load) {
    const auto shape_of = [&](const Stage& stage) {
      if (!std::holds_alternative<LinearArgs>(stage.args)) return std::pair<int64_t, int64_t>();
      const WeightSlot& w = plan_.weights[static_cast<size_t>(stage.weights[0])];
      return std::pair(w.out, w.in);
    };
    std::map<std::pair<int64_t, int64_t>, int> shapes;
    for (const Stage& stage : stages_) ++shapes[shape_of(stage)];
    shapes.erase(std::pair<int64_t, int64_t>());
    for (const auto& [wanted, count] : shapes) {
      const double seconds = row(load, fmt::format("linear {}x{}", wanted.first, wanted.second),
                                 [&, wanted = wanted](const Stage& stage) { return shape_of(stage) == wanted; });
      // The head, there once, sees only the last of a prompt's tokens.
      if (load.tokens > 1 && count > 1) beside_library(load.tokens, wanted.first, wanted.second, seconds);
    }
  }

  // Products, then whole prompts in steps as an engine takes them, with their rate against the best product so far: the
  // first and the last step are measured, and those between lie on a line.
  void prompts() {
    seconds_of(kPrefill);  // fills what products read
    product_rows(kPrefill);
    const double first = seconds_of(kPrefill);
    for (const int tokens : kPrompts) {
      double operations = 0.0;
      for (const Stage& stage : stages_) {
        if (const auto* a = std::get_if<AttendArgs>(&stage.args)) {
          operations += static_cast<double>(tokens) * (tokens + 1) * a->heads * (a->k_dim + a->v_dim);
        } else if (stage.layer != kNone) {
          operations += static_cast<double>(stage.cost.flops_per_token) * tokens;
        }
      }
      const Load last{1, tokens - kMaxTokens, kMaxTokens};
      const double seconds = tokens / kMaxTokens * (first + (last.context > 0 ? seconds_of(last) : first)) / 2;
      std::printf(
          "%-10s a prompt of %d: %.3f ms, %.1f tokens/s, %.1f TFLOP/s: %.1f%% of the best product, %.1f%% of the "
          "matrix peak\n",
          shape_.name, tokens, 1e3 * seconds, tokens / seconds, operations / seconds / 1e12,
          100 * operations / seconds / best_product_, 100 * operations / seconds / matrix_peak_);
      for (const char* op :
           {"linear", "expert_linear", "attend", "act", "norm", "rope", "append", "add", "route", "expert_sum"})
        op_row(last, op, kPromptReplays);
    }
  }

  void load(const Load& load) {
    const double tokens = load.batch * load.tokens;
    LoadStep step(plan_, load);
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
  const Plan& plan_;
  CudaExecutor& executor_;
  std::span<const Stage> stages_;
  double ceiling_, matrix_peak_;  // GB/s, and operations per second
  double best_product_ = 0.0;     // operations per second
  LibraryProducts library_;

  double seconds_of(const Load& load) {
    LoadStep step(plan_, load);
    return executor_.graph_seconds(step.inputs(), any_stage, kPromptReplays);
  }
};

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
  const Plan plan = lowered(shape, options.cache, options.weights);
  const StepCapacity capacity{
      .tokens = kMaxTokens, .rows = kMaxBatch, .seqs = kMaxBatch, .positions = kMaxContext + kTileTokens};
  if (const std::string problem = gpu::problem(plan, capacity, device); !problem.empty()) {
    std::printf("%s: %s\n", shape.name, problem.c_str());
    return;
  }
  CudaExecutor executor(plan, random_weights(plan, device), capacity, device);
  const bool on_grid = options.part == "persistent";
  executor.set_tape(on_grid);
  if (on_grid && executor.tape() == nullptr) {
    std::printf("%s: %s\n", shape.name, executor.describe().c_str());
    return;
  }
  const std::span<const Load> loads =
      on_grid ? std::span<const Load>(kAlone) : std::span(kLoads).first(options.few ? kFewLoads : std::size(kLoads));
  int most = std::max(kOpenBlocks, kMaxTiles);
  for (const Load& load : loads) most = std::max(most, load.batch * load.step().tiles());
  CacheCapacity cache;
  cache.blocks.fill(1 + most);
  executor.allocate_cache(cache);
  fill_cache(executor, plan, most);
  Bench bench(shape, plan, executor, ceiling, matrix_peak(device));
  for (const Load& load : loads) {
    if (options.wants("loads")) bench.load(load);
    if (on_grid) bench.persistent(load);
  }
  if (options.wants("products")) bench.prompts();
  if (options.wants("loop")) bench_free_running(shape.name, executor, 512);
}

constexpr char kUsage[] =
    "arc-gpu-bench [SHAPE] [--part PART] [--seconds N] [--out FILE] [--resume] [--cache TYPE] [--weights CODE] "
    "[--few]\n"
    "  SHAPE            a part of a name, as 8b; default: all\n"
    "  --part PART      ring: how soon the host sees a token; table: every preset, batch, context and prompt, and\n"
    "                   products of block codes; default: both. loads: steps and their stages; products: those of a "
    "prompt,\n"
    "                   beside cuBLASLt where LD_LIBRARY_PATH has it, and whole prompts; loop: leases while the host "
    "sleeps or is busy;\n"
    "                   attention: of one token, over every kind of cache; persistent: steps of one\n"
    "                   sequence on the persistent grid; batches: of 8 to 256 sequences; capacity: how many tokens\n"
    "                   fit, and that a full cache decodes; serve: a trace on the engine, or without, a prefix hit\n"
    "  --seconds N      of the table: what would begin later is not measured; default 200\n"
    "  --out FILE       the table, each cell a line of JSON as soon as it is there; or what serve measures\n"
    "  --trace FILE     of serve: 5 minutes of a trace, see bench/serve/README.md, from --begin 600 s on; --rates 1,2\n"
    "                   requests per second, --run-seconds N each, --step-ms MS as of arc\n"
    "  --cache TYPE     of loads, products, loop, persistent and batches, as --pa-cache-type of arc; default auto\n"
    "  --weights CODE   likewise: Q8_0, Q4_0, Q4_K, Q5_K or Q6_K instead of bf16\n"
    "  --few            short decode loads only\n";

// "1,2.5,4"
std::vector<double> numbers(const std::string& list) {
  std::vector<double> out;
  std::istringstream in(list);
  for (std::string number; std::getline(in, number, ',');) out.push_back(std::atof(number.c_str()));
  return out;
}

std::optional<Options> parse(std::span<char* const> args) {
  Options options;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string arg = args[i];
    const bool more = i + 1 < args.size();
    if (arg == "--few") {
      options.few = true;
    } else if (arg == "--resume") {
      options.resume = true;
    } else if (arg == "--part" && more) {
      options.part = args[++i];
      if (std::ranges::find(kParts, options.part) == std::end(kParts)) return std::nullopt;
    } else if (arg == "--seconds" && more) {
      options.seconds = std::atof(args[++i]);
    } else if (arg == "--trace" && more) {
      options.serve.trace = args[++i];
    } else if (arg == "--begin" && more) {
      options.serve.begin = std::atof(args[++i]);
    } else if (arg == "--rates" && more) {
      options.serve.rates = numbers(args[++i]);
    } else if (arg == "--run-seconds" && more) {
      options.serve.seconds = std::atof(args[++i]);
    } else if (arg == "--step-ms" && more) {
      options.serve.step_ms = std::atof(args[++i]);
    } else if (arg == "--out" && more) {
      options.out = args[++i];
    } else if (arg == "--cache" && more) {
      options.cache = options.serve.cache = args[++i];
    } else if (arg == "--weights" && more) {
      const std::string name = args[++i];
      for (const BlockCode code :
           {BlockCode::q8_0, BlockCode::q4_0, BlockCode::q4_k, BlockCode::q5_k, BlockCode::q6_k}) {
        if (block_code_info(code).name == name) options.weights = options.serve.weights = code;
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
  if (options.part == "serve") {
    for (const Shape& shape : shapes()) {
      if (std::string(shape.name).find(options.shape) != std::string::npos)
        serve_shape(shape, options.serve, device, options.out);
    }
    return 0;
  }
  const double ceiling = read_ceiling(device);
  bool ok = true;
  if (options.wants("attention")) bench_attention(device, ceiling, options.shape);
  if (options.wants("table"))
    ok = bench_table({.shape = options.shape, .seconds = options.seconds, .out = options.out, .resume = options.resume},
                     device, ceiling);
  const bool parts =
      options.wants("loads") || options.wants("products") || options.wants("loop") || options.wants("persistent");
  for (const Shape& shape : shapes()) {
    if (parts && std::string(shape.name).find(options.shape) != std::string::npos)
      bench_shape(shape, options, device, ceiling);
    if (options.wants("batches") && std::string(shape.name).find(options.shape) != std::string::npos)
      ok = bench_batches(shape, options.cache, device, ceiling) && ok;
    if (options.wants("capacity") && std::string(shape.name).find(options.shape) != std::string::npos)
      ok = bench_capacity(shape, device, ceiling) && ok;
  }
  return ok ? 0 : 1;
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
