// libFuzzer target of block tables: an input is a cache type and a list of events (requests, steps, preemptions, forks,
// cancellations, plans that break off). Scheduler, cache and CPU executor carry them out in a cache of few blocks,
// dealt out in an order that the input chooses. Whatever blocks a sequence had, shared, found again, swapped or
// computed anew, each of its rows must have the bits that it has alone, and under ASan no byte of a block that nobody
// holds is touched.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <sanitizer/asan_interface.h>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/check.h"
#include "base/error.h"
#include "engine/cache_sizing.h"
#include "engine/step_batch.h"
#include "exec/cpu_executor.h"
#include "plan/cache_policy.h"
#include "sched/scheduler.h"
#include "weights/checkpoint_slots.h"

namespace arc {
namespace {

constexpr int32_t kVocab = 32, kLongest = 352, kMaxStep = 256, kMaxSeqs = 6;
// Of an input, so that it takes a second or two under sanitizers.
constexpr int32_t kMaxEvents = 40, kMaxTokens = 1200, kMaxRows = 1500;

const std::vector<std::string> kTypes = {"turboquant",
                                         "turboquant-3",
                                         "turboquant-aggressive",
                                         "turboquant-t3",
                                         "turboquant-t4",
                                         "turboquant,code=trellis,recent=2",
                                         "turboquant,boundary=0,recent=0,open=16",
                                         "turboquant-t3,boundary=0,recent=0",
                                         "q8",
                                         "f8e4m3",
                                         "auto"};

// Every kind of group that keys and values have: all of the past, a window with tiles, one without, open tiles.
ModelSpec small_model() {
  const NormSpec norm{.kind = NormSpec::Kind::rms};
  const auto layer = [&](int window) {
    return LayerSpec{
        .mixer =
            AttentionSpec{
                .heads = 2, .kv_heads = 1, .head_dim = 64, .rope = {.dims = 64}, .qk_norm = norm, .window = window},
        .ffn = MlpSpec{.hidden = 32},
        .pre = norm,
        .ffn_pre = norm};
  };
  return {.arch = "fuzz",
          .vocab = kVocab,
          .dim = 32,
          .max_positions = kLongest,
          .layers = {layer(0), layer(kMinTiledWindow), layer(40), layer(0)},
          .final_norm = norm};
}

LoadedWeights random_weights(const Plan& plan) {
  LoadedWeights loaded;
  const PackWeight pack = CpuExecutor::packer(plan);
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (const WeightSlot& slot : plan.weights) {
    const bool constant = slot.role == WeightSlot::Role::constant, matrix = slot.role == WeightSlot::Role::matrix;
    Linear linear{.format = slot.format, .count = slot.count, .out = slot.out, .in = slot.in};
    linear.data = Tensor::zeros({std::max<int64_t>(slot.out, 1), slot.in}, constant ? DType::f64 : DType::f32);
    if (constant) std::ranges::copy(slot.values, linear.data.as<double>());
    const float spread = matrix ? 1.5f / std::sqrt(static_cast<float>(slot.in)) : 0.2f;
    for (int64_t i = 0; !constant && i < linear.data.numel(); ++i) {
      linear.data.as<float>()[i] = (matrix ? 0.0f : 1.0f) + spread * normal(random);
    }
    pack(static_cast<WeightId>(loaded.weights.size()), linear);
    loaded.weights.push_back(std::move(linear));
  }
  return loaded;
}

struct Model {
  explicit Model(const std::string& type) {
    const ModelSpec spec = small_model();
    const std::vector<LayerCache> layers = resolve_cache(spec, parse_cache_type(type), DType::bf16);
    plan = lower(spec, ShapeOnlySlots({}, false, DType::f32),
                 {.kernels = &cpu::kernels(cpu::choose_isa()),
                  .policy = [&](int l) { return layers[static_cast<size_t>(l)].policy; }});
    weights = random_weights(plan);
  }
  Plan plan;
  LoadedWeights weights;
  std::vector<std::pair<std::vector<int32_t>, std::vector<float>>>
      alone;  // tokens, and their rows of the residual stream
};

// What an input's bytes say, zeros behind their end.
class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : left_(data, size) {}
  bool empty() const { return left_.empty(); }
  int32_t next() {
    if (left_.empty()) return 0;
    const uint8_t byte = left_.front();
    left_ = left_.subspan(1);
    return byte;
  }
  int32_t below(int32_t n) { return next() % n; }

