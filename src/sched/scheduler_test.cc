// Tests of the scheduler's promises one by one, on small caches where every block can be counted.
#include "sched/scheduler.h"

#include <limits>
#include <numeric>
#include <string>

#include "gtest/gtest.h"

#include "base/error.h"

namespace arc {
namespace {

using Kind = CacheGroup::Kind;

std::vector<int32_t> range(int32_t n, int32_t from = 0) {
  std::vector<int32_t> out(static_cast<size_t>(n));
  std::iota(out.begin(), out.end(), from);
  return out;
}

struct Bench {
  KvCache cache;
  Scheduler scheduler{cache};
  uint64_t next_request = 1;

  explicit Bench(std::vector<CacheGroup> groups, bool prefix_cache = true)
      : cache({.groups = std::move(groups)}, {.prefix_cache = prefix_cache}) {}

  SeqId add(int32_t n_prompt, int32_t n_new, int32_t n = 1, int32_t from = 0) {
    return scheduler.add(
        {.request = next_request++, .prompt = {TokenSegment{range(n_prompt, from)}}, .max_new_tokens = n_new, .n = n});
  }
  // Commits the step in flight; every sequence that reaches its end gets the token 1.
  void commit(const StepPlan& plan) {
    static const std::vector<int32_t> one = {1};
    StepResult result;
    for (const PlannedSequence& p : plan.sequences) {
      const bool reaches = p.first_position + p.n_tokens - p.n_drafts == p.sequence->n_tokens();
      const bool wants = reaches && p.sequence->max_len > p.sequence->n_prompt;
      result.sequences.push_back({.tokens = wants ? std::span(one) : std::span<const int32_t>()});
    }
    scheduler.commit(result);
    Snapshot snapshot;
    scheduler.snapshot(snapshot);
    EXPECT_EQ(validate(snapshot), std::vector<std::string>{});
  }
  // The step as text, "id:first+n" per sequence, and commits it.
  std::string step(const StepLimits& limits = {}) {
    const StepPlan& plan = scheduler.plan_step(limits);
    std::string text;
    for (const PlannedSequence& p : plan.sequences) {
      text += (text.empty() ? "" : " ") + std::to_string(p.sequence->id) + ":" + std::to_string(p.first_position) +
              "+" + std::to_string(p.n_tokens);
    }
    if (!plan.empty()) commit(plan);
    return text;
  }
  int32_t used(int g = 0) const { return cache.pool(g).size() - 1 - cache.n_available(g); }
};

CacheGroup full(int32_t n_blocks, int32_t n_swap_blocks = 0) {
  return {.kind = Kind::full, .tokens_per_block = 4, .n_blocks = n_blocks, .n_swap_blocks = n_swap_blocks};
}

TEST(Scheduler, DecodesFirstAndPrefillsWithTheRest) {
  Bench b({full(64)});
  b.add(3, 10);
  EXPECT_EQ(b.step({.max_batched_tokens = 8}), "1:0+3");
  b.add(20, 10, 1, 100);
  EXPECT_EQ(b.step({.max_batched_tokens = 8}), "1:3+1 2:0+7");
  EXPECT_EQ(b.step({.max_batched_tokens = 8}), "1:4+1 2:7+7");
  EXPECT_EQ(b.step({.max_batched_tokens = 8}), "1:5+1 2:14+6");
  EXPECT_EQ(b.step({.max_batched_tokens = 8}), "1:6+1 2:20+1");
}

TEST(Scheduler, PromptsBesideDecodingTakeNoMoreThanTheirLimit) {
  Bench b({full(64)});
  b.add(20, 10, 1, 100);
  const StepLimits limits{.max_batched_tokens = 16, .max_prompt_tokens = 6};
  EXPECT_EQ(b.step(limits), "1:0+16");  // nobody waits
  EXPECT_EQ(b.step(limits), "1:16+4");
  b.add(8, 10, 1, 200);
  b.add(8, 10, 1, 300);
  EXPECT_EQ(b.step(limits), "1:20+1 2:0+6");
  EXPECT_EQ(b.step(limits), "1:21+1 2:6+2 3:0+4");
  EXPECT_EQ(b.step({.max_batched_tokens = 16, .max_prompt_tokens = 0}), "1:22+1 2:8+1");
  EXPECT_EQ(b.step(limits), "1:23+1 2:9+1 3:4+4");
}

TEST(Scheduler, TheOldestGetsATokenBesideAnyLimit) {
  Bench b({full(64)});
  b.add(7, 10, 1, 100);
  b.add(3, 10, 1, 200);
  b.step();
  b.scheduler.preempt(1);
  EXPECT_EQ(b.step(), "2:3+1");
  EXPECT_EQ(b.step({.max_prompt_tokens = 0}), "2:4+1 1:4+1");  // the first tile is stored
}

TEST(Scheduler, OnlyRowsAtTheEndReachTheHead) {
  Bench b({full(64)});
  b.scheduler.add({.request = 1, .prompt = {TokenSegment{range(10)}}, .max_new_tokens = 2});
  b.scheduler.add({.request = 2, .prompt = {TokenSegment{range(10, 50)}}, .max_new_tokens = 2, .all_rows = true});
  const StepPlan& first = b.scheduler.plan_step({.max_batched_tokens = 16});
  EXPECT_EQ(first.sequences[0].n_rows, 1);
  EXPECT_EQ(first.sequences[1].n_rows, 6);
  EXPECT_EQ(first.n_rows, 7);
  b.commit(first);
  const StepPlan& second = b.scheduler.plan_step({.max_batched_tokens = 16});
  EXPECT_EQ(second.sequences[0].n_rows, 1);
  EXPECT_EQ(second.sequences[1].n_rows, 4);
  b.commit(second);
}

TEST(Scheduler, PromptOnlyRequestsEndWhenComputed) {
  Bench b({full(64)});
  const SeqId id = b.add(10, 0);
  EXPECT_EQ(b.step({.max_batched_tokens = 6}), "1:0+6");
  EXPECT_EQ(b.step({.max_batched_tokens = 6}), "1:6+4");
  const auto finished = b.scheduler.take_finished();
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].id, id);
  EXPECT_EQ(finished[0].end, SequenceEnd::length);
  EXPECT_EQ(b.used(), 0);
}

