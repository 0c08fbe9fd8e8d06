// Hostile tokenizer files, and long and adversarial texts: a clear error or an answer, soon.
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "base/error.h"
#include "base/utf8.h"
#include "text/json_fields.h"
#include "text/normalizer.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace arc {
namespace {

FileJson part(const char* type) {
  return {{"type", type}};
}

FileJson split(const char* pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
}

FileJson sequence(const char* key, const FileJson& parts) {
  return {{"type", "Sequence"}, {key, parts}};
}

const char* const kLlama3 =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+";

// A model of each kind over a few characters, with stages that go through the whole text.
std::vector<FileJson> tokenizers() {
  const FileJson vocab = {{"[UNK]", 0}, {"a", 1}, {"aa", 2}, {"aaaa", 3}, {"\u2581", 4}, {"##a", 5}, {"1", 6}};
  const FileJson scored =
      FileJson::parse(R"([["<unk>", 0], ["a", -2], ["aa", -3.5], ["aaaa", -6], ["\u2581", -2], ["1", -4]])");
  const FileJson merges = FileJson::parse(R"([["a", "a"], ["aa", "aa"]])");
  const FileJson bpe = {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}, {"unk_token", "[UNK]"}};
  const FileJson unigram = {{"type", "Unigram"}, {"vocab", scored}, {"unk_id", 0}};
  const FileJson words = {
      {"type", "WordPiece"}, {"vocab", vocab}, {"unk_token", "[UNK]"}, {"max_input_chars_per_word", 1 << 30}};
  const FileJson added = {{{"id", 7}, {"content", std::string(900, 'a')}, {"lstrip", true}, {"rstrip", true}},
                          {{"id", 8}, {"content", " "}, {"single_word", true}, {"normalized", false}}};
  const FileJson metaspace = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}};
  return {
      {{"model", bpe}, {"normalizer", part("NFKC")}, {"pre_tokenizer", split(kLlama3)}},
      {{"model", bpe}, {"normalizer", part("NFD")}, {"added_tokens", added}},
      {{"model", unigram}, {"normalizer", part("Nmt")}, {"pre_tokenizer", metaspace}},
      {{"model", unigram},
       {"normalizer", sequence("normalizers", {part("NFC"), part("Lowercase"), part("StripAccents")})}},
      {{"model", words}, {"normalizer", part("BertNormalizer")}, {"pre_tokenizer", part("BertPreTokenizer")}},
      {{"model", words},
       {"pre_tokenizer", sequence("pretokenizers", {part("UnicodeScripts"), part("Whitespace"), part("Digits")})}},
  };
}

std::string repeated(std::string_view text, size_t size) {
  std::string out;
  while (out.size() < size) out += text;
  return out;
}

TEST(TokenizerLimits, LongTextsTakeLinearTime) {
  const size_t size = std::getenv("ARC_FULL") != nullptr ? 1 << 20 : 1 << 18;
  std::string mixed;
  for (char32_t c = 1; mixed.size() < size; c = (c * 75 + 74) % 65537) {
    if (c < 0xD800 || c > 0xDFFF) utf8_append(mixed, c);
  }
  const std::vector<std::string> texts = {
      repeated("a", size),      repeated(" ", size),      repeated("\u0301", size),
      repeated("1", size),      repeated("\n", size),     repeated("a\u0301\u0327", size),
      repeated(" a", size),     repeated(".", size),      repeated("\u1100\u1161", size),
      repeated("\ufdfa", size), repeated("\u4e2d", size), mixed};
  for (const FileJson& file : tokenizers()) {
    const Tokenizer tokenizer = Tokenizer::from_json(file.dump());
    for (const std::string& text : texts) {
      const auto start = std::chrono::steady_clock::now();
      tokenizer.encode(text);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      EXPECT_LT(seconds.count(), 20) << file << " on " << text.substr(0, 8);  // hours, were it quadratic
    }
  }
}

TEST(TokenizerLimits, NormalizersMustNotInflate) {
  FileJson file = tokenizers()[0];
  const FileJson twice = {{"type", "Replace"}, {"pattern", {{"Regex", "."}}}, {"content", std::string(100, 'a')}};
  file["normalizer"] = sequence("normalizers", {twice, twice, twice, twice, twice});
  EXPECT_THROW(Tokenizer::from_json(file.dump()).encode(std::string(1000, 'a')), Error);
  file["normalizer"] = {{"type", "Prepend"}, {"prepend", std::string(1 << 20, 'a')}};
  EXPECT_THROW(Tokenizer::from_json(file.dump()), Error);
}

TEST(TokenizerLimits, StepsAreCounted) {
  const FileJson many(1000, split("a"));
  EXPECT_THROW(read_pre_tokenizer(sequence("pretokenizers", many)), Error);
  EXPECT_THROW(read_normalizer(sequence("normalizers", FileJson(1000, part("NFC")))), Error);
  EXPECT_THROW(read_decoder(sequence("decoders", FileJson(1000, part("Fuse")))), Error);
}

TEST(TokenizerLimits, HostileCharsmapsAreErrorsOrHarmless) {
  const auto with = [](const std::string& base64) {
    return read_normalizer({{"type", "Precompiled"}, {"precompiled_charsmap", base64}});
  };
  EXPECT_EQ(with("").apply("ab"), "ab");
  for (const char* bytes : {"A", "AA*=", "AAA=", "/////w==", "AAAAAA==", "BAAAAP////8="})
    EXPECT_THROW(with(bytes), Error);
  EXPECT_EQ(with("BAAAAP////8A").apply("ab\u0301"), "ab\u0301");  // leads out of the trie
}

TEST(TokenizerLimits, ScoredVocabulariesAreChecked) {
  for (const char* vocab : {R"([["a"]])", R"([["a", 1, 2]])", R"([["a", "b"]])", R"([[1, "a"]])", R"(["a"])",
                            R"([["a", 1e999]])", R"([["a", null]])", R"([[["a"], 1]])", R"({"a": 1})"}) {
    EXPECT_THROW(
        Tokenizer::from_json(std::string(R"({"model": {"type": "Unigram", "unk_id": 0, "vocab": )") + vocab + "}}"),
        Error)
        << vocab;
  }
}

TEST(Graphemes, EndWhereUax29SaysSo) {
  const std::vector<std::vector<std::string>> texts = {{"a\u0301\u0327", "b"},
                                                       {"\r\n", "\n", "\r"},
                                                       {"\u1100\u1161\u11a8", "\u1100"},
                                                       {"\uac00\u11a8", "\uac01\u11a8"},
                                                       {"\u00a9\u200d\u00ae", "\u00ae"},
                                                       {"\u0915\u094d\u0937", "\u0915"},
                                                       {"\u0600a", "b"},
                                                       {"\u200b", "\u0301"}};
  for (const auto& clusters : texts) {
    std::string text;
    for (const std::string& cluster : clusters) text += cluster;
    size_t begin = 0;
    for (const std::string& cluster : clusters) {
      EXPECT_EQ(grapheme_end(text, begin), begin + cluster.size()) << text;
      begin += cluster.size();
    }
  }
}

}  // namespace
}  // namespace arc
