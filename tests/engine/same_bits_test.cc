// The promises of the engine for every family, hybrids with recurrent states among them, on every executor: an answer
// does not depend on who else is in the batch, on chunk sizes, on preemption, on prefix hits, on forks or on threads.
// Sampled, not greedy, so that small differences show.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <random>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "base/json.h"
#include "engine/client.h"
#include "engine/tiny_folder.h"
#include "parity/wide_heads.h"

namespace arc::test {
namespace {

constexpr int kRequests = 6;
constexpr int kAnswerTokens = 40;

// Prompts of 70 to 145 tokens: across tiles and windows. The last two share 128 tokens. Of hybrids with prompts of 540
// to 615 they share 512, behind which recurrent states are kept.
struct Case {
  std::string golden, executor, cache = "auto";
  bool long_prompts = false;

  int first_prompt() const { return long_prompts ? 540 : 70; }
  int shared() const { return long_prompts ? 512 : 128; }
};

// A compressed cache needs wide heads; Qwen3-Next rotates 0.3 of a head.
Golden golden_of(const Case& c) {
  Golden golden =
      c.cache == "auto" ? read_golden(c.golden) : with_wide_heads(c.golden, c.golden == "qwen3_next" ? 80 : 64, 0);
  if (c.long_prompts) {
    Json config = parse_json(golden.config_json, "config.json");
    config["max_position_embeddings"] = 1024;
    golden.config_json = config.dump();
  }
  return golden;
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.golden + "_" + info.param.executor;
  if (info.param.cache != "auto") name += "_" + info.param.cache;
  if (info.param.long_prompts) name += "_long";
  std::ranges::replace_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
}

class SameBits : public testing::TestWithParam<Case> {
 protected:
  SameBits()
      : golden_(golden_of(GetParam())),
        executor_(GetParam().executor),
        folder_("arc_same_bits_" + golden_.name + "_" + executor_) {
    const Json config = parse_json(golden_.config_json, "config.json");
    vocab_ = config.at("vocab_size").get<int>();
    write_model_folder(golden_, vocab_, folder_.path());
    std::mt19937 random(7);
    for (int i = 0; i < kRequests; ++i) {
      std::vector<int32_t> prompt(static_cast<size_t>(GetParam().first_prompt() + 15 * i));
      for (int32_t& t : prompt) t = static_cast<int32_t>(random() % static_cast<unsigned>(vocab_));
      prompts_.push_back(prompt);
    }
    std::copy_n(prompts_[kRequests - 1].begin(), GetParam().shared(), prompts_[kRequests - 2].begin());
    expected_ = alone();
  }

  EngineConfig config() const {
    return {.model = folder_.path(),
            .dtype = GetParam().cache == "auto" ? "f32" : "bf16",
            .cache_type = GetParam().cache,
            .max_seqs = 16,
            .max_seq_len = GetParam().long_prompts ? 704 : 192,
            .kv_memory_bytes = 256 << 20,
            .executor = executor_};
  }

  Request request(int i) const {
    return {.prompt = TokenPrompt{prompts_[i]},
            .sampling = {.temperature = 0.8f,
                         .top_p = 0.95f,
                         .repetition_penalty = 1.1f,
                         .seed = 100 + i,
                         .max_tokens = kAnswerTokens,
                         .ignore_eos = true}};
  }

  std::vector<std::vector<int32_t>> alone() const {
    EngineConfig c = config();
    c.prefix_cache = false;
    const auto engine = load_engine(c);
    std::vector<std::vector<int32_t>> out;
    for (int i = 0; i < kRequests; ++i) {
      Client client(*engine);
      client.send(request(i));
      out.push_back(client.wait()[0].tokens);
    }
    return out;
  }

  void expect_batch(Engine& engine, const char* what) const {
    Client client(engine);
    for (int i = 0; i < kRequests; ++i) client.send(request(i));
    const std::vector<Answer> answers = client.wait();
    for (int i = 0; i < kRequests; ++i) {
      EXPECT_EQ(answers[i].tokens, expected_[i]) << what << ", request " << i;
      EXPECT_EQ(answers[i].finish, FinishReason::length);
    }
  }

  // Whether an answer can start behind another's prompt: recurrent states are kept every 512 tokens only.
  bool finds_prefixes() const {
    const std::string& golden = GetParam().golden;
    return GetParam().long_prompts || (golden != "qwen3_next" && golden != "granite_hybrid");
  }