TEST(Scheduler, RefusesWhatCanNeverFit) {
  Bench b({full(6)});
  EXPECT_NO_THROW(b.add(10, 11));  // the last token needs no place
  EXPECT_THROW(b.add(10, 12), Error);
  EXPECT_THROW(b.add(0, 5), Error);
  EXPECT_THROW(b.add(10, std::numeric_limits<int32_t>::max()), Error);
  EXPECT_THROW(b.add(10, 1, 0), Error);
}

TEST(Scheduler, AnswersOfOneRequestShareThePrompt) {
  Bench b({full(64)}, false);
  b.add(11, 6, 3);
  EXPECT_EQ(b.step(), "1:0+10");  // all but the last token, once
  EXPECT_EQ(b.used(), 3);
  const StepPlan& plan = b.scheduler.plan_step({});
  EXPECT_EQ(plan.sequences.size(), 3u);
  EXPECT_EQ(plan.copies.size(), 3u);  // each gets its own copy of the partial block; the original goes
  b.commit(plan);
  EXPECT_EQ(b.used(), 2 + 3);
  EXPECT_EQ(b.step(), "1:11+1 2:11+1 3:11+1");
  EXPECT_TRUE(b.scheduler.plan_step({}).copies.empty());
}

TEST(Scheduler, PreemptsTheYoungestToSwapSpaceAndBack) {
  Bench b({full(5, 8)}, false);
  b.add(7, 10);
  b.add(7, 10, 1, 50);
  EXPECT_EQ(b.step(), "1:0+7");  // the second would fit, but leave no room to grow

  Bench c({full(7, 8)}, false);
  c.add(7, 10);
  c.add(7, 10, 1, 50);
  EXPECT_EQ(c.step(), "1:0+7 2:0+7");
  std::string steps;
  while (c.scheduler.stats().n_preempted_swap == 0) steps += c.step() + "|";
  EXPECT_EQ(c.scheduler.n_pending(), 1);
  EXPECT_EQ(c.scheduler.find(2)->status, SequenceStatus::swapped);
  EXPECT_EQ(c.scheduler.find(1)->status, SequenceStatus::running);
  const int32_t n_computed = c.scheduler.find(2)->n_computed;
  while (c.scheduler.find(1)) c.step();
  const StepPlan& back = c.scheduler.plan_step({});
  EXPECT_EQ(back.swap_ins.size(), static_cast<size_t>(blocks_for_tokens(n_computed, 4)));
  ASSERT_EQ(back.sequences.size(), 1u);
  EXPECT_EQ(back.sequences[0].first_position, n_computed);
  c.commit(back);
  EXPECT_EQ(c.cache.swap_pool(0).n_available(), 8);
}

