// Random traffic through the scheduler, the cache and a fake executor: after every plan and every commit all invariants
// hold, every read finds exactly the right prefix, every answer is what it is alone, and the oldest answer advances.
//
// ARC_PROPERTY_RUNS (default 200) runs of 1,000 steps, starting with seed ARC_PROPERTY_FIRST (default 1).
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

#include "gtest/gtest.h"

#include "base/error.h"
#include "sched/fake_executor.h"
#include "sched/scheduler.h"

namespace arc {
namespace {

using Kind = CacheGroup::Kind;

struct Totals {
  int64_t n_steps = 0, n_tokens = 0, n_swapped = 0, n_recomputed = 0, n_cached = 0, n_aborted = 0, n_copies = 0;
  int64_t n_drafts_kept = 0, n_leased = 0, n_states_kept = 0, n_cancelled = 0, n_answers = 0, n_refused = 0,
          n_forks = 0;
};

class Traffic {
 public:
  Traffic(uint64_t seed, Totals& totals) : random_{seed}, totals_(totals) {
    tile_ = random_.between(1, 6);
    max_len_ = random_.between(4, 90);
    whole_ = random_.chance(0.1);
    const CacheGeometry geometry = random_geometry();
    cache_ =
        std::make_unique<KvCache>(geometry, KvCacheOptions{.prefix_cache = random_.chance(0.85), .hash_seed = seed});
    scheduler_ = std::make_unique<Scheduler>(*cache_);
    executor_ = std::make_unique<FakeExecutor>(geometry);
    limits_ = {.max_batched_tokens = random_.between(1, 40), .max_seqs = random_.between(1, 8)};
    if (whole_) limits_.max_batched_tokens = max_len_ + random_.between(0, 40);
    const bool eventful = random_.chance(0.7);
    p_abort_ = eventful ? 0.03 : 0;
    p_preempt_ = eventful ? 0.02 : 0;
    p_cancel_ = eventful ? 0.02 : 0;
    p_fork_ = eventful ? 0.02 : 0;
    p_pin_ = random_.chance(0.2) ? 0.02 : 0;
    p_draft_ = geometry.checkpoint_tokens() == 0 && random_.chance(0.4) ? 0.5 : 0;
    p_lease_ = random_.chance(0.4) ? 0.5 : 0;
    p_arrive_ = random_.chance(0.5) ? 0.8 : 0.1;
    for (std::vector<int32_t>& text : texts_) {
      for (int32_t i = 0; i < max_len_; ++i) text.push_back(random_.below(kFakeVocab));
    }
  }

