#include "gpu/table.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "exec/cuda/cuda_backend.h"
#include "gpu/bench_model.h"
#include "gpu/filled_model.h"
#include "gpu/step_inputs.h"
#include "plan/cache_policy.h"

namespace arc::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

// All shapes have the first kFirstCaches measured before any has the others.
constexpr std::array<const char*, 6> kCaches = {"auto",   "turboquant",   "q8",
                                                "f8e4m3", "turboquant-3", "turboquant-aggressive"};
constexpr size_t kFirstCaches = 2;
constexpr int kBatches[] = {1, 8, 64}, kContexts[] = {512, 8192, 32768}, kPrompts[] = {2048, 32768};
constexpr int kDecoded = 64;           // the last tokens of a context, a tile
constexpr double kCellSeconds = 0.75;  // about what the measured tokens of a cell may take
constexpr int64_t kReserve = int64_t{2} << 30;
constexpr int kReplays = 5;
constexpr char kCodedShape[] = "qwen3-8b";
constexpr std::array<BlockCode, 6> kCodes = {BlockCode::none, BlockCode::q8_0, BlockCode::q4_0,
                                             BlockCode::q4_k, BlockCode::q5_k, BlockCode::q6_k};

// Prompts are for one uncompressed and one compressed cache: what the others do differently is a small part of them.
bool wants_prompts(std::string_view cache) {
  return cache == "auto" || cache == "turboquant";
}

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Ceilings {
  double read = 0, multiply = 0;  // bytes, operations per second
};

// What one cell came to. Without seconds, `words` say why.
struct Cell {
  double seconds = 0, share = 0;  // of a token of each sequence, or of a prompt
  int n_decoded = 0, n_checked = 0;
  std::string words;
  bool wrong = false;
};

// One shape with one preset.
class Preset {
 public:
  Preset(Plan plan, const LoadedWeights& weights, const CudaDevice& device, const Ceilings& ceilings)
      : ceilings_(ceilings), model_(std::move(plan), weights, kCapacity, device) {
    model_.fill(room());
  }

  static constexpr StepCapacity kCapacity = {
      .tokens = kMaxTokens, .rows = kMaxBatch, .seqs = kMaxBatch, .positions = kMaxContext + kTileTokens};

  // Greedy tokens of a lease; the first of them once more by single steps, which must draw the same.
  Cell decode(int batch, int context) {
    const StepShape shape{.batch = batch, .start = context - kDecoded};
    if (const int64_t tiles = int64_t{batch} * shape.tiles(); tiles > model_.n_tiles())
      return {.words = fmt::format("does not fit: {:.0f} GB of cache, room for {:.0f}", gigabytes(tiles),
                                   gigabytes(model_.n_tiles()))};
    const Decoded decoded = model_.decode(shape, kDecoded, kCellSeconds);
    Cell cell{.seconds = decoded.seconds, .n_decoded = decoded.n, .n_checked = decoded.n_checked};
    cell.share = model_.bytes_read(shape, decoded.n) / cell.seconds / ceilings_.read;
    cell.wrong = !decoded.same;
    if (cell.wrong) cell.words = "single steps drew other tokens than the lease";
    return cell;
  }

  // As often as needed steps of kMaxTokens: the first and the last are measured, and those between lie on a line.
  Cell prefill(int tokens) {
    if (tokens / kTileTokens > model_.n_tiles()) return {.words = "does not fit"};
    const int n = tokens / kMaxTokens, last = tokens - kMaxTokens;
    if (first_step_ == 0) {
      step_seconds(0);  // loads kernels
      first_step_ = step_seconds(0);
    }
    const double seconds = last == 0 ? first_step_ : n * (first_step_ + step_seconds(last)) / 2;
    return {.seconds = seconds, .share = operations(tokens) / seconds / ceilings_.multiply};
  }

 private:
  double gigabytes(int64_t tiles) const { return static_cast<double>(tiles * block_bytes(model_.plan(), false)) / 1e9; }

  // As many tiles as any cell asks for, or the device has room for.
  CacheCapacity room() const {
    const Plan& plan = model_.plan();
    const int64_t room = gpu::find().free_bytes - kReserve - kOpenBlocks * block_bytes(plan, true);
    const int64_t tiles =
        std::clamp<int64_t>(room / block_bytes(plan, false) - 1, 1, int64_t{kMaxBatch} * kMaxContext / kTileTokens);
    CacheCapacity capacity;
    for (size_t g = 0; g < plan.groups.size(); ++g) {
      const bool open = plan.groups[g].kind == CacheKind::open;
      capacity.blocks[g] = static_cast<int32_t>(1 + (open ? kOpenBlocks : tiles));
    }
    return capacity;
  }

  double step_seconds(int start) {
    BenchStep step(model_.plan(), {.start = start, .tokens = kMaxTokens}, OpenTiles::fill);
    std::vector<RowResult> results(1);
    const auto begin = Clock::now();
    if (model_.executor().run(step.inputs(), results) != RunOutcome::ok)
      throw Error(ErrorCode::resource, "the device failed in a step");
    return seconds_since(begin);
  }

