// Decoding on the resident grid: every buffer of every stage against an oracle in double, logits against the executor
// that launches stage by stage, at positions around tiles and granules and over shuffled blocks.
#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>
#include <random>
#include <set>

#include "fmt/format.h"
#include "nlohmann/json.hpp"

#include "base/json.h"
#include "exec/cuda/cuda_backend.h"
#include "exec/cuda/cuda_executor.h"
#include "gpu/checks.h"
#include "gpu/tape_oracle.h"
#include "models/arch.h"
#include "plan/cache_policy.h"
#include "plan/lower.h"
#include "weights/checkpoint_slots.h"

namespace arc::test {
namespace {

// Roundings to bf16 that a layer's vector sees on the grid, where launches keep f32: x, qkv (and q, k after them), the
// attention's weights, its output, h. Each is at most 2^-9 of what it rounds, half of that in the mean; they add up
// like random steps over the layers, and the bound is three times that. A key and a value that become int8 in steps of
// the 127th part of the largest of 32 (about 2.5 times the mean) are a step off where the rounding before led across.
double logits_bound(int n_layers, bool int8) {
  constexpr double kRounding = 0x1p-10, kStep = 2.5 / 127;
  const double squares = kRounding * kRounding * (6 * n_layers + 1) + (int8 ? 2 * n_layers * kRounding * kStep : 0.0);
  return 3 * std::sqrt(squares);
}

struct TapeCase {
  std::string name, config;
  int max_position = 0;
  std::vector<int> positions;  // of the first of kSteps steps
  std::string cache = "auto";
};

constexpr int kSteps = 6;
// Near a tie, rounding exchanges the last expert chosen for the next, which moves the logits by its share: at most so
// much where the choices differ.
constexpr double kOtherExpert = 0.1;
constexpr int kChunk = 256;

std::string config(const char* arch, int dim, int heads, int kv_heads, int ffn, int layers, int vocab,
                   const char* more = "") {
  return fmt::format(R"({{"architectures": ["{}"], "vocab_size": {}, "hidden_size": {}, "intermediate_size": {},
 "num_hidden_layers": {}, "num_attention_heads": {}, "num_key_value_heads": {}, "head_dim": 128,
 "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": false{}}})",
                     arch, vocab, dim, ffn, layers, heads, kv_heads, more);
}

std::string experts_config(int dim, int heads, int kv_heads, int hidden, int experts, int top_k, bool over_chosen) {
  return config("Qwen3MoeForCausalLM", dim, heads, kv_heads, 4 * hidden, 3, 1003,
                fmt::format(R"(, "moe_intermediate_size": {}, "num_experts": {}, "num_experts_per_tok": {},
 "norm_topk_prob": {})",
                            hidden, experts, top_k, over_chosen)
                    .c_str());
}

std::vector<TapeCase> cases() {
  return {{"qwen3 of odd widths", config("Qwen3ForCausalLM", 1352, 16, 4, 2824, 3, 1003), 4200, {0, 29, 61, 700, 4090}},
          {"one kv head", config("Qwen3ForCausalLM", 512, 8, 1, 1280, 2, 4099), 700, {0, 31, 600}},
          {"narrow", config("Qwen3ForCausalLM", 64, 4, 2, 96, 2, 250), 200, {0, 90}},
          {"wide", config("Qwen3ForCausalLM", 5120, 64, 8, 25600, 2, 8192), 1200, {5, 1100}},
          {"experts", experts_config(2048, 32, 4, 768, 24, 8, true), 700, {0, 600}},
          {"wide experts", experts_config(520, 8, 2, 1400, 7, 4, false), 200, {0, 90}},
          {"biases, no norms", config("Qwen2ForCausalLM", 896, 7, 1, 4864, 2, 1000), 700, {0, 600}},
          {"turboquant",
           config("Qwen3ForCausalLM", 1024, 16, 8, 3072, 4, 1003),
           8300,
           {0, 31, 60, 126, 190, 700, 4094, 8190},
           "turboquant"},
          {"turboquant-3", config("Qwen3ForCausalLM", 512, 32, 4, 1280, 5, 1003), 1400, {0, 126, 1340}, "turboquant-3"},
          {"turboquant-aggressive",
           config("Qwen3ForCausalLM", 512, 8, 1, 1280, 5, 1003),
           4200,
           {62, 4150},
           "turboquant-aggressive"},
          {"turboquant, no recent tile",
           config("Qwen2ForCausalLM", 896, 7, 1, 4864, 3, 1000),
           700,
           {62, 600},
           "turboquant,recent=0"},
          {"turboquant, other widths",
           config("Qwen3ForCausalLM", 512, 16, 8, 1280, 2, 1003),
           700,
           {62, 500},
           "turboquant,k=2,v=8,boundary=0,recent=3"},
          {"q8", config("Qwen3ForCausalLM", 1024, 16, 8, 3072, 2, 1003), 4200, {0, 61, 4090}, "q8"}};
}

