// A real trained model against transformers: 10 prompts of 128 greedy tokens, alone, batched, in every chunk size,
// preempted, and through the prefix cache. Needs the model beside the checkout (ARC_SHARED); skipped in one line
// without.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <numeric>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/json.h"
#include "base/mapped_file.h"
#include "engine/client.h"

namespace arc::test {
namespace {

struct Case {
  std::string text;
  std::vector<int32_t> prompt, output;
};

std::filesystem::path model_path() {
  const char* shared = std::getenv("ARC_SHARED");
  const std::filesystem::path root =
      shared != nullptr ? std::filesystem::path(shared) : std::filesystem::path(ARC_SOURCE_DIR) / ".." / "shared";
  return root / "data" / "models" / "tinystories-656k";
}

std::vector<Case> read_cases() {
  const Json json =
      parse_json(read_text_file(std::filesystem::path(ARC_SOURCE_DIR) / "tests/goldens/tinystories/expected.json"),
                 "expected.json");
  std::vector<Case> cases;
  for (const Json& c : json.at("cases")) {
    cases.push_back({.text = c.at("text").get<std::string>(),
                     .prompt = c.at("prompt").get<std::vector<int32_t>>(),
                     .output = c.at("output").get<std::vector<int32_t>>()});
  }
  return cases;
}

class Tinystories : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(model_path())) {
      std::printf("skipped: no model at %s\n", model_path().c_str());
      GTEST_SKIP();
    }
    cases_ = read_cases();
    ASSERT_EQ(cases_.size(), 10u);
  }

  static EngineConfig config() { return {.model = model_path(), .dtype = "f32", .kv_memory_bytes = 64 << 20}; }
  static SamplingParams greedy(int32_t n_tokens) {
    return {.temperature = 0.0f, .max_tokens = n_tokens, .ignore_eos = true};
  }

  // The case with the first `n_given` tokens of its answer already in the prompt.
  static Request continued(const Case& c, size_t n_given) {
    std::vector<int32_t> tokens = c.prompt;
    tokens.insert(tokens.end(), c.output.begin(), c.output.begin() + static_cast<ptrdiff_t>(n_given));
    return {.prompt = TokenPrompt{std::move(tokens)},
            .sampling = greedy(static_cast<int32_t>(c.output.size() - n_given))};
  }
  // What is still to come after `n_given`.
  static std::vector<int32_t> rest(const Case& c, size_t n_given) {
    return {c.output.begin() + static_cast<ptrdiff_t>(n_given), c.output.end()};
  }
  // Sends all cases at once and compares.
  void expect_all(Engine& engine, size_t n_given, const std::string& what) {
    Client client(engine);
    for (const Case& c : cases_) client.send(continued(c, n_given));
    const std::vector<Answer> answers = client.wait();
    for (size_t i = 0; i < cases_.size(); ++i)
      EXPECT_EQ(answers[i].tokens, rest(cases_[i], n_given)) << what << ", prompt " << i;
  }

  std::vector<Case> cases_;
};

TEST_F(Tinystories, AloneFromText) {
  const auto engine = load_engine(config());
  for (const Case& c : cases_) {
    EXPECT_EQ(engine->tokenize(TextPrompt{c.text}), c.prompt);
    Client client(*engine);
    client.send({.prompt = TextPrompt{c.text}, .sampling = greedy(128)});
    const Answer answer = client.wait()[0];
    EXPECT_EQ(answer.tokens, c.output) << c.text;
    EXPECT_EQ(answer.finish, FinishReason::length);
    EXPECT_EQ(answer.usage.completion_tokens, 128);
  }
}

TEST_F(Tinystories, InABatchOfSixteen) {
  const auto engine = load_engine(config());
  Client client(*engine);
  for (size_t i = 0; i < 16; ++i) client.send(continued(cases_[i % 10], 0));
  const std::vector<Answer> answers = client.wait();
  for (size_t i = 0; i < 16; ++i) EXPECT_EQ(answers[i].tokens, cases_[i % 10].output) << i;
}

TEST_F(Tinystories, EveryChunkSize) {
  const bool full = std::getenv("ARC_FULL") != nullptr;
  for (int chunk = 1; chunk <= 64; ++chunk) {
    if (!full && chunk > 3 && chunk % 9 != 1) continue;
    EngineConfig c = config();
    c.max_batched_tokens = chunk;
    c.max_seqs = std::min(chunk, 16);
    c.prefix_cache = false;
    expect_all(*load_engine(c), 64, "chunk " + std::to_string(chunk));
  }
}

TEST_F(Tinystories, PreemptedBySwapAndByRecomputation) {
  for (const bool swap : {true, false}) {
    EngineConfig c = config();
    c.max_seqs = 10;
    c.kv_memory_bytes = 12 * 64 * 1024;  // a dozen blocks for ten sequences of three
    c.swap_memory_bytes = swap ? 64 << 20 : 1;
    const auto engine = load_engine(c);
    expect_all(*engine, 0, swap ? "swap" : "recompute");
    const EngineStats stats = engine->stats();
    EXPECT_GT(swap ? stats.preemptions_swap : stats.preemptions_recompute, 0);
  }
}

TEST_F(Tinystories, ThroughAPrefixHit) {
  const auto engine = load_engine(config());
  expect_all(*engine, 100, "cold");
  Client client(*engine);
  for (const Case& c : cases_) client.send(continued(c, 100));
  const std::vector<Answer> answers = client.wait();
  for (size_t i = 0; i < cases_.size(); ++i) {
    EXPECT_EQ(answers[i].tokens, rest(cases_[i], 100)) << i;
    EXPECT_EQ(answers[i].usage.cached_tokens, 64) << i;
  }
}

}  // namespace
}  // namespace arc::test