  // Empty, or what went wrong.
  std::string run(int n_steps) {
    for (int i = 0; i < n_steps && executor_->error.empty(); ++i) {
      if (random_.chance(p_arrive_) && n_alive() < 12) arrive();
      disturb();
      step();
    }
    for (const PinId pin : pins_) cache_->unpin(pin);
    pins_.clear();
    for (int i = 0; n_alive() > 0 && executor_->error.empty(); ++i) {
      if (i == 100'000) executor_->fail("the traffic does not end");
      step();
    }
    if (executor_->error.empty()) check_end();
    const SchedulerStats& stats = scheduler_->stats();
    totals_.n_swapped += stats.n_preempted_swap;
    totals_.n_recomputed += stats.n_preempted_recompute;
    totals_.n_cached += stats.n_cached_tokens;
    totals_.n_answers += stats.n_finished;
    return executor_->error;
  }

 private:
  int32_t n_alive() const { return scheduler_->n_running() + scheduler_->n_pending(); }

  CacheGeometry random_geometry() {
    static const std::vector<std::vector<Kind>> combinations = {
        {Kind::full},
        {Kind::full, Kind::sliding},
        {Kind::full, Kind::state},
        {Kind::latent},
        {Kind::sliding},
        {Kind::state},
        {Kind::latent, Kind::state},
        {Kind::sliding, Kind::full, Kind::sliding, Kind::state},
    };
    CacheGeometry geometry;
    const int32_t checkpoint = tile_ * random_.between(1, 3);
    const int32_t choice = random_.below(static_cast<int32_t>(combinations.size()));
    for (const Kind kind : combinations[whole_ ? 0 : choice]) {
      CacheGroup group{.kind = kind, .tokens_per_block = kind == Kind::state ? checkpoint : tile_};
      if (kind == Kind::sliding) group.window = random_.between(1, 3 * tile_ + 2);
      const int32_t alone = peak_blocks(group, max_len_ - 1);
      const int32_t spare = kind == Kind::state ? 20 : 6 * alone;
      group.n_blocks = 1 + alone + (random_.chance(0.3) ? 0 : random_.between(0, spare));
      group.n_swap_blocks = random_.chance(0.3) ? 0 : random_.between(0, 4 * alone);
      geometry.groups.push_back(group);
    }
    return geometry;
  }

  // A prompt that shares its beginning with others, or continues an earlier answer.
  std::vector<int32_t> random_prompt() {
    const int32_t n = random_.between(1, max_len_ - 1);
    const bool again = !history_.empty() && random_.chance(0.3);
    std::vector<int32_t> prompt =
        again ? history_[random_.below(static_cast<int32_t>(history_.size()))] : texts_[random_.below(3)];
    prompt.resize(n, 1);
    if (random_.chance(0.5)) prompt[random_.between(n / 2, n - 1)] = random_.below(kFakeVocab);
    return prompt;
  }

  void arrive() {
    FakeTruth truth;
    SequenceRequest request{.request = next_request_++};
    const std::vector<int32_t> prompt = random_prompt();
    int32_t n_prompt = static_cast<int32_t>(prompt.size());
    TokenSegment text{prompt};
    for (const int32_t token : prompt) truth.items.push_back(static_cast<uint64_t>(token));
    if (n_prompt > 3 && random_.chance(0.15)) add_media(request, truth, text);
    request.prompt.push_back(std::move(text));
    request.max_new_tokens = random_.chance(0.05) ? 0 : random_.between(0, max_len_ - n_prompt);
    request.n = random_.chance(0.15) ? random_.between(2, 4) : 1;
    request.all_rows = random_.chance(0.1);
    if (whole_) request.whole = true, request.max_new_tokens = 0, request.n = 1;
    if (random_.chance(0.2)) request.cache_salt = random_.chance(0.5) ? "salt" : "pepper";
    if (random_.chance(0.1)) request.adapter_generation = 1 + static_cast<uint64_t>(random_.below(2));
    if (random_.chance(0.01)) refuse(request);

    truth.root = mix(request.adapter_generation, request.cache_salt.size());
    truth.n_prompt = n_prompt;
    truth.max_len = n_prompt + request.max_new_tokens;
    truth.all_rows = request.all_rows;
    const SeqId first = scheduler_->add(request);
    truth.tokens = scheduler_->find(first)->tokens;
    for (int32_t i = 0; i < request.n; ++i) {
      truth.choice = i;
      FakeTruth& answer = executor_->truths[first + static_cast<SeqId>(i)] = truth;
      if (n_prompt > 1 && i > 0) answer.n_rows_seen = n_prompt - 1;
      answer.finish();
    }
  }

  // Turns the first positions into an embedded item, one of two.
  void add_media(SequenceRequest& request, FakeTruth& truth, TokenSegment& text) {
    const int32_t n = random_.between(1, static_cast<int32_t>(text.tokens.size()) - 1);
    const auto item = static_cast<uint64_t>(random_.between(1, 2));
    request.prompt.push_back(
        EmbeddingSegment{.n_positions = n, .hash = {.low = item, .high = static_cast<uint64_t>(n)}});
    text.tokens.erase(text.tokens.begin(), text.tokens.begin() + n);
    for (int32_t i = 0; i < n; ++i) truth.items[i] = 1'000'000 * item + static_cast<uint64_t>(1000 * n + i);
  }

  void refuse(SequenceRequest request) {
    request.max_new_tokens = 1'000'000;
    bool has_limit = false;
    for (const CacheGroup& group : cache_->geometry().groups) {
      has_limit |= group.kind == Kind::full || group.kind == Kind::latent;
    }
    if (!has_limit) return;
    try {
      scheduler_->add(request);
      executor_->fail("a request that can never fit was accepted");
    } catch (const Error&) {
      ++totals_.n_refused;
    }
  }

  SeqId random_id() {
    return executor_->truths.empty()
               ? 0
               : std::next(executor_->truths.begin(), random_.below(static_cast<int32_t>(executor_->truths.size())))
                     ->first;
  }

  void disturb() {
    if (random_.chance(p_cancel_)) {
      if (const Sequence* s = scheduler_->find(random_id())) scheduler_->cancel(s->request);
    }
    if (random_.chance(p_cancel_ / 2)) scheduler_->finish(random_id());
    if (random_.chance(p_fork_) && n_alive() < 12) fork();
    if (random_.chance(p_preempt_)) {
      scheduler_->preempt(random_id());
      n_stalled_ = 0;
    }
    if (random_.chance(p_pin_)) pin();
    if (random_.chance(p_pin_) && !pins_.empty()) {
      cache_->unpin(pins_.back());
      pins_.pop_back();
    }
    retire();
  }

  void fork() {
    const SeqId parent = random_id();
    const int32_t choice = random_.between(10, 1000);
    const std::optional<SeqId> child = scheduler_->fork(parent, choice);
    if (!child) return;
    ++totals_.n_forks;
    FakeTruth truth = executor_->truths.at(parent);
    truth.tokens = scheduler_->find(parent)->tokens;
    truth.choice = choice;
    truth.finish();
    executor_->truths[*child] = std::move(truth);
  }

  void pin() {
    const int g = random_.below(cache_->n_groups());
    const int32_t block = random_.below(cache_->pool(g).size());
    if (!cache_->published(g, block)) return;
    const BlockRef ref{.group = g, .block = block};
    pins_.push_back(cache_->pin({&ref, 1}));
  }

  // True drafts, or half true ones.
  void propose() {
    for (auto& [id, truth] : executor_->truths) {
      const Sequence* s = scheduler_->find(id);
      if (!s || !random_.chance(p_draft_)) continue;
      std::vector<int32_t> drafts;
      for (int32_t i = 0; i < random_.between(1, 6); ++i) {
        const size_t at = s->tokens.size() + static_cast<size_t>(i);
        const bool right = at < truth.tokens.size() && random_.chance(0.8);
        drafts.push_back(right ? truth.tokens[at] : random_.below(kFakeVocab));
      }
      scheduler_->propose(id, drafts);
    }
  }

  void step() {
    if (p_draft_ > 0) propose();
    StepLimits limits = limits_;
    if (random_.chance(0.1) && !whole_) limits.max_batched_tokens = random_.between(1, 40);
    if (random_.chance(0.1)) limits.max_seqs = random_.between(1, 8);
    if (random_.chance(p_lease_)) limits.lease_tokens = random_.between(2, 12);
    const bool aborts = random_.chance(p_abort_);
    if (aborts) {
      scheduler_->snapshot(snapshot_);
      before_ = holdings(snapshot_);
    }
    const StepPlan& plan = scheduler_->plan_step(limits);
    check_plan(plan, limits);
    check_invariants();
    check_order();
    ++totals_.n_steps;
    if (plan.empty()) return check_progress();
    count(plan);
    const uint64_t cancelled = cancel_in_flight();
    if (aborts) {
      abort(plan, cancelled == 0);
    } else {
      StepResult result = executor_->run(plan, random_, plan.sequences.size());
      if (!executor_->error.empty()) return;
      note_rows(plan, result);
      if (scheduler_->commit(result) != StepOutcome::committed) executor_->fail("the commit failed");
    }
    retire();
    check_invariants();
    executor_->poison(snapshot_);
    check_progress();
    for (const auto& [id, truth] : executor_->truths) {
      const Sequence* s = cancelled ? scheduler_->find(id) : nullptr;
      if (s && s->request == cancelled) executor_->fail("sequence ", id, " survives its cancellation");
    }
  }

  // A request that was cancelled, or 0.
  uint64_t cancel_in_flight() {
    const Sequence* s = random_.chance(p_cancel_) ? scheduler_->find(random_id()) : nullptr;
    if (!s) return 0;
    const uint64_t request = s->request;
    scheduler_->cancel(request);
    if (random_.chance(0.5)) scheduler_->finish(random_id());
    return request;
  }

  // Afterwards all is as before the plan, unless answers ended or states were spoilt.
  void abort(const StepPlan& plan, bool unchanged) {
    ++totals_.n_aborted;
    n_stalled_ = 0;
    const bool ran = random_.chance(0.5);
    if (ran) executor_->run(plan, random_, static_cast<size_t>(random_.below(8)));
    scheduler_->abort(ran ? StepRan::maybe : StepRan::no);
    scheduler_->snapshot(snapshot_);
    if (!ran && unchanged && holdings(snapshot_) != before_) executor_->fail("an aborted plan left traces");
  }

  // Which blocks each sequence has, on the device and in swap space.
  static std::vector<int64_t> holdings(const Snapshot& snapshot) {
    std::vector<int64_t> out;
    for (const Snapshot::Sequence& s : snapshot.sequences) {
      out.insert(out.end(), {static_cast<int64_t>(s.id), static_cast<int64_t>(s.status), s.n_computed});
    }
    for (const Snapshot::Table& table : snapshot.tables) {
      out.insert(out.end(), {table.first, table.count});
      for (int32_t i = 0; i < table.count; ++i) out.push_back(snapshot.ids[table.begin + i]);
    }
    return out;
  }

  void note_rows(const StepPlan& plan, const StepResult& result) {
    for (size_t i = 0; i < plan.sequences.size(); ++i) {
      const PlannedSequence& planned = plan.sequences[i];
      FakeTruth& truth = executor_->truths.at(planned.sequence->id);
      const auto n_new = static_cast<int32_t>(result.sequences[i].tokens.size());
      const int32_t end = planned.first_position + planned.n_tokens - planned.n_drafts + std::max(n_new - 1, 0);
      truth.n_rows_seen = std::max(truth.n_rows_seen, end);
      if (planned.n_drafts > 0) totals_.n_drafts_kept += n_new - 1;
    }
  }

  void count(const StepPlan& plan) {
    totals_.n_tokens += plan.n_tokens;
    totals_.n_copies += static_cast<int64_t>(plan.copies.size());
    for (const PlannedSequence& planned : plan.sequences) {
      totals_.n_leased += planned.lease_tokens > 1;
      for (int g = 0; g < cache_->n_groups(); ++g) {
        totals_.n_states_kept += cache_->is_state(g) && planned.state_read[g] != kNoBlock &&
                                 planned.state_read[g] != planned.sequence->tables[g].blocks[0];
      }
    }
  }

  void check_plan(const StepPlan& plan, const StepLimits& limits) {
    int32_t n_tokens = 0;
    bool prefill = false;
    for (const PlannedSequence& planned : plan.sequences) {
      n_tokens += planned.n_tokens;
      if (planned.n_tokens < 1) executor_->fail("a sequence is planned without tokens");
      if (whole_ && planned.n_tokens != planned.sequence->n_prompt) executor_->fail("a whole prompt is cut");
      if (prefill && !planned.is_prefill) executor_->fail("decoding sequences do not come first");
      prefill = planned.is_prefill;
    }
    if (n_tokens != plan.n_tokens) executor_->fail("the plan miscounts its tokens");
    if (static_cast<int32_t>(plan.sequences.size()) > limits.max_seqs) executor_->fail("too many sequences planned");
  }

  // Nobody in the queue overtakes another.
  void check_order() {
    bool left_behind = false;
    for (const Snapshot::Sequence& s : snapshot_.sequences) {
      if (s.status == Snapshot::Status::running) continue;
      if (left_behind && s.n_planned > 0) executor_->fail("sequence ", s.id, " overtakes another");
      left_behind |= s.n_planned == 0;
    }
  }

  void check_invariants() {
    scheduler_->snapshot(snapshot_);
    const std::vector<std::string> violations = validate(snapshot_);
    if (!violations.empty()) executor_->fail(violations[0]);
  }

  // Takes note of ended answers and compares them with the truth.
  void retire() {
    for (const FinishedSequence& f : scheduler_->take_finished()) {
      const FakeTruth truth = std::move(executor_->truths.at(f.id));
      executor_->truths.erase(f.id);
      if (f.end == SequenceEnd::cancelled) {
        ++totals_.n_cancelled;
        continue;
      }
      const int32_t n_tokens = f.n_prompt + f.n_output;
      if (f.end == SequenceEnd::length && n_tokens != truth.max_len) executor_->fail("an answer ends too early");
      if (history_.size() < 6) history_.emplace_back();
      history_[random_.below(static_cast<int32_t>(history_.size()))] = truth.tokens;
    }
  }

  // The oldest answer gains tokens in every step but those that make room for it.
  void check_progress() {
    const Sequence* oldest = nullptr;
    for (const auto& [id, truth] : executor_->truths) {
      const Sequence* s = scheduler_->find(id);
      if (s && (!oldest || std::pair(s->arrival, s->id) < std::pair(oldest->arrival, oldest->id))) oldest = s;
    }
    const std::pair<SeqId, int32_t> now = {oldest ? oldest->id : 0, oldest ? oldest->n_computed : 0};
    const bool advanced = !oldest || now.first != oldest_.first || now.second > oldest_.second;
    oldest_ = now;
    n_stalled_ = advanced || !pins_.empty() ? 0 : n_stalled_ + 1;
    if (n_stalled_ > 3) executor_->fail("the oldest sequence ", now.first, " does not advance past ", now.second);
  }

  void check_end() {
    for (int g = 0; g < cache_->n_groups(); ++g) {
      if (cache_->n_available(g) != cache_->pool(g).size() - 1) executor_->fail("group ", g, " lost blocks");
      if (cache_->swap_pool(g).n_available() != cache_->swap_pool(g).size()) executor_->fail("swap space was lost");
    }
    if (scheduler_->plan_step(limits_).idle != StepOutcome::no_work) executor_->fail("work is left");
  }

  FakeRandom random_;
  Totals& totals_;
  int32_t tile_ = 1, max_len_ = 1;
  bool whole_ = false;  // a model that reads both ways
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<FakeExecutor> executor_;
  StepLimits limits_;
  Snapshot snapshot_;
  std::vector<int64_t> before_;
  double p_abort_ = 0, p_preempt_ = 0, p_cancel_ = 0, p_fork_ = 0, p_pin_ = 0, p_draft_ = 0, p_lease_ = 0,
         p_arrive_ = 0;
  std::vector<int32_t> texts_[3];
  std::vector<std::vector<int32_t>> history_;
  std::vector<PinId> pins_;
  uint64_t next_request_ = 1;
  std::pair<SeqId, int32_t> oldest_;
  int n_stalled_ = 0;
};

int64_t from_environment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoll(text) : otherwise;
}

TEST(SchedProperty, RandomTraffic) {
  const int64_t first = from_environment("ARC_PROPERTY_FIRST", 1);
  const int64_t n_runs = from_environment("ARC_PROPERTY_RUNS", 200);
  Totals t;
  for (int64_t seed = first; seed < first + n_runs; ++seed) {
    const std::string error = Traffic(static_cast<uint64_t>(seed), t).run(1000);
    ASSERT_EQ(error, "") << "seed " << seed << ", step " << t.n_steps;
  }
  std::cout << n_runs << " runs, " << t.n_steps << " steps, " << t.n_tokens << " tokens, " << t.n_answers
            << " answers, " << t.n_cancelled << " cancelled, " << t.n_refused << " refused, " << t.n_cached
            << " cached tokens, " << t.n_swapped << " swapped, " << t.n_recomputed << " recomputed, " << t.n_forks
            << " forks, " << t.n_copies << " blocks copied, " << t.n_states_kept << " states kept, " << t.n_drafts_kept
            << " drafts accepted, " << t.n_leased << " leases, " << t.n_aborted << " steps aborted\n";
  if (n_runs < 100) return;
  for (const int64_t n : {t.n_tokens, t.n_answers, t.n_cancelled, t.n_refused, t.n_cached, t.n_swapped, t.n_recomputed,
                          t.n_forks, t.n_copies, t.n_states_kept, t.n_drafts_kept, t.n_leased, t.n_aborted}) {
    EXPECT_GT(n, 0) << "some part of the scheduler was never exercised";
  }
}

}  // namespace
}  // namespace arc
