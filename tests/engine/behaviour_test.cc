// What a caller of the engine sees: stop rules, log-probabilities, several answers, refusals, cancellation, shutdown.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <thread>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "engine/client.h"
#include "engine/tiny_folder.h"

namespace arc::test {
namespace {

class Behaviour : public testing::Test {
 protected:
  static constexpr int kVocab = 129;

  Behaviour() : folder_("arc_behaviour") {
    write_model_folder(read_golden("qwen3"), kVocab, folder_.path());
    engine_ = load_engine(config());
  }
  EngineConfig config() const {
    return {.model = folder_.path(), .max_seqs = 4, .max_seq_len = 128, .kv_memory_bytes = 64 << 20};
  }
  static Request request(SamplingParams sampling) {
    return {.prompt = TokenPrompt{{5, 6, 7, 8}}, .sampling = std::move(sampling)};
  }
  Answer ask(SamplingParams sampling) {
    Client client(*engine_);
    client.send(request(std::move(sampling)));
    return client.wait()[0];
  }
  // 20 greedy tokens; the tests below stop inside them.
  Answer greedy() { return ask({.temperature = 0.0f, .max_tokens = 20, .ignore_eos = true}); }

  TemporaryFolder folder_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(Behaviour, StopIdEndsTheAnswerAndIsNotPartOfIt) {
  const Answer whole = greedy();
  const int32_t stop = whole.tokens[9];
  const auto first = std::ranges::find(whole.tokens, stop) - whole.tokens.begin();
  const Answer cut = ask({.temperature = 0.0f, .max_tokens = 20, .ignore_eos = true, .stop_token_ids = {stop}});
  EXPECT_EQ(cut.finish, FinishReason::stop);
  EXPECT_EQ(cut.tokens, std::vector<int32_t>(whole.tokens.begin(), whole.tokens.begin() + first));
  EXPECT_EQ(cut.usage.completion_tokens, first + 1);
}

TEST_F(Behaviour, MinTokensForbidsTheStopId) {
  const int32_t stop = greedy().tokens[0];
  const Answer answer =
      ask({.temperature = 0.0f, .max_tokens = 20, .min_tokens = 5, .ignore_eos = true, .stop_token_ids = {stop}});
  EXPECT_GE(answer.usage.completion_tokens, 6);
  for (size_t i = 0; i < std::min<size_t>(5, answer.tokens.size()); ++i) EXPECT_NE(answer.tokens[i], stop);
}

TEST_F(Behaviour, StopStringCutsTheTextWhereItStarts) {
  const Answer whole = greedy();
  const std::string stop = whole.text.substr(whole.text.size() / 2, 4);
  const Answer cut = ask({.temperature = 0.0f, .max_tokens = 20, .ignore_eos = true, .stop = {stop}});
  EXPECT_EQ(cut.text, whole.text.substr(0, whole.text.find(stop)));
  EXPECT_EQ(cut.stop_text, stop);
  EXPECT_EQ(cut.finish, FinishReason::stop);
}

TEST_F(Behaviour, LogprobsAreNaturalAndOfTheRawDistribution) {
  const Answer cold =
      ask({.temperature = 0.0f, .max_tokens = 3, .ignore_eos = true, .logprobs = true, .top_logprobs = kVocab - 1});
  ASSERT_EQ(cold.logprobs.size(), 3u);
  for (const PositionLogprobs& p : cold.logprobs) {
    double mass = 0.0;
    for (const TokenLogprob& t : p.top) mass += std::exp(t.logprob);
    EXPECT_GT(mass, 0.99);
    EXPECT_LE(mass, 1.0 + 1e-5);
    EXPECT_EQ(p.top[0].token, p.chosen.token);
  }
  // Temperature, penalties and filters do not change them.
  const Answer warm = ask({.temperature = 1.7f,
                           .top_k = 5,
                           .repetition_penalty = 1.3f,
                           .seed = 1,
                           .max_tokens = 1,
                           .ignore_eos = true,
                           .logprobs = true,
                           .top_logprobs = 5});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(warm.logprobs[0].top[i].logprob, cold.logprobs[0].top[i].logprob);
}

TEST_F(Behaviour, PromptLogprobsScoreThePromptsOwnTokens) {
  const Answer whole = ask({.temperature = 0.0f, .max_tokens = 4, .ignore_eos = true, .logprobs = true});
  Client client(*engine_);
  std::vector<int32_t> prompt = {5, 6, 7, 8};
  prompt.insert(prompt.end(), whole.tokens.begin(), whole.tokens.end());
  client.send({.prompt = TokenPrompt{prompt},
               .sampling = {.temperature = 0.0f, .max_tokens = 1, .ignore_eos = true, .prompt_logprobs = true}});
  const Answer scored = client.wait()[0];
  ASSERT_EQ(scored.prompt_logprobs.size(), prompt.size());
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(scored.prompt_logprobs[4 + i].chosen.token, whole.tokens[i]);
    EXPECT_EQ(scored.prompt_logprobs[4 + i].chosen.logprob, whole.logprobs[i].chosen.logprob);
  }
}

TEST_F(Behaviour, NoTokensAskedForMeansOnlyScores) {
  const Answer scores = ask({.temperature = 0.0f, .max_tokens = 0, .prompt_logprobs = true});
  EXPECT_EQ(scores.prompt_logprobs.size(), 4u);
  EXPECT_TRUE(scores.tokens.empty());
  EXPECT_EQ(scores.usage.completion_tokens, 0);
  EXPECT_EQ(scores.finish, FinishReason::length);
  EXPECT_EQ(ask({.max_tokens = 0}).finish, FinishReason::length);
}

TEST_F(Behaviour, LogitBiasForbidsAndForces) {
  const Answer forced = ask({.temperature = 0.0f, .logit_bias = {{42, 100.0f}}, .max_tokens = 3, .ignore_eos = true});
  EXPECT_EQ(forced.tokens, (std::vector<int32_t>{42, 42, 42}));
}

TEST_F(Behaviour, BadRequestsAreRefusedWithBothNumbers) {
  const auto message = [&](Request r) -> std::string {
    try {
      engine_->submit(std::move(r), [](const Event&) {});
    } catch (const Error& e) {
      return e.what();
    }
    return "accepted";
  };
  const std::string too_long = message({.prompt = TokenPrompt{std::vector<int32_t>(128, 3)}});
  EXPECT_NE(too_long.find("128"), std::string::npos) << too_long;
  EXPECT_NE(message({.prompt = TokenPrompt{{1, kVocab}}}).find("129"), std::string::npos);
  EXPECT_NE(message({.prompt = TokenPrompt{}}).find("empty"), std::string::npos);
  EXPECT_NE(message({.prompt = ChatPrompt{.messages_json = "[]"}}).find("--chat-template"), std::string::npos);
  EXPECT_NE(message(request({.temperature = -1.0f})), "accepted");
  EXPECT_NE(message(request({.temperature = NAN})), "accepted");
}

TEST_F(Behaviour, AFullQueueRefuses) {
  EngineConfig c = config();
  c.max_queue = 2;
  c.max_seqs = 1;
  const auto engine = load_engine(c);
  Client client(*engine);
  int refused = 0;
  for (int i = 0; i < 50; ++i) {
    try {
      engine->submit(request({.max_tokens = 100, .ignore_eos = true}), [](const Event&) {});
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::resource);
      ++refused;
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_EQ(engine->stats().requests_refused, refused);
}

TEST_F(Behaviour, CancelledRequestsEndAsCancelledAndTheOthersGoOn) {
  std::mutex mutex;
  int cancelled = 0, finished = 0;
  std::vector<RequestId> ids;
  for (int i = 0; i < 40; ++i) {
    ids.push_back(engine_->submit(request({.seed = i, .max_tokens = 100, .ignore_eos = true}), [&](const Event& e) {
      const std::lock_guard lock(mutex);
      if (e.finish) ++(*e.finish == FinishReason::cancelled ? cancelled : finished);
    }));
  }
  for (size_t i = 0; i < ids.size(); i += 2) engine_->cancel(ids[i]);
  for (int waited = 0; waited < 3000; ++waited) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const std::lock_guard lock(mutex);
    if (cancelled + finished == 40) break;
  }
  const std::lock_guard lock(mutex);
  EXPECT_EQ(cancelled + finished, 40);
  EXPECT_GE(finished, 20);
  EXPECT_GT(cancelled, 0);
}

TEST_F(Behaviour, ClosingTheEngineEndsEveryRequest) {
  std::atomic<int> ended = 0;
  for (int i = 0; i < 30; ++i) {
    engine_->submit(request({.max_tokens = 100, .ignore_eos = true}),
                    [&](const Event& e) { ended += e.finish.has_value(); });
  }
  engine_.reset();
  EXPECT_EQ(ended, 30);
}

// The load's failures name the thing and the remedy.
TEST_F(Behaviour, LoadingFailsWithAClearError) {
  const auto message = [](const EngineConfig& c) -> std::string {
    try {
      load_engine(c);
    } catch (const Error& e) {
      return e.what();
    }
    return "loaded";
  };
  EXPECT_NE(message({.model = "/no/such/folder"}).find("/no/such/folder"), std::string::npos);
  EngineConfig c = config();
  c.kv_memory_bytes = 1000;
  EXPECT_NE(message(c).find("--kv-memory"), std::string::npos);
  c = config();
  c.tensor_parallel = 3;
  EXPECT_NE(message(c).find("ranks"), std::string::npos);
  c = config();
  c.dtype = "int4";
  EXPECT_NE(message(c).find("int4"), std::string::npos);
}

}  // namespace
}  // namespace arc::test
