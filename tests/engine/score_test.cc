// Scores of a loaded model: what the executor's logits say, on every executor, alone and in company.
#include "arc/score.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"

#include "base/error.h"
#include "engine/tiny_folder.h"

namespace arc::test {
namespace {

class BehaviourScore : public testing::TestWithParam<const char*> {
 protected:
  static constexpr int kVocab = 129;
  static constexpr int32_t kLength = 128;

  BehaviourScore() : folder_("arc_score") {
    write_model_folder(read_golden("qwen3"), kVocab, folder_.path());
    engine_ = load_engine({.model = folder_.path(),
                           .max_seqs = 4,
                           .max_batched_tokens = 24,
                           .max_seq_len = kLength,
                           .kv_memory_bytes = 64 << 20,
                           .executor = GetParam()});
  }
  static std::vector<int32_t> text(int32_t n, int32_t seed) {
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < n; ++i) tokens.push_back((seed + 37 * i + i * i) % kVocab);
    return tokens;
  }

  TemporaryFolder folder_;
  std::unique_ptr<Engine> engine_;
};

TEST_P(BehaviourScore, IsTheSoftmaxOfTheLogits) {
  const std::vector<int32_t> tokens = text(kLength, 3);  // as long as the model allows, in six steps
  std::vector<float> logits(tokens.size() * kVocab, NAN);
  const Score got = score(*engine_, {{.tokens = tokens, .top = 2, .logits = logits.data()}})[0];
  ASSERT_EQ(got.logprobs.size(), tokens.size() - 1);
  ASSERT_EQ(got.top.size(), tokens.size() - 1);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const float* row = logits.data() + i * kVocab;
    double sum = 0;
    for (int t = 0; t < kVocab; ++t) sum += std::exp(static_cast<double>(row[t]));
    ASSERT_TRUE(std::isfinite(sum)) << i;
    if (i + 1 == tokens.size()) continue;
    EXPECT_NEAR(got.logprobs[i], row[tokens[i + 1]] - std::log(sum), 1e-5) << i;
    EXPECT_EQ(got.top[i][0].token, std::max_element(row, row + kVocab) - row);
    EXPECT_GE(got.top[i][0].logprob, got.top[i][1].logprob);
  }
}

TEST_P(BehaviourScore, IsTheSameInCompany) {
  std::vector<ScoreRequest> requests;
  std::vector<std::vector<float>> logits;
  for (const int32_t n : {1, 2, 30, 100, 7}) {
    logits.emplace_back(static_cast<size_t>(n) * kVocab);
    requests.push_back({.tokens = text(n, n), .logits = logits.back().data()});
  }
  const std::vector<Score> together = score(*engine_, requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    std::vector<float> alone(logits[i].size());
    requests[i].logits = alone.data();
    EXPECT_EQ(score(*engine_, {requests[i]})[0].logprobs, together[i].logprobs);
    EXPECT_EQ(alone, logits[i]);
  }
}

TEST_P(BehaviourScore, TooLongATextIsRefused) {
  EXPECT_THROW(score(*engine_, {{.tokens = text(kLength + 1, 3)}}), Error);
  EXPECT_THROW(engine_->submit({.prompt = TokenPrompt{{1, 2}}, .prompt_logits = std::vector<float>(2 * kVocab).data()},
                               [](const Event&) {}),
               Error);
}

INSTANTIATE_TEST_SUITE_P(Executors, BehaviourScore, testing::Values("ref", "cpu"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace arc::test