TEST(Scheduler, RecomputesWhenSwapSpaceIsOut) {
  Bench b({full(7, 1)}, false);
  b.add(7, 10);
  b.add(7, 10, 1, 50);
  while (b.scheduler.stats().n_preempted_recompute == 0) b.step();
  const Sequence* s = b.scheduler.find(2);
  EXPECT_EQ(s->status, SequenceStatus::waiting);
  EXPECT_EQ(s->n_computed, 0);
  EXPECT_GT(s->n_output(), 0);  // keeps its tokens
  while (b.scheduler.n_running() + b.scheduler.n_pending() > 0) b.step();
  EXPECT_EQ(b.scheduler.take_finished().size(), 2u);
}

TEST(Scheduler, ForcedPreemptionOfTheOldest) {
  Bench b({full(32, 32)});
  b.add(7, 10);
  b.add(7, 10, 1, 50);
  b.step();
  b.scheduler.preempt(1);
  EXPECT_EQ(b.step(), "2:7+1");
  EXPECT_EQ(b.scheduler.find(1)->status, SequenceStatus::swapped);
  EXPECT_EQ(b.step(), "1:7+1 2:8+1");
}

TEST(Scheduler, ReusesAFinishedPromptAndItsAnswer) {
  Bench b({full(64)});
  b.add(8, 6);
  while (b.scheduler.n_running() + b.scheduler.n_pending() > 0) b.step();
  std::vector<int32_t> longer = range(8);
  longer.resize(20, 1);  // the answer was ones
  b.scheduler.add({.request = 9, .prompt = {TokenSegment{longer}}, .max_new_tokens = 1});
  b.scheduler.take_finished();
  EXPECT_EQ(b.step(), "2:12+8");  // 13 positions were computed: three tiles
  EXPECT_EQ(b.scheduler.take_finished().at(0).n_cached, 12);
  b.scheduler.add({.request = 10, .prompt = {TokenSegment{longer}}, .max_new_tokens = 1, .cache_salt = "x"});
  EXPECT_EQ(b.step(), "3:0+20");
}

TEST(Scheduler, WhatOutgrowsItsRopeIsComputedAnewAndShared) {
  Bench b({full(64)});
  const auto add = [&](int32_t n_prompt, int32_t n_new) {
    b.scheduler.add({.request = b.next_request++,
                     .prompt = {TokenSegment{std::vector<int32_t>(static_cast<size_t>(n_prompt), 1)}},
                     .max_new_tokens = n_new,
                     .rope_switch = 10});
  };
  add(8, 7);
  EXPECT_EQ(b.step(), "1:0+8");
  EXPECT_EQ(b.step(), "1:8+1");
  EXPECT_EQ(b.step(), "1:9+1");   // its token is the eleventh
  EXPECT_EQ(b.step(), "1:0+11");  // nothing of before fits, nor was it taken from the prefix cache
  EXPECT_EQ(b.step(), "1:11+1");
  while (b.scheduler.n_running() > 0) b.step();
  add(13, 1);
  EXPECT_EQ(b.step(), "2:12+1");  // another long one shares the long one's
  add(10, 1);
  EXPECT_EQ(b.step(), "3:8+2");  // and a short one the short one's
}