 private:
  std::span<const uint8_t> left_;
};

// The token behind a prefix; equal prefixes of equal choices go on alike, so that answers are found again as prompts.
int32_t token_after(int32_t last, int32_t position, int32_t choice) {
  return (7 * last + 3 * position + 11 * choice + position / 5) % kVocab;
}

class Traffic {
 public:
  Traffic(Model& model, const CachePlan& sizes, bool prefix_cache)
      : model_(model),
        cache_(sizes.geometry, {.prefix_cache = prefix_cache, .hash_seed = 1}),
        scheduler_(cache_),
        batch_(cache_.geometry(), kLongest, kMaxSeqs, kLongest),
        executor_(model.plan, model.weights,
                  {.tokens = kLongest, .rows = kLongest, .seqs = kMaxSeqs, .positions = kLongest},
                  {.isa = cpu::choose_isa(), .threads = 1}),
        results_(kLongest) {
    executor_.allocate_cache(sizes.capacity);
  }
  Traffic(const Traffic&) = delete;
  Traffic& operator=(const Traffic&) = delete;
  ~Traffic() {
    each_block([](int, int32_t, const std::byte* data, size_t size) { ASAN_UNPOISON_MEMORY_REGION(data, size); });
  }

  // Takes all blocks and gives them back in another order.
  void shuffle(uint32_t seed) {
    std::mt19937 random(seed);
    for (int g = 0; g < cache_.n_groups(); ++g) {
      std::vector<int32_t> blocks;
      for (int32_t b = 0; (b = cache_.take(g)) != kNoBlock;) blocks.push_back(b);
      std::ranges::shuffle(blocks, random);
      for (const int32_t b : blocks) cache_.release(g, b);
    }
  }

  // False: such a request could never fit.
  bool add(std::vector<int32_t> prompt, SequenceRequest request) {
    request.request = ++n_requests_;
    request.prompt.emplace_back(TokenSegment{std::move(prompt)});
    try {
      scheduler_.add(request);
    } catch (const Error&) {
      return false;
    }
    return true;
  }

  void event(Bytes& bytes) {
    switch (bytes.below(8)) {
      case 0:
        return arrive(bytes);
      case 1:
        return scheduler_.preempt(some_sequence(bytes));
      case 2:
        if (n_tokens_ + kLongest > kMaxTokens) return;
        n_tokens_ += scheduler_.fork(some_sequence(bytes), 1 + bytes.below(3)) ? kLongest / 2 : 0;
        return;
      case 3:
        return scheduler_.finish(some_sequence(bytes));
      case 4:
        return break_off(bytes);
      default:
        for (int32_t n = bytes.below(16) + 1, tokens = bytes.next() + 1; n > 0; --n) step(tokens);
    }
  }

  // Whether there was something to do.
  bool step(int32_t max_tokens) {
    const StepPlan& plan = scheduler_.plan_step({.max_batched_tokens = max_tokens, .max_seqs = kMaxSeqs});
    if (plan.empty()) return false;
    carry_out(plan);
    note_rows(plan);
    std::vector<int32_t> tokens(plan.sequences.size());
    StepResult result;
    for (size_t i = 0; i < plan.sequences.size(); ++i) {
      const PlannedSequence& planned = plan.sequences[i];
      const Sequence& s = *planned.sequence;
      const bool grows = planned.first_position + planned.n_tokens == s.n_tokens() && s.max_len > s.n_prompt;
      tokens[i] = token_after(s.tokens.back(), s.n_tokens(), s.choice);
      result.sequences.push_back({.tokens = std::span(&tokens[i], grows ? 1 : 0)});
    }
    ARC_CHECK(scheduler_.commit(result) == StepOutcome::committed);
    check_invariants();
    return true;
  }

  void finish() {
    for (int i = 0; scheduler_.n_running() + scheduler_.n_pending() > 0; ++i) {
      ARC_CHECK(i < 5000) << "the traffic does not end";
      step(kMaxStep);
    }
    for (int g = 0; g < cache_.n_groups(); ++g) {
      ARC_CHECK(cache_.n_available(g) == cache_.pool(g).size() - 1) << "group " << g << " lost blocks";
    }
  }

