// The tape of the persistent executor is the plan: stage by stage what the five-stage recipe gives, on the same
// weights.
#include <cmath>
#include <map>
#include <set>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "exec/tape_lowering.h"
#include "kernels/ref/ref.h"
#include "models/arch.h"
#include "parity/golden.h"
#include "plan/cache_policy.h"
#include "plan/lower.h"
#include "weights/checkpoint_slots.h"

namespace arc::test {
namespace {

constexpr char kQwen3_32b[] = R"({"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "hidden_size": 5120,
 "intermediate_size": 25600, "num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8,
 "head_dim": 128, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6, "rope_theta": 1000000})";
constexpr char kQwen3Experts[] = R"({"architectures": ["Qwen3MoeForCausalLM"], "vocab_size": 151936,
 "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128,
 "num_experts_per_tok": 8, "norm_topk_prob": true, "num_hidden_layers": 48, "num_attention_heads": 32,
 "num_key_value_heads": 4, "head_dim": 128, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6,
 "rope_theta": 1000000})";
constexpr uint32_t kSms = 132;

// `cache`: a cache type, of raw rows in `raw`.
Plan lowered(const std::string& json, bool fused, const std::string& cache = "auto", DType raw = DType::bf16) {
  const Config config(parse_json(json, "config.json"));
  const Arch& arch = find_arch(config.architecture());
  const ModelSpec spec = arch.build(config);
  const std::vector<LayerCache> layers = resolve_cache(spec, parse_cache_type(cache), raw);
  return lower(spec, ShapeOnlySlots(arch.own_names, spec.tied_head, DType::bf16),
               {.kernels = &ref::kernels(),
                .policy = [&](int layer) { return layers[static_cast<size_t>(layer)].policy; },
                .fused = fused});
}

// Weights by number: their addresses are 16 times that, behind 2^20.
TapePlaces places_of(const Plan& plan) {
  TapePlaces places{.buffers = 1 << 12, .maps = 1 << 10, .weights = {}, .biases = {}, .logits = 64, .groups = {}};
  for (size_t g = 0; g < plan.groups.size(); ++g)
    places.groups.push_back({.cache = (g + 1) << 30, .layer_bytes = 1 << 20});
  for (size_t i = 0; i < plan.weights.size(); ++i) places.weights.push_back((1 << 20) + 16 * i);
  places.biases = places.weights;
  return places;
}

// What a weight is made of, whatever its number.
bool same_weight(const WeightSlot& a, const WeightSlot& b) {
  return a.name == b.name && a.parts == b.parts && a.values == b.values && a.out == b.out && a.in == b.in &&
         a.add == b.add && a.scale == b.scale;
}

class TapeIsPlan {
 public:
  explicit TapeIsPlan(const std::string& config, const std::string& cache = "auto")
      : general_(lowered(config, false, cache)),
        fused_(lowered(config, true, cache)),
        places_(places_of(general_)),
        tape_(lower_tape(general_, kSms, places_)) {
    for (const Stage& stage : fused_.stages) {
      if (!std::holds_alternative<GatherArgs>(stage.args)) stages_.push_back(&stage);
    }
  }

  void check() const {
    ASSERT_EQ(stages_.size(), tape_.stages.size());
    for (size_t i = 0; i < stages_.size(); ++i) {
      SCOPED_TRACE(fmt::format("stage {}, {}", i, op_name(stages_[i]->args)));
      const tape::TapeStage& record = tape_.stages[i];
      if (stages_[i]->layer > kNone) {
        EXPECT_EQ(record.layer, stages_[i]->layer);
      }
      EXPECT_EQ(record.cost.bytes_per_token, static_cast<uint64_t>(stages_[i]->cost.cache_bytes_per_token));
      if (std::holds_alternative<EmbedArgs>(stages_[i]->args)) check_embed(i);
      if (std::holds_alternative<FusedLinearArgs>(stages_[i]->args)) check_product(i);
      if (std::holds_alternative<FusedAttendArgs>(stages_[i]->args)) check_attend(i);
    }
  }
  const Tape& tape() const { return tape_; }

 private:
  const WeightSlot& at(uint64_t address) const { return general_.weights[(address - (1 << 20)) / 16]; }
  const WeightSlot& weight(size_t stage, int i) const { return fused_.weights[stages_[stage]->weights[i]]; }