  // Multiplications and additions of a prompt: products (the head's for a token of each step), and attention.
  double operations(int tokens) const {
    double sum = 0;
    for (const Stage& stage : model_.plan().stages) {
      const bool head = stage.writes[0].buffer == model_.plan().logits;
      sum += static_cast<double>(stage.cost.flops_per_token) * (head ? tokens / kMaxTokens : tokens);
      if (const auto* a = std::get_if<AttendArgs>(&stage.args))
        sum += 2.0 * a->heads * (a->k_dim + a->v_dim) * tokens * tokens / 2;
    }
    return sum;
  }

  Ceilings ceilings_;
  FilledModel model_;
  double first_step_ = 0;  // of a prompt, seconds
};

class Table {
 public:
  Table(const TableOptions& options, const CudaDevice& device, double read_ceiling)
      : options_(options), device_(device), ceilings_{.read = read_ceiling * 1e9, .multiply = matrix_ceiling(device)} {
    if (options.resume) read_known();
    if (!options.out.empty()) out_.open(options.out);
    put({{"device", device.name},
         {"read_ceiling_gb_s", read_ceiling},
         {"matrix_ceiling_tflop_s", ceilings_.multiply / 1e12}});
  }

  bool run() {
    std::vector<Shape> wanted;
    for (const Shape& shape : shapes()) {
      if (std::string(shape.name).find(options_.shape) != std::string::npos) wanted.push_back(shape);
    }
    const std::span<const char* const> caches(kCaches);
    for (const auto& some : {caches.first(kFirstCaches), caches.subspan(kFirstCaches)}) {
      for (const Shape& shape : wanted) measure(shape, some);
    }
    for (const Shape& shape : wanted) {
      if (std::string(shape.name) == kCodedShape && products_known_.empty() && has_time()) products(shape);
    }
    for (const Json& line : products_known_) put(line);
    for (const Shape& shape : wanted) print(shape);
    put({{"seconds", seconds_since(start_)}});
    return all_right_;
  }

 private:
  using Place = std::tuple<std::string, std::string, int, int>;  // shape, cache, batch, context

  bool has_time() const { return seconds_since(start_) < options_.seconds; }

  void put(const Json& line) {
    if (out_.is_open()) out_ << line.dump() << std::endl;
  }
  // Cells of an earlier run; the last line may have been cut off.
  void read_known() {
    std::ifstream file(options_.out);
    for (std::string text; std::getline(file, text) && !file.eof();) {
      const Json line = Json::parse(text);
      if (line.contains("cache")) {
        known_[Place(line.at("shape").get<std::string>(), line.at("cache").get<std::string>(), line.value("batch", 0),
                     line.at("context").get<int>())] = line;
      }
      if (line.contains("code")) products_known_.push_back(line);
    }
    const bool whole = !products_known_.empty() &&
                       products_known_.back().at("code") == block_code_info(kCodes.back()).name &&
                       products_known_.back().at("batch") == std::end(kBatches)[-1];
    if (!whole) products_known_.clear();
  }

  // Products at decode, by the shape of their weights, in bf16 and in each block code.
  void products(const Shape& shape) {
    for (const BlockCode code : kCodes) {
      const Plan plan = lowered(shape, "auto", code);
      CudaExecutor executor(plan, random_weights(plan, device_), Preset::kCapacity, device_);
      CacheCapacity capacity;
      capacity.blocks.fill(1 + kMaxBatch);
      executor.allocate_cache(capacity);
      const auto size = [&](const Stage& stage) {
        if (!std::holds_alternative<LinearArgs>(stage.args)) return std::pair<int64_t, int64_t>();
        const WeightSlot& weight = plan.weights[static_cast<size_t>(stage.weights[0])];
        return std::pair(weight.out, weight.in);
      };
      std::map<std::pair<int64_t, int64_t>, int> sizes;
      for (const Stage& stage : plan.stages) ++sizes[size(stage)];
      sizes.erase(std::pair<int64_t, int64_t>());
      for (const int batch : kBatches) {
        std::printf("%-5s batch %2d:",
                    code == BlockCode::none ? "bf16" : std::string(block_code_info(code).name).c_str(), batch);
        BenchStep step(plan, {.batch = batch}, OpenTiles::ring);
        for (const auto& [wanted, count] : sizes) {
          const auto chosen = [&, wanted = wanted](const Stage& stage) { return size(stage) == wanted; };
          const double seconds = executor.graph_seconds(step.inputs(), chosen, kReplays);
          const double share = weight_bytes_read(plan, batch, chosen) / seconds / ceilings_.read;
          std::printf("  %lldx%lld %.1f us %.1f%%", static_cast<long long>(wanted.first),
                      static_cast<long long>(wanted.second), 1e6 * seconds / count, 100 * share);
          put({{"code", code == BlockCode::none ? "bf16" : block_code_info(code).name},
               {"batch", batch},
               {"out", wanted.first},
               {"in", wanted.second},
               {"us", 1e6 * seconds / count},
               {"share", share}});
        }
        std::printf("\n");
      }
    }
    std::printf("\n");
  }

