// What the pacer learns, and what it keeps a simulated machine to.
#include "sched/step_pacer.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"

#include "kv/kv_cache.h"
#include "sched/scheduler.h"

namespace arc {
namespace {

// A machine whose steps take what they should, more or less, and a clock that only they move.
struct Machine {
  double decode_ms = 8, row_us = 20, prompt_us = 100, context_ns = 20, noise = 0.1;
  std::mt19937 random{5};

  double seconds(const StepPlan& plan) {
    double us = 1e3 * decode_ms;
    for (const PlannedSequence& p : plan.sequences) {
      us += p.is_prefill ? p.n_tokens * (prompt_us + 1e-3 * context_ns * p.first_position) : row_us;
    }
    return 1e-6 * us * (1 + noise * std::uniform_real_distribution<>(-1, 1)(random));
  }
};

struct Served {
  std::vector<double> token_ms;  // from one token of an answer to its next
  double seconds = 0;            // until all was done
  double p99() {
    std::ranges::sort(token_ms);
    return token_ms[token_ms.size() * 99 / 100];
  }
};

// Requests that come every `gap` seconds, each with a prompt and 100 tokens to answer.
Served serve(Machine machine, const StepPacer::Options* options, double gap = 0.2, int32_t prompt = 4000) {
  constexpr int32_t kRequests = 60, kAnswer = 100;
  KvCache cache({.groups = {{.tokens_per_block = 64, .n_blocks = 8000}}}, {.prefix_cache = false});
  Scheduler scheduler(cache);
  StepPacer pacer(options != nullptr ? *options : StepPacer::Options());
  Served served;
  std::vector<double> last(kRequests + 1, -1);
  int32_t n_sent = 0;
  size_t n_done = 0;
  while (n_done < kRequests) {
    while (n_sent < kRequests && n_sent * gap <= served.seconds) {
      scheduler.add(
          {.prompt = {TokenSegment{std::vector<int32_t>(static_cast<size_t>(prompt), 1)}}, .max_new_tokens = kAnswer});
      ++n_sent;
    }
    StepLimits limits{.max_batched_tokens = 4096, .max_seqs = 64};
    if (options != nullptr) limits.max_prompt_tokens = pacer.prompt_tokens();
    const StepPlan& plan = scheduler.plan_step(limits);
    if (plan.empty()) {
      served.seconds = n_sent * gap;
      continue;
    }
    const double seconds = machine.seconds(plan);
    served.seconds += seconds;
    static const int32_t token = 7;
    StepResult result;
    int32_t n_prompt = 0, n_decoding = 0;
    for (const PlannedSequence& p : plan.sequences) {
      (p.is_prefill ? n_prompt : n_decoding) += p.n_tokens;
      result.sequences.push_back({.tokens = p.n_rows > 0 ? std::span(&token, 1) : std::span<const int32_t>()});
      if (p.n_rows == 0) continue;
      double& before = last[p.sequence->id];
      if (before >= 0) served.token_ms.push_back(1e3 * (served.seconds - before));
      before = served.seconds;
    }
    pacer.took(n_prompt, n_decoding, seconds);
    scheduler.commit(result);
    n_done += scheduler.take_finished().size();
  }
  return served;
}

TEST(StepPacer, BoundsWhatATokenWaits) {
  const StepPacer::Options options{.goal_seconds = 0.05, .most_tokens = 4096};
  EXPECT_GT(serve({}, nullptr).p99(), 300);  // whole prompts in one step: 0.4 s
  Served paced = serve({}, &options);
  EXPECT_LT(paced.p99(), 50 * 1.1 * 1.1);  // what the machine's noise adds, to this step and to what was learned
  // Of each 50 ms decoding takes 8 to 10, and a sixth stays free for noise: prompts have two thirds, but for tiles.
  EXPECT_LT(paced.seconds, 1.6 * serve({}, nullptr).seconds);
}

TEST(StepPacer, FollowsAMachineWhoseContextsGrow) {
  const StepPacer::Options options{.goal_seconds = 0.05, .most_tokens = 4096};
  EXPECT_LT(serve({.context_ns = 10}, &options, 2.0, 20'000).p99(), 50 * 1.1 * 1.1 * 1.1);
}

TEST(StepPacer, ASlowMachineGivesPromptsAsMuchAsAnswers) {
  const StepPacer::Options options{.goal_seconds = 0.05, .most_tokens = 4096};
  Machine slow{.decode_ms = 60, .row_us = 0, .prompt_us = 300, .context_ns = 0, .noise = 0};
  EXPECT_LE(serve(slow, &options, 2.0).p99(), 120.0);
}

TEST(StepPacer, SaysNothingUntilItKnows) {
  StepPacer pacer({.goal_seconds = 0.05, .least_tokens = 64, .most_tokens = 2048});
  EXPECT_EQ(pacer.prompt_tokens(), 2048);
  pacer.took(0, 8, 0.010);
  EXPECT_EQ(pacer.prompt_tokens(), 2048);
  pacer.took(10, 8, 0.030);  // too few
  EXPECT_EQ(pacer.prompt_tokens(), 2048);
  pacer.took(2048, 0, 0.2048);
  EXPECT_EQ(pacer.prompt_tokens(), 384);  // of 400 that 40 ms are good for
  pacer.took(384, 8, 1.0);
  EXPECT_EQ(pacer.prompt_tokens(), 64);  // never less
  for (int i = 0; i < 100; ++i) pacer.took(64, 8, 0.0164);
  EXPECT_EQ(pacer.prompt_tokens(), 384);  // and back
}

}  // namespace
}  // namespace arc
