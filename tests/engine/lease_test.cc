// Leases as the engine sees them, on an executor that makes their steps one by one: what comes out is what single steps
// give, and commands and stops end a lease.
#include <algorithm>
#include <future>
#include <random>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "engine/client.h"
#include "engine/engine_impl.h"
#include "engine/tiny_folder.h"

namespace arc::test {
namespace {

// Makes the inputs of a lease's next steps as a device would. The attention word ends it, as does a row that stops.
class HostLeases : public Executor {
 public:
  HostLeases(std::unique_ptr<Executor> steps, CacheGeometry geometry)
      : steps_(std::move(steps)), geometry_(std::move(geometry)) {}

  void allocate_cache(const CacheCapacity& capacity) override { steps_->allocate_cache(capacity); }
  void swap_out(std::span<const StepCopy> copies) noexcept override { steps_->swap_out(copies); }
  void swap_in(std::span<const StepCopy> copies) noexcept override { steps_->swap_in(copies); }
  RunOutcome run(const StepInputs& inputs, std::span<RowResult> results) noexcept override {
    return steps_->run(inputs, results);
  }
  std::string describe() const override { return "leases on the host"; }

  int32_t max_lease() const noexcept override { return 24; }
  bool can_lease(const StepInputs& inputs) noexcept override {
    return std::all_of(inputs.sampling, inputs.sampling + inputs.n_rows,
                       [](const SamplingRow& row) { return row.n_logprobs <= 0; });
  }
  RunOutcome run_lease(const StepInputs& inputs, const LeaseSink& sink) noexcept override {
    const LoopControl& control = *inputs.control;
    const auto n = static_cast<size_t>(inputs.n_rows);
    take(inputs);
    bool goes_on = true;
    for (int32_t step = 0; goes_on && step < control.lease && (step == 0 || *control.attention == 0); ++step) {
      std::vector<RowResult> results(n);
      if (steps_->run(next_, results) != RunOutcome::ok) return RunOutcome::device_fault;
      std::vector<LeaseToken> tokens;
      for (size_t r = 0; r < n; ++r) {
        const RowResult& row = results[r];
        const auto* stops = control.stop_ids + r * static_cast<size_t>(control.n_stop_ids);
        const bool last = row.outcome != SampleOutcome::ok || step + 1 >= control.tokens_left[r] ||
                          std::find(stops, stops + control.n_stop_ids, row.token) != stops + control.n_stop_ids;
        tokens.push_back({static_cast<int32_t>(r), row.token, row.logprob, row.outcome, last});
        goes_on = goes_on && !last;
      }
      sink(tokens);
      move_on(results);
    }
    return RunOutcome::ok;
  }

 private:
  void take(const StepInputs& inputs) {
    const auto n = static_cast<size_t>(inputs.n_rows);
    next_ = inputs;
    next_.tokens = (tokens_ = {inputs.tokens, inputs.tokens + n}).data();
    next_.positions = (positions_ = {inputs.positions, inputs.positions + n}).data();
    next_.seq_lens = (seq_lens_ = {inputs.seq_lens, inputs.seq_lens + n}).data();
    next_.sampling = (sampling_ = {inputs.sampling, inputs.sampling + n}).data();
    for (size_t g = 0; g < geometry_.groups.size(); ++g) {
      GroupInputs& group = next_.groups[g];
      if (is_state(g)) {
        group.state_read = (reads_[g] = {group.state_read, group.state_read + n}).data();
      } else {
        group.slots = (slots_[g] = {group.slots, group.slots + n}).data();
      }
    }
  }
  void move_on(const std::vector<RowResult>& results) {
    next_.n_copies = 0;
    for (size_t r = 0; r < results.size(); ++r) {
      tokens_[r] = results[r].token;
      const int64_t p = ++positions_[r];
      ++seq_lens_[r];
      ++sampling_[r].position;
      for (size_t g = 0; g < geometry_.groups.size(); ++g) {
        const GroupInputs& group = next_.groups[g];
        const int64_t size = geometry_.groups[g].tokens_per_block;
        if (is_state(g)) {
          reads_[g][r] = group.state_write[r];
        } else {
          slots_[g][r] = group.block_table[static_cast<int64_t>(r) * group.table_stride + p / size] * size + p % size;
        }
      }
    }
  }
  bool is_state(size_t group) const { return geometry_.groups[group].kind == CacheGroup::Kind::state; }