  void check_embed(size_t i) const {
    EXPECT_EQ(tape_.stages[i].op, tape::Op::embed);
    EXPECT_EQ(tape_.stages[i].cost.weight_bytes, static_cast<uint64_t>(stages_[i]->cost.weight_bytes));
    EXPECT_TRUE(same_weight(at(tape_.stages[i].weights[tape::kMatrix].address), weight(i, 0)));
    check_next_norm(i);
  }

  // The norm that opens a product stands with the stage before it that writes the residual stream.
  void check_next_norm(size_t i) const {
    size_t next = i + 1;
    EXPECT_TRUE(same_weight(at(tape_.stages[i].weights[tape::kNextNorm].address), weight(next, 1)));
  }

  void check_product(size_t i) const {
    const auto& args = std::get<FusedLinearArgs>(stages_[i]->args);
    const tape::TapeStage& record = tape_.stages[i];
    const bool is_head = stages_[i]->layer == kNone;
    ASSERT_EQ(record.op, tape::Op::product);
    const tape::Epilogue epilogue = args.epilogue == Epilogue::add   ? tape::Epilogue::add_residual
                                    : args.epilogue == Epilogue::act ? tape::Epilogue::silu_mul
                                    : is_head                        ? tape::Epilogue::logits
                                                                     : tape::Epilogue::store;
    EXPECT_EQ(record.product.epilogue, epilogue);
    EXPECT_EQ(record.product.n_out, weight(i, 0).out);
    EXPECT_EQ(record.product.n_in, weight(i, 0).in);
    EXPECT_EQ(record.product.eps, args.norm.kind == NormKind::none ? 0.0f : args.norm.eps);
    EXPECT_EQ(record.cost.weight_bytes, static_cast<uint64_t>(weight_bytes(weight(i, 0))));
    const TapeMatrix& matrix = tape_.matrices[(record.weights[tape::kMatrix].address - places_.maps) / tape::kMapBytes];
    EXPECT_TRUE(same_weight(general_.weights[matrix.weight], weight(i, 0)));
    EXPECT_EQ(matrix.parts * matrix.rows, weight(i, 0).out);
    if (args.epilogue == Epilogue::add) check_next_norm(i);
    EXPECT_EQ(record.weights[tape::kBias].address != 0, !weight(i, 0).bias_parts.empty());
  }

  void check_attend(size_t i) const {
    const auto& args = std::get<FusedAttendArgs>(stages_[i]->args);
    const tape::TapeStage& record = tape_.stages[i];
    ASSERT_EQ(record.op, tape::Op::attend);
    EXPECT_EQ(record.attend.n_heads, args.attend.heads);
    EXPECT_EQ(record.attend.n_kv_heads, args.attend.kv_heads);
    EXPECT_NEAR(record.attend.scale_log2, args.attend.scale * std::log2(std::exp(1.0f)), 1e-6);
    EXPECT_EQ(record.attend.rope_factor, static_cast<float>(args.rope_factor));
    check_cache(record, args.attend);
    for (const int w : {tape::kQNorm, tape::kKNorm}) {
      EXPECT_EQ(record.weights[w].address != 0, stages_[i]->weights[w] != kNone);
      if (stages_[i]->weights[w] == kNone) continue;
      EXPECT_EQ(record.attend.eps, args.norm.eps);
      EXPECT_TRUE(same_weight(at(record.weights[w].address), weight(i, w)));
    }
    EXPECT_EQ(at(record.weights[tape::kRope].address).values, weight(i, 2).values);
  }

  // Rows are in the layer's own group, or, of packed caches, in the group of open tiles.
  void check_cache(const tape::TapeStage& record, const AttendArgs& args) const {
    const auto at = [&](int group, int layer) {
      return places_.groups[static_cast<size_t>(group)].cache +
             static_cast<uint64_t>(layer) * places_.groups[static_cast<size_t>(group)].layer_bytes;
    };
    const bool packed = args.open_group >= 0;
    EXPECT_EQ(record.attend.form == tape::CacheForm::packed, packed);
    EXPECT_EQ(record.attend.group, packed ? args.open_group : args.group);
    EXPECT_EQ(record.cache.address, packed ? at(args.open_group, args.open_layer) : at(args.group, args.layer));
    if (!packed) return;
    EXPECT_EQ(record.attend.packed_group, args.group);
    EXPECT_EQ(record.packed.address, at(args.group, args.layer));
    EXPECT_EQ(tape_.codec_groups.at(record.attend.codec), args.group);
    EXPECT_EQ(record.attend.n_recent, general_.groups[static_cast<size_t>(args.group)].policy.recent);
  }

