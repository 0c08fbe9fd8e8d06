// Tests of Unigram against the definition (all ways to cut), of WordPiece, and of the trie below them.
#include "text/unigram.h"

#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "base/counter_rng.h"
#include "base/error.h"
#include "text/trie.h"
#include "text/wordpiece.h"

namespace arc {
namespace {

using Ids = std::vector<int32_t>;

Ids encode(const Unigram& model, std::string_view text) {
  UnigramScratch scratch;
  Ids ids;
  model.encode(text, scratch, ids);
  return ids;
}

// The largest sum of scores over all ways to cut `text`, which has no unknown characters.
double best_sum(const std::vector<ScoredToken>& tokens, std::string_view text) {
  if (text.empty()) return 0;
  double best = -1e300;
  for (const auto& [token, score] : tokens) {
    if (text.starts_with(token)) best = std::max(best, score + best_sum(tokens, text.substr(token.size())));
  }
  return best;
}

TEST(Unigram, FindsTheLargestSumOfAllWays) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    std::map<std::string, double> scores = {{"a", -3}, {"b", -3.5}, {"c", -4}};
    for (uint32_t i = 0; i < 12; ++i) {
      const auto random = philox(seed, i, 0);
      std::string token;
      for (uint32_t n = 0; n < 2 + random.word[0] % 3; ++n) token += "abc"[philox(seed, i, n + 1).word[1] % 3];
      scores[token] = -4 - static_cast<double>(random.word[1] % 1000) / 200;
    }
    const std::vector<ScoredToken> tokens(scores.begin(), scores.end());
    const Unigram model(tokens, {});
    for (uint32_t length = 1; length < 12; ++length) {
      std::string text;
      for (uint32_t i = 0; i < length; ++i) text += "abc"[philox(seed, length, i).word[2] % 3];
      double sum = 0;
      std::string joined;
      for (const int32_t id : encode(model, text)) {
        sum += tokens[static_cast<size_t>(id)].second;
        joined += tokens[static_cast<size_t>(id)].first;
      }
      EXPECT_EQ(joined, text);
      EXPECT_NEAR(sum, best_sum(tokens, text), 1e-9) << text;
    }
  }
}

TEST(Unigram, UnknownCharactersAreOneTokenOrBytes) {
  const std::vector<ScoredToken> tokens = {{"<unk>", 0}, {"a", -1}, {"<0xC3>", -5}, {"<0xA9>", -5}};
  EXPECT_EQ(encode(Unigram(tokens, {.unk_id = 0}), "éxa中"), (Ids{0, 1, 0}));
  EXPECT_EQ(encode(Unigram(tokens, {.unk_id = 0, .byte_fallback = true}), "éa中"), (Ids{2, 3, 1, 0}));
  EXPECT_THROW(encode(Unigram(tokens, {}), "é"), Error);
  EXPECT_THROW(Unigram(tokens, {.unk_id = 4}), Error);
  EXPECT_THROW(Unigram({{std::string(2000, 'a'), 0.0}}, {}), Error);
}

// "a", "b" beat "ab" by less than a float near 92,160 can tell, but by enough for sums that started anew at 100,000.
TEST(Unigram, FloatSumsStartAnew) {
  const std::vector<ScoredToken> tokens = {{"<unk>", 0}, {"x", -1024}, {"a", -1}, {"b", -1}, {"ab", -2.003}};
  const auto last = [&](size_t n, bool as_sentencepiece) {
    Ids ids = encode(Unigram(tokens, {.unk_id = 0, .as_sentencepiece = as_sentencepiece}), std::string(n, 'x') + "ab");
    ids.erase(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(n));
    return ids;
  };
  EXPECT_EQ(last(90, false), (Ids{2, 3}));
  EXPECT_EQ(last(90, true), (Ids{4}));
  EXPECT_EQ(last(98, true), (Ids{2, 3}));
}

TEST(Unigram, HugeScoresDoNoHarm) {
  const std::vector<ScoredToken> tokens = {{"a", 1e308}, {"b", -1e308}, {"ab", 1e308}, {"aa", -1e308}};
  EXPECT_FALSE(encode(Unigram(tokens, {.unk_id = 0}), "aabbaabbabx").empty());
}

TEST(WordPiece, TakesTheLongestOrTheWordIsUnknown) {
  const WordPiece model(Vocabulary({{"[UNK]", 0}, {"un", 1}, {"##aff", 2}, {"##able", 3}, {"##a", 4}}), {});
  const auto ids = [&](std::string_view word) {
    Ids out;
    model.encode(word, out);
    return out;
  };
  EXPECT_EQ(ids("unaffable"), (Ids{1, 2, 3}));
  EXPECT_EQ(ids("unaffablex"), (Ids{0}));
  EXPECT_EQ(ids("affable"), (Ids{0}));
  EXPECT_EQ(ids("un" + std::string(98, 'a')).size(), 99u);
  EXPECT_EQ(ids("un" + std::string(99, 'a')), (Ids{0}));
  const WordPiece without(Vocabulary({{"un", 1}}), {});
  Ids out;
  EXPECT_THROW(without.encode("x", out), Error);
}

TEST(Trie, FindsTheLongest) {
  const Trie trie({{"ab", 0}, {"a", 1}, {"abcd", 2}, {"", 3}, {"ab", 4}, {"\xff", 5}});
  EXPECT_EQ(trie.longest("abcx").value, 0);
  EXPECT_EQ(trie.longest("abcd").size, 4u);
  EXPECT_EQ(trie.longest("ax").value, 1);
  EXPECT_EQ(trie.longest("x").value, -1);
  EXPECT_EQ(trie.longest("\xff").value, 5);
  EXPECT_EQ(trie.walk(Trie::kRoot, "abc") == Trie::kNowhere, false);
  EXPECT_EQ(trie.walk(Trie::kRoot, "abd"), Trie::kNowhere);
  EXPECT_EQ(Trie().longest("a").value, -1);
}

}  // namespace
}  // namespace arc
