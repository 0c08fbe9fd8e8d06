// Tests of response writing: JSON text against nlohmann's parser, log probabilities in both forms, metrics.
#include "serve/openai_response.h"

#include <limits>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "base/counter_rng.h"
#include "base/json.h"
#include "base/utf8.h"
#include "serve/json_text.h"
#include "serve/metrics.h"

namespace arc::serve {
namespace {

TEST(JsonText, AnyBytesBecomeAStringThatReadsBack) {
  for (uint32_t i = 0; i < 20'000; ++i) {
    std::string text;
    for (uint32_t j = 0; j < i % 40; ++j) {
      const uint32_t random = philox(1, i, j).word[0];
      random % 4 == 0 ? utf8_append(text, random % 0xD800) : text.push_back(static_cast<char>(random >> 8));
    }
    std::string json;
    append_json_string(json, text);
    ASSERT_EQ(parse_json(json, "string").get<std::string>(), utf8_replace_invalid(text));
    ASSERT_EQ(json.find('\n'), std::string::npos);  // an SSE event's data is one line
  }
}

TEST(JsonText, LogprobsAreNumbers) {
  const auto written = [](float value) {
    std::string out;
    append_json_logprob(out, value);
    return out;
  };
  EXPECT_EQ(written(-0.1f), "-0.1");
  EXPECT_EQ(written(-1e-20f), "-1e-20");
  EXPECT_EQ(written(-std::numeric_limits<float>::infinity()), "-9999");
  EXPECT_EQ(written(std::numeric_limits<float>::quiet_NaN()), "-9999");
}

PositionLogprobs position(const std::string& chosen, std::vector<TokenLogprob> top = {}) {
  return {.chosen = {.token = 7, .bytes = chosen, .logprob = -1}, .top = std::move(top)};
}

TEST(Logprobs, CompletionOffsetsCountCharactersAcrossTakes) {
  LogprobsWriter writer(Api::completions, false);
  writer.add(position("\xC3\xA9t"), false);
  EXPECT_EQ(writer.take(), R"({"tokens":["ét"],"token_logprobs":[null],"top_logprobs":[null],"text_offset":[0]})");
  EXPECT_EQ(writer.take(), "null");
  writer.add(position("\xE2\x82"));
  writer.add(position("\xAC"));
  writer.add(position("x"));
  EXPECT_EQ(parse_json(writer.take(), "logprobs")["text_offset"], Json({2, 3, 3}));
}

TEST(Logprobs, CompletionAlternativesHaveUniqueNamesAndTheChosenToken) {
  LogprobsWriter writer(Api::completions, false);
  writer.add(position("c", {{.token = 1, .bytes = "a", .logprob = -0.5f}, {.token = 2, .bytes = "a", .logprob = -2}}));
  EXPECT_EQ(writer.take(),
            R"({"tokens":["c"],"token_logprobs":[-1],"top_logprobs":[{"a":-0.5,"c":-1}],"text_offset":[0]})");
}

TEST(Logprobs, ChatHasBytesAndIdsOnRequest) {
  LogprobsWriter writer(Api::chat, true);
  writer.add(position("\xFF", {{.token = 9, .bytes = "b", .logprob = -3}}));
  EXPECT_EQ(writer.take(), R"({"content":[{"token":"token_id:7","logprob":-1,"bytes":[255],"top_logprobs":)"
                           R"([{"token":"token_id:9","logprob":-3,"bytes":[98]}]}],"refusal":null})");
}

TEST(Answers, HostileNamesAndTextsKeepTheJsonWhole) {
  const AnswerHead head{.api = Api::chat, .id = "i\"d", .created = 5, .model = "m\\\n"};
  const std::string text = "a\"b\x01\xFF";
  const Json whole =
      parse_json(whole_answer(head, {{.text = text}}, {.prompt = 1, .cached = 2, .completion = 3}), "whole");
  EXPECT_EQ(whole["model"], "m\\\n");
  EXPECT_EQ(whole["choices"][0]["message"]["content"], utf8_replace_invalid(text));
  EXPECT_EQ(whole["usage"]["total_tokens"], 4);
  std::string stream;
  ChunkWriter(head, false).append_text(stream, 3, text, "null", FinishReason::length);
  ASSERT_TRUE(stream.starts_with("data: ") && stream.ends_with("\n\n"));
  const Json chunk = parse_json(stream.substr(6), "chunk");
  EXPECT_EQ(chunk["choices"][0]["delta"]["content"], utf8_replace_invalid(text));
  EXPECT_EQ(chunk["choices"][0]["index"], 3);
  EXPECT_EQ(chunk["choices"][0]["finish_reason"], "length");
  EXPECT_FALSE(chunk.contains("usage"));
}

TEST(Metrics, NamesAreUnique) {
  const std::string text = metrics_text({.requests_total = 12, .cache_usage = 0.25});
  EXPECT_NE(text.find("\narc_requests_total 12\n"), std::string::npos);
  EXPECT_NE(text.find("\narc_cache_usage_ratio 0.25\n"), std::string::npos);
  std::set<std::string> names;
  for (size_t at = 0; (at = text.find("# TYPE ", at)) != std::string::npos; ++at) {
    const std::string name = text.substr(at + 7, text.find(' ', at + 7) - at - 7);
    EXPECT_TRUE(names.insert(name).second) << name;
  }
  EXPECT_EQ(names.size(), 17u);
}

}  // namespace
}  // namespace arc::serve