  // All at once: chunked prompts, sequences that leave the cache and come back, and with long prompts those whose
  // beginning lies in it. From the smallest cache that holds one sequence up, until one is so tight that sequences had
  // to leave.
  void expect_under_preemption(int64_t swap_memory_bytes, int64_t EngineStats::* preemptions) const {
    // The cache always holds the windows of all sequences.
    const std::string& golden = GetParam().golden;
    if (golden == "mistral" || golden == "starcoder2" || golden.starts_with("phi3")) {
      GTEST_SKIP() << "windows in all layers";
    }
    EngineConfig c = config();
    c.max_seqs = kRequests;
    c.max_batched_tokens = 64;
    c.swap_memory_bytes = swap_memory_bytes;
    EngineStats stats;
    const auto done = [&] {
      return stats.*preemptions > 0 && (stats.cached_tokens_total > 0 || !GetParam().long_prompts);
    };
    for (c.kv_memory_bytes = 64 << 10; !done(); c.kv_memory_bytes += c.kv_memory_bytes / 64) {
      ASSERT_LT(c.kv_memory_bytes, 64 << 20) << "no size preempts";
      try {
        const auto engine = load_engine(c);
        for (int i : {kRequests - 1, kRequests - 2}) {
          Client client(*engine);
          client.send(request(i));
          EXPECT_EQ(client.wait()[0].tokens, expected_[i]) << "through a prefix, request " << i;
        }
        expect_batch(*engine, "tight");
        stats = engine->stats();
      } catch (const Error&) {
        continue;
      }
    }
    std::printf("  %ld swapped, %ld recomputed, %ld of %ld prompt tokens found in the cache\n", stats.preemptions_swap,
                stats.preemptions_recompute, stats.cached_tokens_total, stats.prompt_tokens_total);
  }