TEST(Scheduler, ALeaseEndsWhereTheRopeSwitches) {
  Bench b({full(64)});
  b.scheduler.add({.request = b.next_request++,
                   .prompt = {TokenSegment{std::vector<int32_t>(8, 1)}},
                   .max_new_tokens = 20,
                   .rope_switch = 10});
  EXPECT_EQ(b.step(), "1:0+8");
  const StepPlan& plan = b.scheduler.plan_step({.lease_tokens = 8});
  EXPECT_EQ(plan.sequences[0].lease_tokens, 2);  // the second is the eleventh token
  b.commit(plan);
}

TEST(Scheduler, ChunksAndHitsOfStateModelsMeetAtCheckpoints) {
  Bench b({full(64), {.kind = Kind::state, .tokens_per_block = 8, .n_blocks = 8}});
  b.add(21, 2);
  EXPECT_EQ(b.step({.max_batched_tokens = 13}), "1:0+8");
  EXPECT_EQ(b.step({.max_batched_tokens = 13}), "1:8+8");
  const StepPlan& plan = b.scheduler.plan_step({.max_batched_tokens = 13});
  EXPECT_EQ(plan.sequences[0].n_tokens, 5);
  EXPECT_NE(plan.sequences[0].state_read[1], plan.sequences[0].sequence->tables[1].blocks[0]);
  b.commit(plan);
  const StepPlan& next = b.scheduler.plan_step({});
  EXPECT_EQ(next.sequences[0].state_read[1], next.sequences[0].sequence->tables[1].blocks[0]);
  b.commit(next);
  b.add(21, 2);
  EXPECT_EQ(b.step(), "2:16+5");
}

TEST(Scheduler, LeasesReserveBlocksAndTakeManyTokens) {
  Bench b({full(64)});
  const SeqId id = b.add(4, 30);
  EXPECT_EQ(b.step({.lease_tokens = 10}), "1:0+4");
  const StepPlan& plan = b.scheduler.plan_step({.lease_tokens = 10});
  ASSERT_EQ(plan.sequences[0].lease_tokens, 10);
  EXPECT_EQ(plan.sequences[0].n_tokens, 1);
  EXPECT_EQ(plan.sequences[0].sequence->tables[0].end(), 4);  // 14 positions
  const std::vector<int32_t> tokens = range(7);
  b.scheduler.commit({.sequences = {{.tokens = tokens}}});
  EXPECT_EQ(b.scheduler.find(id)->n_tokens(), 12);
  EXPECT_EQ(b.scheduler.find(id)->n_computed, 11);
  EXPECT_EQ(b.step(), "1:11+1");
}

TEST(Scheduler, VerificationKeepsTheRightDrafts) {
  Bench b({full(64)});
  const SeqId id = b.add(8, 20);
  b.step();
  const std::vector<int32_t> drafts = {5, 6, 7, 8, 9};
  b.scheduler.propose(id, drafts);
  const StepPlan& plan = b.scheduler.plan_step({});
  const PlannedSequence& planned = plan.sequences[0];
  EXPECT_EQ(planned.first_position, 8);
  EXPECT_EQ(planned.n_drafts, 2);  // positions 9 and 10; 11 would fill the tile
  EXPECT_EQ(planned.n_rows, 3);
  EXPECT_EQ(planned.token(8), 1);
  EXPECT_EQ(planned.token(10), 6);
  const std::vector<int32_t> tokens = {5, 3};
  b.scheduler.commit({.sequences = {{.tokens = tokens}}});
  EXPECT_EQ(b.scheduler.find(id)->n_computed, 10);
  EXPECT_EQ(b.scheduler.find(id)->tokens.back(), 3);
  EXPECT_EQ(b.step(), "1:10+1");
}

