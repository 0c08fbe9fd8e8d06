// Tests of byte pair encoding against the definition, carried out step by step.
#include "text/bpe.h"

#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "base/counter_rng.h"
#include "base/error.h"

namespace arc {
namespace {

using Ids = std::vector<int32_t>;

Ids encode(const Bpe& bpe, std::string_view text) {
  BpeScratch scratch;
  Ids ids;
  bpe.encode(text, scratch, ids);
  return ids;
}

// The definition: look at all pairs, merge the leftmost of lowest rank, and again.
std::vector<std::string> merge_by_definition(std::vector<std::string> parts, const std::vector<MergeEntry>& merges) {
  std::map<MergeEntry, size_t> ranks;
  for (size_t i = 0; i < merges.size(); ++i) ranks[merges[i]] = i;
  for (;;) {
    size_t best = 0, lowest = merges.size();
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto it = ranks.find({parts[i], parts[i + 1]});
      if (it == ranks.end() || it->second >= lowest) continue;
      best = i;
      lowest = it->second;
    }
    if (lowest == merges.size()) return parts;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

struct RandomModel {
  std::vector<std::string> characters = {"a", "b", "c", "\u2581", ">"};
  std::vector<TokenEntry> tokens;
  std::vector<MergeEntry> merges;
};

// A vocabulary that grows by merging random pairs; every byte token is there too.
RandomModel random_model(uint64_t seed) {
  RandomModel model;
  std::vector<std::string> texts = model.characters;
  std::map<std::string, int64_t> ids;
  const auto add = [&](const std::string& text) { ids.try_emplace(text, static_cast<int64_t>(ids.size())); };
  for (const std::string& text : texts) add(text);
  for (int b = 0; b < 256; ++b)
    add("<0x" + std::string(1, "0123456789ABCDEF"[b / 16]) + "0123456789ABCDEF"[b % 16] + ">");
  for (uint32_t i = 0; i < 60; ++i) {
    const auto random = philox(seed, i, 0);
    const std::string left = texts[random.word[0] % texts.size()], right = texts[random.word[1] % texts.size()];
    if (left.size() + right.size() > 12) continue;
    add(left + right);
    texts.push_back(left + right);
    model.merges.emplace_back(left, right);
  }
  model.tokens.assign(ids.begin(), ids.end());
  return model;
}

TEST(Bpe, FollowsTheDefinition) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const RandomModel model = random_model(seed);
    std::vector<MergeEntry> merges;  // of equal pairs the last counts
    for (size_t i = 0; i < model.merges.size(); ++i) {
      const bool repeated = std::count(model.merges.begin() + static_cast<std::ptrdiff_t>(i) + 1, model.merges.end(),
                                       model.merges[i]) > 0;
      merges.push_back(repeated ? MergeEntry{} : model.merges[i]);
    }
    const Bpe bpe(Vocabulary(model.tokens), model.merges, {.byte_fallback = seed % 2 == 0});
    for (uint32_t length = 1; length < 80; ++length) {
      std::vector<std::string> parts;
      std::string text;
      for (uint32_t i = 0; i < length; ++i) {
        parts.push_back(model.characters[philox(seed, length, i).word[0] % model.characters.size()]);
        text += parts.back();
      }
      Ids expected;
      for (const std::string& part : merge_by_definition(parts, merges))
        expected.push_back(*bpe.vocabulary().find(part));
      ASSERT_EQ(encode(bpe, text), expected) << text;
    }
  }
}

TEST(Bpe, LongTextWithoutSpacesTakesNoQuadraticTime) {
  const Bpe bpe(Vocabulary({{"a", 0}, {"aa", 1}, {"aaa", 2}}), {{"a", "a"}, {"aa", "a"}}, {});
  EXPECT_EQ(encode(bpe, std::string(1 << 20, 'a')).size(), size_t{1} << 19);  // minutes, if it did
}

TEST(Bpe, RefusesMergesOfUnknownTokens) {
  const std::vector<TokenEntry> tokens = {{"a", 0}, {"b", 1}, {"ab", 2}};
  for (const MergeEntry& merge : {MergeEntry{"a", "c"}, MergeEntry{"c", "a"}, MergeEntry{"b", "a"}}) {
    EXPECT_THROW(Bpe(Vocabulary(tokens), {merge}, {}), Error);
  }
  EXPECT_THROW(Bpe(Vocabulary(tokens), {}, {.unk_token = "<unk>"}), Error);
}

TEST(Vocabulary, HolesAndForeignIdsHaveNoText) {
  const Vocabulary vocabulary({{"a", 5}, {"b", 2}});
  EXPECT_EQ(vocabulary.size(), 6);
  EXPECT_EQ(*vocabulary.text(5), "a");
  for (const int32_t id : {0, 3, 6, 1 << 30, -1, INT32_MIN}) EXPECT_EQ(vocabulary.text(id), nullptr) << id;
  EXPECT_EQ(vocabulary.find("b"), 2);
  EXPECT_EQ(vocabulary.find("c"), std::nullopt);
}

TEST(Vocabulary, RefusesIdsThatCannotBe) {
  EXPECT_THROW(Vocabulary({{"a", -1}}), Error);
  EXPECT_THROW(Vocabulary({{"a", int64_t{1} << 40}}), Error);
  EXPECT_THROW(Vocabulary({{"a", 1}, {"b", 1}}), Error);
  EXPECT_THROW(Vocabulary({{"a", 1}, {"a", 2}}), Error);
}

}  // namespace
}  // namespace arc