Plan lower_case(const TapeCase& c) {
  const Config parsed(parse_json(c.config, "config"));
  const Arch& arch = find_arch(parsed.architecture());
  const ModelSpec spec = arch.build(parsed);
  const std::vector<LayerCache> layers = resolve_cache(spec, parse_cache_type(c.cache), DType::bf16);
  return lower(
      spec, ShapeOnlySlots(arch.own_names, spec.tied_head, DType::bf16),
      {.kernels = &gpu::kernels(), .policy = [&](int layer) { return layers[static_cast<size_t>(layer)].policy; }});
}

// Matrices that keep a vector's size, gains around 1, small biases.
LoadedWeights random_weights(const Plan& plan) {
  LoadedWeights loaded;
  for (const WeightSlot& slot : plan.weights) {
    Linear w{.format = slot.format, .count = slot.count, .out = slot.out, .in = slot.in};
    std::mt19937 random(static_cast<unsigned>(loaded.weights.size()));
    const auto uniform = [&](float size) { return (static_cast<float>(random() >> 8) * 0x1p-23f - 1.0f) * size; };
    if (slot.role == WeightSlot::Role::matrix) {
      w.data = Tensor::zeros({slot.count * slot.out, slot.in}, DType::bf16);
      const float size = std::sqrt(3.0f / static_cast<float>(slot.in));
      for (int64_t i = 0; i < w.data.numel(); ++i) w.data.as<uint16_t>()[i] = float_to_bf16(uniform(size));
      if (!slot.bias_parts.empty()) {
        w.bias = Tensor::zeros({slot.out}, DType::f32);
        for (int64_t i = 0; i < slot.out; ++i) w.bias.as<float>()[i] = uniform(0.2f);
      }
    } else if (slot.role == WeightSlot::Role::vector) {
      w.data = Tensor::zeros({slot.in}, DType::f32);
      for (int64_t i = 0; i < slot.in; ++i) w.data.as<float>()[i] = 1.0f + uniform(0.2f);
    } else {
      w.data = Tensor::zeros({slot.in}, DType::f64);
      std::ranges::copy(slot.values, w.data.as<double>());
    }
    loaded.weights.push_back(std::move(w));
  }
  return loaded;
}

// One sequence over shuffled blocks.
class TapeModel {
 public:
  TapeModel(const TapeCase& c, const CudaDevice& device)
      : plan_(lower_case(c)),
        host_(random_weights(plan_)),
        executor_(plan_, uploaded(host_, device), {.tokens = kChunk, .rows = 1, .positions = c.max_position}, device),
        logits_(static_cast<size_t>(plan_.vocab)) {
    const int n_tiles = c.max_position / kTileTokens + 1;
    std::mt19937 random(5);
    for (size_t g = 0; g < plan_.groups.size(); ++g) {
      std::vector<int32_t>& table = tables_.emplace_back(static_cast<size_t>(n_tiles));
      std::iota(table.begin(), table.end(), 1);
      std::shuffle(table.begin(), table.end(), random);
    }
    slots_.resize(tables_.size());
    CacheCapacity capacity;
    capacity.blocks.fill(n_tiles + 1);
    executor_.allocate_cache(capacity);
  }

  CudaExecutor& executor() { return executor_; }
  const Plan& plan() const { return plan_; }
  const std::vector<float>& logits() const { return logits_; }

  // Tokens that the cache holds from `position` on; the last one's logits are kept. The token that is most likely.
  int32_t step(std::span<const int32_t> tokens, int position) {
    fill(tokens, position);
    float* row = logits_.data();
    inputs_.row_logits = &row;
    return run();
  }
  // The same, sampled on the device.
  int32_t step_there(std::span<const int32_t> tokens, int position) {
    fill(tokens, position);
    return run();
  }
  // Each stage of the grid's step, one after another.
  Shares check_stages(int32_t token, int position) {
    fill({&token, 1}, position);
    TapeOracle oracle(plan_, executor_, host_);
    Shares shares;
    for (size_t i = 1; i < executor_.tape()->tape().stages.size(); ++i) {
      if (!executor_.run_tape(inputs_, i + 1)) throw std::runtime_error("the device failed");
      oracle.check(i, token, position, tables_, shares);
    }
    return shares;
  }
  // Of how many layers the grid's experts for a token are others than those of launches. The cache keeps the grid's
  // rows.
  int n_exchanged(std::span<const int32_t> token, int position) {
    const std::vector<std::set<int32_t>> launched = launched_choices(token, position);
    TapeOracle oracle(plan_, executor_, host_);
    size_t layer = 0;
    int n = 0;
    for (size_t i = 1; i < executor_.tape()->tape().stages.size(); ++i) {
      if (!executor_.run_tape(inputs_, i + 1)) throw std::runtime_error("the device failed");
      const std::set<int32_t> chosen = oracle.chosen_at(i);
      if (!chosen.empty()) n += chosen != launched.at(layer++);
    }
    return n;
  }
  std::vector<int32_t> lease(int32_t token, int position, int n) {
    fill({&token, 1}, position);
    LoopControl control{.lease = n};
    inputs_.control = &control;
    if (!executor_.can_lease(inputs_)) throw std::runtime_error("no lease: " + executor_.describe());
    std::vector<int32_t> drawn;
    const RunOutcome outcome = executor_.run_lease(inputs_, [&](std::span<const LeaseToken> tokens) {
      for (const LeaseToken& t : tokens) drawn.push_back(t.token);
    });
    if (outcome != RunOutcome::ok) throw std::runtime_error("the device failed");
    return drawn;
  }