TEST(Scheduler, AbortGivesBackAllThatWasReserved) {
  Bench b(
      {full(32, 32), {.kind = Kind::sliding, .tokens_per_block = 4, .window = 6, .n_blocks = 32, .n_swap_blocks = 9}});
  b.add(9, 9, 2);
  b.step();
  b.step();
  b.add(9, 9, 1, 70);
  const auto tables = [&] {
    std::string text;
    for (SeqId id = 1; id <= 3; ++id) {
      const Sequence* s = b.scheduler.find(id);
      text += std::to_string(s->n_computed) + ":";
      for (const BlockTable& table : s->tables) {
        for (const int32_t block : table.blocks) text += std::to_string(block) + ",";
      }
    }
    return text;
  };
  const std::string before = tables();
  const int32_t used = b.used(0), used_sliding = b.used(1);
  b.scheduler.preempt(2);
  const StepPlan& plan = b.scheduler.plan_step({});
  EXPECT_FALSE(plan.swap_outs.empty());
  EXPECT_EQ(b.scheduler.abort(StepRan::maybe), StepOutcome::retry);
  EXPECT_EQ(tables(), before);
  EXPECT_EQ(b.used(0), used);
  EXPECT_EQ(b.used(1), used_sliding);
  EXPECT_EQ(b.step(), "1:9+1 2:9+1 3:0+9");
}

TEST(Scheduler, AStateThatMayBeSpoiltIsComputedAnew) {
  Bench b({{.kind = Kind::state, .tokens_per_block = 4, .n_blocks = 4}});
  b.add(6, 9);
  EXPECT_EQ(b.step(), "1:0+4");
  EXPECT_EQ(b.step(), "1:4+2");
  b.scheduler.plan_step({});
  b.scheduler.abort(StepRan::no);
  EXPECT_EQ(b.scheduler.find(1)->n_computed, 6);
  b.scheduler.plan_step({});
  b.scheduler.abort(StepRan::maybe);
  EXPECT_EQ(b.scheduler.find(1)->n_computed, 0);
  EXPECT_EQ(b.step(), "1:4+3");  // from the checkpoint
}

TEST(Scheduler, CancellationActsAfterTheStepInFlight) {
  Bench b({full(32)});
  b.add(9, 9, 3);
  b.step();
  const StepPlan& plan = b.scheduler.plan_step({});
  b.scheduler.cancel(1);
  b.scheduler.finish(77);
  EXPECT_EQ(b.scheduler.n_running(), 3);
  b.commit(plan);
  EXPECT_EQ(b.scheduler.n_running(), 0);
  EXPECT_EQ(b.scheduler.take_finished().size(), 3u);
  EXPECT_EQ(b.used(), 0);
  b.add(9, 9, 3);
  b.scheduler.cancel(2);  // before the answers part
  EXPECT_EQ(b.scheduler.take_finished().size(), 3u);
  b.add(9, 9, 3, 50);
  const StepPlan& parting = b.scheduler.plan_step({});
  b.scheduler.cancel(3);  // in the step after which they part
  b.commit(parting);
  EXPECT_EQ(b.scheduler.take_finished().size(), 3u);
  EXPECT_EQ(b.scheduler.plan_step({}).idle, StepOutcome::no_work);
}

TEST(Scheduler, FullQueueWaitsInOrder) {
  Bench b({full(64)});
  for (int i = 0; i < 4; ++i) b.add(4, 3, 1, 10 * i);
  EXPECT_EQ(b.step({.max_seqs = 2}), "1:0+4 2:0+4");
  EXPECT_EQ(b.step({.max_seqs = 2}), "1:4+1 2:4+1");
  EXPECT_EQ(b.step({.max_seqs = 2}), "1:5+1 2:5+1");
  EXPECT_EQ(b.step({.max_seqs = 2}), "3:0+4 4:0+4");
  EXPECT_EQ(b.scheduler.plan_step({.max_batched_tokens = 0}).idle, StepOutcome::capacity_deferred);
}

}  // namespace
}  // namespace arc
