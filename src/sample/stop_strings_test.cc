// Tests of stop strings: against a search over the whole text, for every way of cutting it.
#include "sample/stop_strings.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "base/counter_rng.h"
#include "base/utf8.h"

namespace arc {
namespace {

struct Found {
  std::string text;
  std::optional<std::string> stop;
};

// The definition, by brute force: the match that ends first, and of those the longest.
Found search(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<std::string> best;
    for (const std::string& s : stops) {
      const bool ends_here = s.size() <= end && text.compare(end - s.size(), s.size(), s) == 0;
      if (ends_here && (!best || s.size() > best->size())) best = s;
    }
    if (best) return {text.substr(0, end - best->size()), best};
  }
  return {text, std::nullopt};
}

// Bytes at the end of `text` that a stop string may start with: no matcher may show them yet.
size_t must_hold(const std::string& text, const std::vector<std::string>& stops) {
  size_t longest = 0;
  for (const std::string& s : stops) {
    for (size_t n = 1; n < s.size() && n <= text.size(); ++n) {
      if (text.compare(text.size() - n, n, s, 0, n) == 0) longest = std::max(longest, n);
    }
  }
  return longest;
}

// Small alphabets make borders, overlaps and near misses common.
std::string random_text(uint64_t stream, size_t length) {
  const std::vector<std::string> alphabet = {"a", "b", "é", "日", "😀"};
  std::string text;
  for (size_t i = 0; i < length; ++i) text += alphabet[philox(stream, i, 3).word[0] % (stream % 2 == 0 ? 2 : 5)];
  return text;
}

TEST(StopStrings, EqualASearchOverTheWholeText) {
  int n_stopped = 0;
  for (uint64_t trial = 0; trial < 5000; ++trial) {
    const auto pick = [&](uint64_t k, uint32_t n) { return philox(trial, k, 1).word[0] % n; };
    const std::string text = random_text(2 * trial + pick(0, 2), 1 + pick(1, 40));
    std::vector<std::string> stops;
    for (uint32_t s = 0; s <= pick(2, 4); ++s) stops.push_back(random_text(7919 * trial + s, 1 + pick(3 + s, 6)));
    const Found expected = search(text, stops);
    n_stopped += expected.stop.has_value();

    StopStrings matcher(stops);
    std::string shown, seen;
    std::optional<std::string> stop;
    for (size_t at = 0, k = 10; at < text.size() && !stop; ++k) {
      const size_t n = std::min<size_t>(1 + pick(k, 5), text.size() - at);  // cuts characters, too
      seen += text.substr(at, n);
      const StopStrings::Piece piece = matcher.push(text.substr(at, n));
      at += n;
      ASSERT_TRUE(is_valid_utf8(piece.text));
      shown += piece.text;
      stop = piece.stop;
      if (stop) break;
      ASSERT_EQ(shown, seen.substr(0, utf8_complete_prefix(seen.substr(0, seen.size() - must_hold(seen, stops)))));
    }
    if (!stop) shown += matcher.finish();
    ASSERT_EQ(shown, expected.text) << trial;
    ASSERT_EQ(stop, expected.stop) << trial;
  }
  EXPECT_GT(n_stopped, 1000);
  EXPECT_LT(n_stopped, 4900);
}

TEST(StopStrings, WithoutAnyNothingIsHeldBack) {
  StopStrings none({});
  EXPECT_EQ(none.push("abc").text, "abc");
  EXPECT_EQ(none.finish(), "");
}

TEST(StopStrings, MatchesBeforeTheMinimumDoNotCount) {
  StopStrings matcher({"stop"});
  EXPECT_EQ(matcher.push("a stop b sto", false).text, "a stop b ");
  const StopStrings::Piece piece = matcher.push("p c", true);
  EXPECT_EQ(piece.text, "");
  EXPECT_EQ(piece.stop, "stop");
}

}  // namespace
}  // namespace arc