 private:
  static LoadedWeights uploaded(LoadedWeights weights, const CudaDevice& device) {
    const PackWeight pack = gpu::uploader(device.device());
    for (size_t i = 0; i < weights.weights.size(); ++i) pack(static_cast<WeightId>(i), weights.weights[i]);
    return weights;
  }

  // The experts of each layer that has some.
  std::vector<std::set<int32_t>> launched_choices(std::span<const int32_t> token, int position) {
    fill(token, position);
    std::deque<std::vector<int32_t>> rows;
    executor_.set_observer([&](size_t i) {
      const auto* route = std::get_if<RouteArgs>(&plan_.stages[i].args);
      if (route == nullptr) return;
      rows.emplace_back(static_cast<size_t>(route->top_k));
      executor_.queue_read(plan_.stages[i].writes[0].buffer, 1, reinterpret_cast<std::byte*>(rows.back().data()));
    });
    run();
    executor_.set_observer(nullptr);
    std::vector<std::set<int32_t>> choices;
    for (const std::vector<int32_t>& row : rows) choices.emplace_back(row.begin(), row.end());
    return choices;
  }

  int32_t run() {
    std::vector<RowResult> results(1);
    if (executor_.run(inputs_, results) != RunOutcome::ok) throw std::runtime_error("the device failed");
    return results[0].token;
  }

  void fill(std::span<const int32_t> tokens, int position) {
    const auto n = static_cast<int32_t>(tokens.size());
    tokens_.assign(tokens.begin(), tokens.end());
    positions_.resize(tokens.size());
    std::iota(positions_.begin(), positions_.end(), position);
    q_start_ = {0, n};
    seq_len_ = position + n;
    row_ = n - 1;
    sampling_ = {.temperature = 0.0f, .position = static_cast<uint32_t>(seq_len_)};
    inputs_ = {.n_seqs = 1,
               .n_tokens = n,
               .n_rows = 1,
               .tokens = tokens_.data(),
               .positions = positions_.data(),
               .q_start = q_start_.data(),
               .seq_lens = &seq_len_};
    for (size_t g = 0; g < tables_.size(); ++g) {
      const std::vector<int32_t>& table = tables_[g];
      slots_[g].clear();
      for (const int32_t p : positions_)
        slots_[g].push_back(int64_t{table[static_cast<size_t>(p / kTileTokens)]} * kTileTokens + p % kTileTokens);
      inputs_.groups[g] = {
          .block_table = table.data(), .table_stride = static_cast<int32_t>(table.size()), .slots = slots_[g].data()};
    }
    inputs_.rows = &row_;
    inputs_.sampling = &sampling_;
  }

  Plan plan_;
  LoadedWeights host_;
  CudaExecutor executor_;
  std::vector<std::vector<int32_t>> tables_;  // by group of the cache
  std::vector<std::vector<int64_t>> slots_;
  std::vector<int32_t> tokens_, positions_, q_start_;
  int32_t seq_len_ = 0, row_ = 0;
  SamplingRow sampling_;
  StepInputs inputs_;
  std::vector<float> logits_;
};

// Error of the logits relative to their size.
double relative_error(const std::vector<float>& got, const std::vector<float>& expected) {
  double error = 0.0, size = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (!std::isfinite(got[i])) return INFINITY;
    error += std::pow(double{got[i]} - double{expected[i]}, 2);
    size += std::pow(double{expected[i]}, 2);
  }
  return std::sqrt(error / size);
}

class TapeChecks {
 public:
  TapeChecks(const TapeCase& c, const CudaDevice& device) : case_(c), model_(c, device) {
    std::mt19937 random(3);
    for (int i = 0; i <= c.max_position; ++i)
      text_.push_back(static_cast<int32_t>(random() % static_cast<unsigned>(model_.plan().vocab)));
  }

