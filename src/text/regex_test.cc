// Tests of the translation from Oniguruma's dialect and Rust's, and of the limits. Whether the classes mean the same is
// for the goldens to say (tokenizer_golden_test.cc).
#include "text/regex.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "base/error.h"
#include "base/utf8.h"

namespace arc {
namespace {

std::vector<std::string> matches(std::string_view pattern, const std::string& text) {
  std::vector<std::string> found;
  for (const Span& span : Regex(pattern).find_all(text))
    found.push_back(text.substr(span.begin, span.end - span.begin));
  return found;
}

using Texts = std::vector<std::string>;

TEST(Regex, FindsLeftToRightWithoutOverlap) {
  EXPECT_EQ(matches("aa", "aaaaa"), (Texts{"aa", "aa"}));
  EXPECT_EQ(matches("x", ""), Texts{});
  EXPECT_EQ(matches("é", "aéé"), (Texts{"é", "é"}));
}

TEST(Regex, EmptyMatchesCountExceptRightAfterAMatch) {
  EXPECT_EQ(matches("x*", "axxb"), (Texts{"", "xx", ""}));
  EXPECT_EQ(matches("(?=é)", "aéé"), (Texts{"", ""}));
}

TEST(Regex, SpaceFollowsUnicodeAndNotPcre) {
  EXPECT_TRUE(matches("\\s", "\u180e").empty());
  EXPECT_EQ(matches("[\\s]", "a\u0085\u3000").size(), 2u);
  EXPECT_EQ(matches("[^\\s]", "a\u0085\u180e").size(), 2u);
  EXPECT_EQ(matches("[\\S]", "a\u0085\u180e").size(), 2u);
}

TEST(Regex, OptionsAnchorsAndIntervalsAreOnigurumas) {
  EXPECT_EQ(matches("a.b", "a\nb").size(), 0u);
  EXPECT_EQ(matches("(?m:a.b)", "a\nb").size(), 1u);
  EXPECT_EQ(matches("^a$", "a\na").size(), 2u);
  EXPECT_EQ(matches("ba{,2}c", "bc bac baac baaac").size(), 3u);
  EXPECT_EQ(matches("\\h+", "xdeadBEEFx g").size(), 1u);
  EXPECT_EQ(matches("\\u00e9", "é").size(), 1u);
  EXPECT_EQ(matches("(?i:'s)", "'S 'ſ").size(), 2u);
}

TEST(Regex, RustsDialectHasItsOwnAnchorsAndIntervals) {
  const auto count = [](std::string_view pattern, const std::string& text) {
    return Regex(pattern, RegexDialect::rust).find_all(text).size();
  };
  EXPECT_EQ(count("^a$", "a\na"), 0u);
  EXPECT_EQ(count("(?m)^a$", "a\na"), 2u);
  EXPECT_EQ(count("(?s:a.b)", "a\nb"), 1u);
  EXPECT_EQ(count("a{1,2}+a", "aa"), 0u);           // possessive
  EXPECT_EQ(matches("a{1,2}+a", "aa").size(), 1u);  // repeated
  EXPECT_EQ(count("\\pL+", "aé1"), 1u);
}

TEST(Regex, TakesNoClassFromPcre) {
  EXPECT_EQ(matches("\\p{L}", "\U00031350").size(), 1u);  // newer than PCRE2's Unicode
  EXPECT_EQ(matches("[a-z&&[^b]]+", "abc"), (Texts{"a", "c"}));
  EXPECT_EQ(matches("[[:^alpha:]\\d]+", "a1-b"), (Texts{"1-"}));
}

TEST(Regex, RefusesWhatItCannotTranslate) {
  for (const char* pattern :
       {"(a)\\1", "\\X", "(?x:a b)", "(?i:straße)", "(?i)pass", "(?<a>b)\\k<a>", "(?~a)", "\\K"}) {
    try {
      Regex regex(pattern);
      FAIL() << pattern;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported) << pattern;
      EXPECT_NE(std::string(error.what()).find(pattern), std::string::npos) << error.what();
    }
  }
}

TEST(Regex, RefusesBrokenPatterns) {
  for (const char* pattern : {"(", "[", "[]", "a\\", "\\p{Nothing}", "\\p{L", "(*UTF)", "\\u12", "\\C"}) {
    EXPECT_THROW(Regex{pattern}, Error) << pattern;
  }
  EXPECT_THROW(Regex{std::string(1 << 20, 'a')}, Error);
  std::string many;
  for (char32_t c = 0x4E00; c < 0x4E00 + 300; ++c) utf8_append(many, c);
  EXPECT_THROW(Regex{many}, Error);  // more different characters than there are symbols
  EXPECT_THROW(Regex{std::string(1000, '(') + std::string(1000, ')')}, Error);
}

TEST(Regex, BacktrackingIsLimited) {
  const Regex regex("(a|aa)+$");
  try {
    regex.find_all(std::string(200, 'a') + "b");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::resource);
  }
}

TEST(Regex, LongRunsStayLinear) {
  const Regex regex("\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+|\\S(?:b|c)*");
  EXPECT_EQ(regex.find_all(std::string(4 << 20, ' ') + "a").size(), 3u);
  EXPECT_EQ(regex.find_all("a" + std::string(100'000, 'b')).size(), 1u);  // more than the JIT's stack holds
}

}  // namespace
}  // namespace arc