  // Every row that was computed, by sequence.
  struct Seen {
    std::vector<int32_t> tokens;
    std::map<int32_t, std::vector<float>> rows;  // by position
  };
  const std::map<SeqId, Seen>& seen() const { return seen_; }
  int32_t n_rows() const { return n_rows_; }

 private:
  void arrive(Bytes& bytes) {
    const int32_t family = bytes.below(2), length = 1 + bytes.next() + bytes.below(64), settings = bytes.next();
    const int32_t parts_at = settings & 8 ? bytes.next() : kLongest;  // there the prompt leaves its family
    std::vector<int32_t> prompt = {family};
    while (static_cast<int32_t>(prompt.size()) < length) {
      const auto position = static_cast<int32_t>(prompt.size());
      prompt.push_back(token_after(prompt.back(), position, position == parts_at ? 5 : 0));
    }
    const int32_t n_new = std::min(bytes.next() % 100, kLongest - length), n = settings % 4 == 3 ? 2 : 1;
    if (n_tokens_ + n * (length + n_new) > kMaxTokens) return;
    n_tokens_ += n * (length + n_new);
    add(std::move(prompt), {.max_new_tokens = n_new,
                            .n = n,
                            .cache_salt = (settings & 48) == 48 ? "salt" : "",
                            .all_rows = (settings & 192) == 192});
  }

  SeqId some_sequence(Bytes& bytes) {
    if (seen_.empty()) return 0;
    return std::next(seen_.begin(), bytes.below(static_cast<int32_t>(seen_.size())))->first;
  }

  // A plan that is given up, before it runs or behind it.
  void break_off(Bytes& bytes) {
    const StepPlan& plan = scheduler_.plan_step({.max_batched_tokens = bytes.next() + 1, .max_seqs = kMaxSeqs});
    if (plan.empty()) return;
    const bool ran = bytes.below(2) != 0;
    if (ran) carry_out(plan);
    scheduler_.abort(ran ? StepRan::maybe : StepRan::no);
    check_invariants();
  }

  void carry_out(const StepPlan& plan) {
    guard();
    executor_.swap_out(StepBatch::to_step_copies(plan.swap_outs));
    executor_.swap_in(StepBatch::to_step_copies(plan.swap_ins));
    const StepInputs& inputs = batch_.fill(plan, [](size_t) { return RowSettings{.row = {.temperature = 0.0f}}; });
    ARC_CHECK(executor_.run(inputs, std::span(results_).first(static_cast<size_t>(inputs.n_rows))) == RunOutcome::ok);
  }

  // Calls visit(group, block, first byte, bytes) for each layer's part of each block.
  template <typename Visit>
  void each_block(const Visit& visit) {
    const auto all_of = [&](int group, const KvView& kv) {
      for (int32_t b = 0; b < cache_.pool(group).size(); ++b) {
        visit(group, b, kv.data + b * kv.block_bytes, static_cast<size_t>(kv.block_bytes));
      }
    };
    for (size_t i = 0; i < model_.plan.stages.size(); ++i) {
      const auto* attend = std::get_if<AttendArgs>(&model_.plan.stages[i].args);
      if (attend == nullptr) continue;
      all_of(attend->group, executor_.stage(i).kv);
      if (attend->open_group >= 0) all_of(attend->open_group, executor_.stage(i).open);
    }
  }

  // What nobody holds and nobody can find is out of bounds, the dummy block among it.
  void guard() {
    each_block([&](int group, int32_t block, const std::byte* data, size_t size) {
      const bool held =
          block != kDummyBlock && (cache_.pool(group).references(block) > 0 || cache_.published(group, block));
      if (held) {
        ASAN_UNPOISON_MEMORY_REGION(data, size);
      } else {
        ASAN_POISON_MEMORY_REGION(data, size);
      }
    });
  }