  void run(Report& report) {
    if (model_.executor().tape() == nullptr) {
      report.check(case_.name, [&] {
        Finding finding;
        finding.fail("no tape: " + model_.executor().describe());
        return finding;
      });
      return;
    }
    for (const int position : case_.positions)
      report.check(fmt::format("{}, every stage at position {}", case_.name, position),
                   [&] { return stages(position); });
    for (const int position : case_.positions)
      report.check(fmt::format("{}, logits from position {} on", case_.name, position),
                   [&] { return logits(position); });
    report.check(fmt::format("{}, same tokens in steps, graphs and leases", case_.name), [&] { return same_tokens(); });
  }

 private:
  void prefill(int n) {
    model_.executor().set_tape(false);
    for (int at = 0; at < n; at += kChunk)
      model_.step(std::span(text_).subspan(static_cast<size_t>(at), static_cast<size_t>(std::min(kChunk, n - at))), at);
  }

  Finding stages(int position) {
    prefill(position);
    Finding finding{.share = 0.0};
    for (const auto& [kind, share] : model_.check_stages(text_[static_cast<size_t>(position)], position)) {
      if (!(share <= 1.0)) finding.fail(fmt::format("{}: {:.3g}", kind, share));
      finding.share = std::max(*finding.share, share);
      finding.by_operation[kind] = share;
    }
    return finding;
  }

  // Both executors at the same token, one behind the other: the cache is the one that the grid appends to.
  Finding logits(int position) {
    prefill(position);
    Finding finding{.share = 0.0};
    int other_choice = 0, n_far = 0, n_exchanged = 0;
    for (int p = position; p < position + kSteps; ++p) {
      const std::span<const int32_t> token = std::span(text_).subspan(static_cast<size_t>(p), 1);
      model_.executor().set_tape(false);
      const int32_t expected_token = model_.step(token, p);
      const std::vector<float> expected = model_.logits();
      model_.executor().set_tape(true);
      other_choice += model_.step(token, p) != expected_token;
      const double error = relative_error(model_.logits(), expected);
      const double share =
          error / logits_bound(static_cast<int>(model_.plan().layer_ends.size()) - 1, case_.cache != "auto");
      const int exchanged = has_experts() ? model_.n_exchanged(token, p) : 0;
      n_exchanged += exchanged > 0;
      if (exchanged > 0 && error <= kOtherExpert) {
        n_far += share > 1.0;
        continue;
      }
      if (!(share <= 1.0))
        finding.fail(
            fmt::format("position {}: relative error {:.2e}, experts of {} layers differ", p, error, exchanged));
      finding.share = std::max(*finding.share, share);
    }
    if (has_experts())
      finding.details.push_back(
          fmt::format("other experts in {} of {} steps, {} of them beyond the bound", n_exchanged, kSteps, n_far));
    finding.details.push_back(fmt::format("{} of {} tokens chosen otherwise", other_choice, kSteps));
    return finding;
  }

  bool has_experts() const {
    return std::ranges::any_of(model_.plan().stages,
                               [](const Stage& stage) { return std::holds_alternative<RouteArgs>(stage.args); });
  }

  Finding same_tokens() {
    constexpr int kTokens = 40;
    const int start = case_.positions.back();
    Finding finding;
    const auto decode = [&](const std::string& what, const std::function<std::vector<int32_t>(int32_t)>& from) {
      prefill(start);
      model_.executor().set_tape(true);
      const std::vector<int32_t> got = from(text_[static_cast<size_t>(start)]);
      if (expected_.empty()) expected_ = got;
      if (got != expected_)
        finding.fail(
            fmt::format("{}: other from token {} on", what, std::ranges::mismatch(got, expected_).in1 - got.begin()));
    };
    const auto steps = [&](int32_t token) {
      std::vector<int32_t> drawn;
      for (int i = 0; i < kTokens; ++i) {
        drawn.push_back(model_.step_there({&token, 1}, start + i));
        token = drawn.back();
      }
      return drawn;
    };
    model_.executor().set_graphs(false);
    decode("steps", steps);
    model_.executor().set_graphs(true);
    decode("graphs", steps);
    decode("a lease", [&](int32_t token) { return model_.lease(token, start, kTokens); });
    return finding;
  }

  TapeCase case_;
  TapeModel model_;
  std::vector<int32_t> text_, expected_;
};

}  // namespace

void add_tape_suites(std::vector<Suite>& suites) {
  for (const TapeCase& c : cases()) {
    suites.push_back({"persistent/" + c.name, [c](Report& report, const Target& target) {
                        if (target.backend == nullptr) return report.skip("the grid", "no device");
                        TapeChecks(c, gpu::find()).run(report);
                      }});
  }
}

}  // namespace arc::test