  std::unique_ptr<Executor> steps_;
  CacheGeometry geometry_;
  StepInputs next_;
  std::vector<int32_t> tokens_, positions_, seq_lens_;
  std::vector<SamplingRow> sampling_;
  std::vector<int64_t> slots_[kMaxCacheGroups];
  std::vector<int32_t> reads_[kMaxCacheGroups];
};

class Leases : public testing::TestWithParam<const char*> {
 protected:
  Leases() : golden_(read_golden(GetParam())), folder_("arc_leases") {
    const int vocab = nlohmann::json::parse(golden_.config_json).at("vocab_size").get<int>();
    write_model_folder(golden_, vocab, folder_.path());
  }
  std::unique_ptr<Engine> engine(int64_t kv_bytes = 64 << 20) const {
    const EngineConfig config{.model = folder_.path(),
                              .dtype = "f32",
                              .max_seqs = 8,
                              .max_seq_len = 192,
                              .kv_memory_bytes = kv_bytes,
                              .executor = "cpu",
                              .threads = 1};
    LoadedModel model = load_model(config, {});
    model.executor = std::make_unique<HostLeases>(std::move(model.executor), model.cache.geometry);
    return std::make_unique<EngineImpl>(std::move(model), config);
  }
  // With `steps` no lease can be made.
  std::vector<Answer> ask(Engine& engine, SamplingParams sampling, bool steps) const {
    std::mt19937 random(7);
    Client client(engine);
    for (int i = 0; i < 5; ++i) {
      std::vector<int32_t> prompt(static_cast<size_t>(20 + 11 * i));
      for (int32_t& t : prompt) t = static_cast<int32_t>(random() % 100);
      sampling.seed = 100 + i;
      sampling.logprobs = steps;
      sampling.top_logprobs = steps ? 2 : 0;
      client.send({.prompt = TokenPrompt{prompt}, .sampling = sampling});
    }
    return client.wait();
  }
  void expect_same(const SamplingParams& sampling) const {
    const auto engine = this->engine();
    const std::vector<Answer> steps = ask(*engine, sampling, true);
    EXPECT_EQ(engine->stats().lease_steps_total, 0);
    const std::vector<Answer> leased = ask(*engine, sampling, false);
    EXPECT_GT(engine->stats().lease_steps_total, 0);
    for (size_t i = 0; i < steps.size(); ++i) {
      EXPECT_EQ(leased[i].tokens, steps[i].tokens) << i;
      EXPECT_EQ(leased[i].text, steps[i].text) << i;
      EXPECT_EQ(leased[i].finish, steps[i].finish) << i;
      EXPECT_EQ(leased[i].usage.completion_tokens, steps[i].usage.completion_tokens) << i;
    }
  }

  Golden golden_;
  TemporaryFolder folder_;
};

TEST_P(Leases, ToTheLength) {
  expect_same({.temperature = 0.8f, .repetition_penalty = 1.1f, .max_tokens = 70, .ignore_eos = true});
}

TEST_P(Leases, ToAStopId) {
  const SamplingParams whole{.temperature = 0.8f, .max_tokens = 70, .ignore_eos = true};
  const std::vector<Answer> answers = ask(*engine(), whole, true);
  SamplingParams cut = whole;
  for (const Answer& a : answers) cut.stop_token_ids.push_back(a.tokens[30]);
  expect_same(cut);
  cut.min_tokens = 40;
  expect_same(cut);
}

TEST_P(Leases, ToAStopString) {
  SamplingParams sampling{.temperature = 0.8f, .max_tokens = 70, .ignore_eos = true};
  for (const Answer& a : ask(*engine(), sampling, true)) sampling.stop.push_back(a.text.substr(a.text.size() / 2, 6));
  sampling.stop.resize(4);
  expect_same(sampling);
}

TEST_P(Leases, ACancelledRequestEndsAndOthersGoOn) {
  const auto engine = this->engine();
  const SamplingParams sampling{.temperature = 0.8f, .max_tokens = 100, .ignore_eos = true};
  const std::vector<Answer> alone = ask(*engine, sampling, true);
  // On a busy machine the answer may be whole before its third token is delivered: then once more.
  FinishReason reason = FinishReason::length;
  for (int tries = 0; tries < 100 && reason != FinishReason::cancelled; ++tries) {
    const auto finish = std::make_shared<std::promise<FinishReason>>();
    engine->submit({.prompt = TokenPrompt{{5, 6, 7}}, .sampling = sampling},
                   [&, finish, n = size_t{0}](const Event& e) mutable {
                     n += e.tokens.size();
                     if (n == 3) engine->cancel(e.id);
                     if (e.finish) finish->set_value(*e.finish);
                   });
    const std::vector<Answer> beside = ask(*engine, sampling, false);
    reason = finish->get_future().get();
    for (size_t i = 0; i < alone.size(); ++i) EXPECT_EQ(beside[i].tokens, alone[i].tokens) << i;
  }
  EXPECT_EQ(reason, FinishReason::cancelled);
}

INSTANTIATE_TEST_SUITE_P(Models, Leases, testing::Values("qwen3", "gemma3", "qwen3_next", "deepseek_v3", "phi3_long"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace arc::test