  Golden golden_;
  std::string executor_;
  TemporaryFolder folder_;
  int vocab_ = 0;
  std::vector<std::vector<int32_t>> prompts_, expected_;
};

TEST_P(SameBits, BatchedEqualsAlone) {
  expect_batch(*load_engine(config()), "batch");
}

TEST_P(SameBits, ChunkSizes) {
  for (int chunk : {1, 7, 33, 100}) {
    EngineConfig c = config();
    c.max_batched_tokens = chunk;
    c.max_seqs = std::min(chunk, 4);
    expect_batch(*load_engine(c), "chunks");
  }
}

TEST_P(SameBits, SecondTimeThroughThePrefixCache) {
  const auto engine = load_engine(config());
  expect_batch(*engine, "first");
  expect_batch(*engine, "second");
  if (finds_prefixes()) {
    EXPECT_GT(engine->stats().cached_tokens_total, 0);
  }
}

// Prompts that part from one in the cache before, at and behind each end of a tile, or of what states are kept for.
TEST_P(SameBits, PrefixHitsAtEachTileBoundary) {
  EngineConfig cold = config();
  cold.prefix_cache = false;
  const auto engine = load_engine(config()), other = load_engine(cold);
  const auto answer = [](Engine& on, const Request& asked) {
    Client client(on);
    client.send(asked);
    return client.wait()[0].tokens;
  };
  answer(*engine, request(kRequests - 1));
  const int first = GetParam().long_prompts ? 512 : 64;
  for (const int shared : {first - 1, first, first + 1, 127, 128, 129}) {
    Request asked = request(0);
    std::vector<int32_t>& prompt = std::get<TokenPrompt>(asked.prompt).tokens;
    prompt.resize(20);
    prompt.insert(prompt.begin(), prompts_[kRequests - 1].begin(), prompts_[kRequests - 1].begin() + shared);
    const int64_t cached_before = engine->stats().cached_tokens_total;
    EXPECT_EQ(answer(*engine, asked), answer(*other, asked)) << shared << " shared tokens";
    const int64_t cached = engine->stats().cached_tokens_total - cached_before;
    EXPECT_LE(cached, shared);
    if (finds_prefixes() && shared >= first) {
      EXPECT_GT(cached, 0) << shared << " shared tokens";
    }
  }
}

TEST_P(SameBits, Threads) {
  if (executor_ != "cpu") GTEST_SKIP() << "one thread";
  for (int threads : {1, 2, 3}) {
    EngineConfig c = config();
    c.threads = threads;
    c.max_batched_tokens = 100;
    expect_batch(*load_engine(c), "threads");
  }
}

TEST_P(SameBits, OnTwoRanksTheBatchEqualsAloneToo) {
  if (executor_ != "ref") GTEST_SKIP() << "one rank";
  EngineConfig c = config();
  c.tensor_parallel = 2;
  const auto engine = load_engine(c);
  std::vector<Answer> alone, batched;
  for (int i = 0; i < kRequests; ++i) {
    Client client(*engine);
    client.send(request(i));
    alone.push_back(client.wait()[0]);
  }
  Client client(*engine);
  for (int i = 0; i < kRequests; ++i) client.send(request(i));
  batched = client.wait();
  for (int i = 0; i < kRequests; ++i) EXPECT_EQ(alone[i].tokens, batched[i].tokens);
}

TEST_P(SameBits, ForkedAnswersEqualThemselvesAlone) {
  const auto engine = load_engine(config());
  Request single = request(2);  // hot enough that answers differ
  single.sampling.temperature = 5.0f;
  single.sampling.top_p = 1.0f;
  Request many = single;
  many.sampling.n = 3;
  Client client(*engine);
  client.send(single);
  const std::vector<int32_t> expected = client.wait()[0].tokens;
  client.send(many);
  const std::vector<Answer> together = client.wait();
  client.send(many);
  for (int i = 0; i < kRequests; ++i) client.send(request(i));
  const std::vector<Answer> crowded = client.wait();
  EXPECT_EQ(together[0].tokens, expected);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(together[i].tokens, crowded[i].tokens) << i;
  EXPECT_NE(together[0].tokens, together[1].tokens);
}

// What was decoded so far, sent as a prompt, goes on in the same way; from 10 tokens to 50, beyond every golden's
// window and original context.
TEST_P(SameBits, DecodingEqualsPrefill) {
  const auto engine = load_engine(config());
  Request whole = request(0);
  std::vector<int32_t>& prompt = std::get<TokenPrompt>(whole.prompt).tokens;
  prompt.resize(10);
  whole.sampling.repetition_penalty = 1.0f;
  Client client(*engine);
  client.send(whole);
  std::vector<int32_t> answer = client.wait()[0].tokens;
  for (size_t part : {5, 9, 10, 11, 12, 25}) {
    Request rest = whole;
    std::vector<int32_t>& so_far = std::get<TokenPrompt>(rest.prompt).tokens;
    so_far.insert(so_far.end(), answer.begin(), answer.begin() + static_cast<ptrdiff_t>(part));
    rest.sampling.max_tokens = kAnswerTokens - static_cast<int>(part);
    client.send(rest);
    EXPECT_EQ(client.wait()[0].tokens,
              std::vector<int32_t>(answer.begin() + static_cast<ptrdiff_t>(part), answer.end()))
        << part;
  }
}

TEST_P(SameBits, PreemptionBySwap) {
  expect_under_preemption(256 << 20, &EngineStats::preemptions_swap);
}

TEST_P(SameBits, PreemptionByRecompute) {
  expect_under_preemption(1, &EngineStats::preemptions_recompute);
}

std::vector<Case> all_goldens() {
  std::vector<Case> cases;
  for (const std::string& golden : generating_names()) {
    for (const char* executor : {"cpu", "ref"}) cases.push_back({golden, executor});
  }
  return cases;
}

std::vector<Case> compressed_caches() {
  std::vector<Case> cases;
  for (const char* type : {"turboquant", "turboquant,boundary=0,recent=0,open=16", "turboquant-3,recent=2",
                           "turboquant-aggressive,recent=0", "turboquant-t3", "turboquant-t4", "q8", "f8e4m3"}) {
    cases.push_back({"qwen3", "cpu", type});
  }
  for (const char* golden : {"gemma2", "gpt_oss", "qwen3_next"}) {
    cases.push_back({golden, "cpu", "turboquant,boundary=0"});
  }
  cases.push_back({"qwen3", "ref", "turboquant,boundary=1"});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Hybrids, SameBits,
                         testing::Values(Case{"qwen3_next", "cpu", "auto", true},
                                         Case{"granite_hybrid", "cpu", "auto", true}),
                         name_of);
INSTANTIATE_TEST_SUITE_P(All, SameBits, testing::ValuesIn(all_goldens()), name_of);
INSTANTIATE_TEST_SUITE_P(Compressed, SameBits, testing::ValuesIn(compressed_caches()), name_of);

}  // namespace
}  // namespace arc::test