  Plan general_, fused_;
  TapePlaces places_;
  Tape tape_;
  std::vector<const Stage*> stages_;
};

TEST(TapeTest, IsThePlan) {
  TapeIsPlan(kQwen3_32b).check();
  for (const auto& [key, value] : std::map<std::string, Json>{{"architectures", {"Qwen2ForCausalLM"}},
                                                              {"tie_word_embeddings", true},
                                                              {"hidden_size", 328},
                                                              {"num_key_value_heads", 64}}) {
    SCOPED_TRACE(key);
    Json config = parse_json(kQwen3_32b, "config.json");
    config[key] = value;
    TapeIsPlan(config.dump()).check();
  }
}

// Every tiny model is the plan, or it is said what has no device function.
TEST(TapeTest, TinyModelsAreThePlanOrSayWhyNot) {
  for (const std::string& name : generating_names()) {
    SCOPED_TRACE(name);
    const std::string config = read_golden(name).config_json;
    const Plan plan = lowered(config, false);
    try {
      lower_tape(plan, kSms, {});
      TapeIsPlan(config).check();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported);
      EXPECT_TRUE(std::string(error.what()).starts_with("no device function for")) << error.what();
    }
  }
}

// Every cache is the plan's, or it is said what has no device function.
TEST(TapeTest, CachesAreThePlanOrSayWhyNot) {
  for (const std::string cache : {"turboquant", "turboquant-3", "turboquant-aggressive", "turboquant,boundary=0,k=8",
                                  "turboquant,recent=0", "turboquant,v=1", "q8"}) {
    SCOPED_TRACE(cache);
    TapeIsPlan(kQwen3_32b, cache).check();
  }
  const auto why = [](const std::string& cache, DType raw = DType::bf16) {
    try {
      lower_tape(lowered(kQwen3_32b, false, cache, raw), kSms, {});
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(why("turboquant-t3"), "no device function for a cache coded by a trellis");
  EXPECT_EQ(why("turboquant,open=16"), "no device function for a packed cache whose open tiles are not of int8");
  EXPECT_EQ(why("turboquant,k=8,v=8"), "no device function for tiles of the cache as large as these");
  EXPECT_EQ(why("f8e4m3"), "no device function for this cache type");
  EXPECT_EQ(why("auto", DType::f32), "no device function for this cache type");
}

// The stages of experts, beside what the plan says of them.
TEST(TapeTest, ExpertsAreThePlan) {
  const Plan plan = lowered(kQwen3Experts, false);
  const TapePlaces places = places_of(plan);
  const Tape tape = lower_tape(plan, kSms, places);
  ASSERT_EQ(tape.stages.size(), 48 * 6 + 2u);
  const auto weight = [&](const tape::TapeStage& stage) -> const TapeMatrix& {
    return tape.matrices[(stage.weights[tape::kMatrix].address - places.maps) / tape::kMapBytes];
  };
  for (size_t layer = 0; layer < 48; ++layer) {
    const tape::TapeStage* stages = &tape.stages[1 + 6 * layer + 3];
    const std::string prefix = fmt::format("layers.{}.moe.", layer);
    EXPECT_EQ(plan.weights[weight(stages[0]).weight].name, prefix + "router");
    EXPECT_EQ(plan.weights[weight(stages[1]).weight].name, prefix + "gate_up");
    EXPECT_EQ(plan.weights[weight(stages[2]).weight].name, prefix + "down");
    EXPECT_EQ(stages[0].product.epilogue, tape::Epilogue::scores);
    EXPECT_EQ(stages[0].product.n_out, 128u);
    EXPECT_EQ(stages[1].reads[tape::kScores].address, stages[0].writes[tape::kVector].address);
    EXPECT_EQ(stages[1].product.n_out, 8 * 2 * 768u);
    EXPECT_EQ(stages[2].product.n_in, 8 * 768u);
    for (const tape::TapeStage* stage : {&stages[1], &stages[2]}) {
      EXPECT_EQ(stage->experts.top_k, 8u);
      EXPECT_EQ(stage->experts.n_experts, 128u);
      EXPECT_EQ(stage->experts.hidden, 768u);
      EXPECT_TRUE(stage->experts.over_chosen);
      EXPECT_EQ(weight(*stage).count, 128u);
      EXPECT_EQ(stage->cost.weight_bytes, 8u * stage->product.n_out * stage->product.n_in * 2 / 8);
    }
  }
}

TEST(TapeTest, ExpertsWithoutDeviceFunctionsAreRefused) {
  for (const auto& [key, value] :
       std::map<std::string, Json>{{"num_experts", 257}, {"num_experts_per_tok", 17}, {"mlp_only_layers", {3}}}) {
    SCOPED_TRACE(key);
    Json config = parse_json(kQwen3Experts, "config.json");
    config[key] = value;
    EXPECT_THROW(lower_tape(lowered(config.dump(), false), kSms, {}), Error);
  }
}

class TapeOf : public testing::TestWithParam<const char*> {};

// A reader names the version that was written last; each write is the next one, and as many as the buffer says.
TEST_P(TapeOf, VersionsFollowEachOther) {
  const Plan plan = lowered(GetParam(), false);
  std::map<uint64_t, uint32_t> written, per_step;
  for (const tape::TapeStage& stage : lower_tape(plan, kSms, places_of(plan)).stages) {
    for (const tape::BufferRef& ref : stage.reads) {
      if (ref.per_step > 0) {
        EXPECT_EQ(ref.version, written[ref.address]);
      }
    }
    for (const tape::BufferRef& ref : stage.writes) {
      if (ref.per_step == 0) continue;
      EXPECT_EQ(ref.version, ++written[ref.address]);
      per_step[ref.address] = ref.per_step;
    }
  }
  EXPECT_EQ(written, per_step);
}

TEST_P(TapeOf, EveryGroupIsDealtOnceAndEverySmHasWork) {
  for (const uint32_t n_sms : {132u, 114u, 78u}) {
    const Plan plan = lowered(GetParam(), false);
    const Tape tape = lower_tape(plan, n_sms, {});
    ASSERT_EQ(tape.n_sms, n_sms);
    std::map<uint32_t, uint64_t> tiles;  // of a layer, by SM
    for (const tape::TapeStage& stage : tape.stages) {
      if (stage.op == tape::Op::attend) continue;
      std::set<uint32_t> groups;
      size_t n = 0;
      for (uint32_t sm = 0; sm < n_sms; ++sm) {
        const tape::DealShare& share = tape.deals[stage.product.deal * n_sms + sm];
        for (uint32_t i = 0; i < share.n_rounds; ++i) groups.insert(i * n_sms + sm);
        for (uint32_t i = 0; i < share.n_tail; ++i) groups.insert(share.first_tail + i);
        n += share.n_rounds + share.n_tail;
        const bool in_columns = stage.experts.top_k > 0 && stage.product.epilogue == tape::Epilogue::add_residual;
        const auto columns =
            in_columns ? stage.experts.top_k : (stage.product.n_in + stage.product.columns - 1) / stage.product.columns;
        if (stage.layer == 0) tiles[sm] += (share.n_rounds + share.n_tail) * columns;
        if (stage.product.epilogue != tape::Epilogue::scores) {
          EXPECT_GT(share.n_rounds + share.n_tail, 0u);
        }
      }
      EXPECT_EQ(n, stage.product.n_groups);
      EXPECT_EQ(groups.size(), n);
      EXPECT_EQ(*groups.rbegin(), n - 1);
    }
    uint64_t least = UINT64_MAX, most = 0;
    for (const auto& [sm, count] : tiles) least = std::min(least, count), most = std::max(most, count);
    EXPECT_LE(most - least, 5u) << n_sms;  // a group of gate and up has five tiles, one of experts two
  }
}

INSTANTIATE_TEST_SUITE_P(Models, TapeOf, testing::Values(kQwen3_32b, kQwen3Experts));

}  // namespace
}  // namespace arc::test