  void measure(const Shape& shape, std::span<const char* const> caches) {
    const Plan first = lowered(shape, kCaches[0], BlockCode::none);
    const std::string problem = gpu::problem(first, Preset::kCapacity, gpu::find());
    LoadedWeights weights;
    for (const char* cache : caches) {
      std::unique_ptr<Preset> preset;
      const auto cell = [&](int batch, int context, const std::function<Cell(Preset&)>& get) {
        const Place place{shape.name, cache, batch, context};
        if (const auto known = known_.find(place); known != known_.end()) return keep(place, known->second);
        if (!problem.empty()) return take(place, {.words = problem});
        if (!has_time()) return;
        if (weights.weights.empty()) weights = random_weights(first, device_);
        if (preset == nullptr)
          preset = std::make_unique<Preset>(lowered(shape, cache, BlockCode::none), weights, device_, ceilings_);
        take(place, get(*preset));
      };
      for (const int batch : kBatches) {
        for (const int context : kContexts) cell(batch, context, [&](Preset& p) { return p.decode(batch, context); });
      }
      for (const int tokens : kPrompts) {
        if (wants_prompts(cache)) cell(0, tokens, [&](Preset& p) { return p.prefill(tokens); });
      }
    }
  }

  // `batch` 0: a prompt.
  void take(const Place& place, const Cell& cell) {
    const auto& [shape, cache, batch, context] = place;
    Json row = {{"shape", shape}, {"cache", cache}, {"context", context}, {"at_s", seconds_since(start_)}};
    if (batch > 0) row["batch"] = batch;
    if (!cell.words.empty()) row["words"] = cell.words;
    if (cell.seconds > 0) {
      row["ms"] = 1e3 * cell.seconds;
      row["share"] = cell.share;
      row["tokens_per_s"] = (batch > 0 ? batch : context) / cell.seconds;
      if (batch > 0) row["decoded"] = cell.n_decoded, row["checked"] = cell.n_checked, row["same"] = !cell.wrong;
    }
    keep(place, row);
  }
  void keep(const Place& place, const Json& row) {
    const auto& [shape, cache, batch, context] = place;
    const bool wrong = !row.value("same", true);
    const std::string where = place_name(batch, context), text = text_of(row);
    all_right_ = all_right_ && !wrong;
    std::printf("%6.1f s  %-14s %-22s %-16s %s", row.value("at_s", 0.0), shape.c_str(), cache.c_str(), where.c_str(),
                text.c_str());
    if (row.contains("decoded")) {
      std::printf(" (%d tokens each, %d checked%s)", row.at("decoded").get<int>(), row.at("checked").get<int>(),
                  wrong ? ": WRONG" : "");
    }
    std::printf("\n");
    std::fflush(stdout);
    cells_[shape][where][cache] = text;
    put(row);
  }

  static std::string place_name(int batch, int context) {
    return batch > 0 ? fmt::format("{} x {}", batch, context) : fmt::format("prompt of {}", context);
  }
  static std::string text_of(const Json& row) {
    if (!row.contains("ms")) return row.at("words");
    const double ms = row.at("ms"), share = row.at("share");
    return row.contains("batch") ? fmt::format("{:.2f} ms, {:.1f}%", ms, 100 * share)
                                 : fmt::format("{:.0f} ms, {:.1f}%", ms, 100 * share);
  }

  void print(const Shape& shape) {
    std::printf("\n| %s |", shape.name);
    for (const char* cache : kCaches) std::printf(" %s |", cache);
    std::printf("\n|---|");
    for (size_t i = 0; i < kCaches.size(); ++i) std::printf("---|");
    std::printf("\n");
    const auto row = [&](const std::string& where) {
      std::printf("| %s |", where.c_str());
      for (const char* cache : kCaches) {
        const std::string& text = cells_[shape.name][where][cache];
        std::printf(" %s |", text.empty() ? "-" : text.c_str());
      }
      std::printf("\n");
    };
    for (const int batch : kBatches) {
      for (const int context : kContexts) row(place_name(batch, context));
    }
    for (const int tokens : kPrompts) row(place_name(0, tokens));
  }

  TableOptions options_;
  CudaDevice device_;
  Ceilings ceilings_;
  Clock::time_point start_ = Clock::now();
  bool all_right_ = true;
  std::map<Place, Json> known_;
  std::vector<Json> products_known_;
  std::map<std::string, std::map<std::string, std::map<std::string, std::string>>> cells_;  // shape, place, cache
  std::ofstream out_;
};

}  // namespace

bool bench_table(const TableOptions& options, const CudaDevice& device, double read_ceiling) {
  return Table(options, device, read_ceiling).run();
}

}  // namespace arc::bench