  void note_rows(const StepPlan& plan) {
    const TensorView rows = executor_.buffer(model_.plan.residual);
    int64_t row = 0;
    for (const PlannedSequence& planned : plan.sequences) {
      Seen& seen = seen_[planned.sequence->id];
      seen.tokens = planned.sequence->tokens;
      n_rows_ += planned.n_tokens;
      for (int32_t p = planned.first_position; p < planned.first_position + planned.n_tokens; ++p, ++row) {
        const float* values = rows.row<float>(row);
        std::vector<float>& before = seen.rows[p];
        ARC_CHECK(before.empty() || std::memcmp(before.data(), values, before.size() * sizeof(float)) == 0)
            << "position " << p << " has other bits when it is computed anew";
        before.assign(values, values + rows.cols);
      }
    }
  }

  void check_invariants() {
    scheduler_.snapshot(snapshot_);
    const std::vector<std::string> broken = validate(snapshot_);
    ARC_CHECK(broken.empty()) << broken[0];
    scheduler_.take_finished();
  }

  Model& model_;
  KvCache cache_;
  Scheduler scheduler_;
  StepBatch batch_;
  CpuExecutor executor_;
  std::vector<RowResult> results_;
  std::map<SeqId, Seen> seen_;
  Snapshot snapshot_;
  uint64_t n_requests_ = 0;
  int32_t n_tokens_ = 0, n_rows_ = 0;  // asked for; computed
};

CachePlan sizes_for(const Plan& plan, int64_t memory_bytes, int64_t swap_bytes) {
  return size_cache(plan.groups, {.memory_bytes = memory_bytes,
                                  .swap_bytes = swap_bytes,
                                  .max_seqs = kMaxSeqs,
                                  .max_seq_len = kLongest,
                                  .max_batched_tokens = kMaxStep});
}

// Rows of the tokens as one prompt, in one step of a cache of their own: what all others are compared with.
const std::vector<float>& alone(Model& model, const std::vector<int32_t>& tokens) {
  const auto begins_so = [&](const auto& known) {
    return known.first.size() >= tokens.size() && std::equal(tokens.begin(), tokens.end(), known.first.begin());
  };
  const auto found = std::ranges::find_if(model.alone, begins_so);
  if (found != model.alone.end()) return found->second;
  if (model.alone.size() > 200) model.alone.clear();
  Traffic traffic(model, sizes_for(model.plan, 64 << 20, 1), false);
  ARC_CHECK(traffic.add(tokens, {.max_new_tokens = 0}) && traffic.step(kLongest));
  std::vector<float>& rows = model.alone.emplace_back(tokens, std::vector<float>()).second;
  for (const auto& [position, row] : traffic.seen().begin()->second.rows)
    rows.insert(rows.end(), row.begin(), row.end());
  return rows;
}

void compare(Model& model, const Traffic& traffic) {
  for (const auto& [id, seen] : traffic.seen()) {
    const std::vector<float>& expected = alone(model, seen.tokens);
    for (const auto& [position, row] : seen.rows) {
      ARC_CHECK(std::memcmp(row.data(), &expected[static_cast<size_t>(position) * row.size()],
                            row.size() * sizeof(float)) == 0)
          << "sequence " << id << " differs from itself alone at position " << position;
    }
  }
}

}  // namespace
}  // namespace arc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace arc;
  static std::map<std::string, Model> models;
  Bytes bytes(data, size);
  const std::string& type = kTypes[static_cast<size_t>(bytes.below(static_cast<int32_t>(kTypes.size())))];
  Model& model = models.try_emplace(type, type).first->second;
  int64_t block_bytes = 0;
  for (const CacheNeeds& group : model.plan.groups) block_bytes += group.bytes_per_block();
  const int32_t settings = bytes.next();
  std::optional<CachePlan> sizes;
  try {
    sizes = sizes_for(model.plan, block_bytes * (6 + settings % 32), settings & 64 ? 1 : block_bytes * 16);
  } catch (const Error&) {  // not one tile fits
    return 0;
  }
  Traffic traffic(model, *sizes, (settings & 128) == 0);
  traffic.shuffle(static_cast<uint32_t>(bytes.next()));
  for (int i = 0; i < kMaxEvents && !bytes.empty() && traffic.n_rows() < kMaxRows; ++i) traffic.event(bytes);
  traffic.finish();
  compare(model, traffic);
  return 0;
}
