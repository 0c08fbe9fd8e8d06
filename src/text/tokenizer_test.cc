// Tests of loading: what is taken from which file, and that a broken or hostile file is an error that names its part.
// Also of the incremental detokenizer. Ids and texts against `tokenizers` are in tokenizer_golden_test.cc.
#include "text/tokenizer.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

#include "base/error.h"
#include "text/detokenizer.h"

namespace arc {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

// SentencePiece-like: characters, bytes for the euro sign, two special tokens and one that only is added.
const char* const kMetaspace = R"({
  "added_tokens": [{"id": 0, "content": "<s>", "special": true, "normalized": false},
                   {"id": 1, "content": "</s>", "special": true, "normalized": false},
                   {"id": 20, "content": "<tool>", "special": false, "normalized": false}],
  "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                 {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
  "pre_tokenizer": null,
  "post_processor": {"type": "TemplateProcessing",
                     "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                     "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
  "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
              {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
  "model": {"type": "BPE", "byte_fallback": true, "unk_token": null,
            "vocab": {"<s>": 0, "</s>": 1, "▁": 2, "a": 3, "b": 4, "ab": 5, "▁ab": 6, "<0xE2>": 7, "<0x82>": 8,
                      "<0xAC>": 9, "<": 10, "s": 11, ">": 12},
            "merges": [["a", "b"], ["▁", "ab"]]}})";

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Tokenizer, EncodesWithAndWithoutSpecialTokens) {
  const Tokenizer tokenizer = Tokenizer::from_json(kMetaspace);
  EXPECT_EQ(tokenizer.encode("ab ab"), (Ids{0, 6, 6}));
  EXPECT_EQ(tokenizer.encode("ab€", {.add_special_tokens = false}), (Ids{6, 7, 8, 9}));
  EXPECT_EQ(tokenizer.encode("<s>ab<tool>"), (Ids{0, 0, 6, 20}));
  EXPECT_EQ(tokenizer.encode("<s>ab<tool>", {.parse_special = false}), (Ids{0, 2, 10, 11, 12, 5, 20}));
  EXPECT_EQ(tokenizer.encode(""), (Ids{0}));
}

TEST(Tokenizer, TruncationKeepsTheSpecialTokens) {
  const Tokenizer tokenizer = Tokenizer::from_json(kMetaspace);
  const auto encode = [&](size_t max_tokens, bool drop_first) {
    return tokenizer.encode("ab<tool>ab", {.truncation = {.max_tokens = max_tokens, .drop_first = drop_first}});
  };
  EXPECT_EQ(encode(9, false), (Ids{0, 6, 20, 6}));
  EXPECT_EQ(encode(3, false), (Ids{0, 6, 20}));
  EXPECT_EQ(encode(3, true), (Ids{0, 20, 6}));
  EXPECT_EQ(encode(1, true), (Ids{0}));
  EXPECT_THROW(encode(0, false), Error);
}

TEST(Tokenizer, IdsWithoutTokensGiveNothing) {
  const Tokenizer tokenizer = Tokenizer::from_json(kMetaspace);
  EXPECT_EQ(tokenizer.vocab_size(), 21);
  for (const int32_t id : {13, 19, 21, 1 << 30, -1, INT32_MIN, INT32_MAX}) {
    EXPECT_EQ(tokenizer.token_bytes(id), "");
    EXPECT_EQ(tokenizer.token_text(id), nullptr);
    EXPECT_FALSE(tokenizer.is_special(id));
    EXPECT_EQ(tokenizer.decode(Ids{3, id, 4}), "ab");
  }
}

TEST(Tokenizer, TokenBytesAreRaw) {
  const Tokenizer tokenizer = Tokenizer::from_json(kMetaspace);
  EXPECT_EQ(tokenizer.token_bytes(6), " ab");
  EXPECT_EQ(tokenizer.token_bytes(8), "\x82");
  EXPECT_EQ(tokenizer.token_bytes(20), "<tool>");
  EXPECT_EQ(*tokenizer.token_text(8), "<0x82>");
  EXPECT_EQ(tokenizer.token_id("<tool>"), 20);
  EXPECT_EQ(tokenizer.token_id("nothing"), std::nullopt);
  EXPECT_TRUE(tokenizer.is_special(1));
  EXPECT_FALSE(tokenizer.is_special(20));
}

TEST(Tokenizer, InvalidUtf8CountsAsReplacementCharacter) {
  const Tokenizer tokenizer = Tokenizer::from_json(kMetaspace);
  EXPECT_EQ(tokenizer.encode("a\xff"
                             "b"),
            tokenizer.encode("a\ufffd"
                             "b"));
}

TEST(Detokenizer, GivesWholeCharactersAsSoonAsTheyAreSure) {
  const Tokenizer tokenizer = Tokenizer::from_json(kMetaspace);
  Detokenizer detokenizer(tokenizer);
  EXPECT_EQ(detokenizer.push(0), "");    // special
  EXPECT_EQ(detokenizer.push(6), "ab");  // the first space is stripped
  EXPECT_EQ(detokenizer.push(6), " ab");
  EXPECT_EQ(detokenizer.push(7), "");
  EXPECT_EQ(detokenizer.push(8), "");
  EXPECT_EQ(detokenizer.push(9), "€");
  EXPECT_EQ(detokenizer.push(7), "");
  EXPECT_EQ(detokenizer.push(3), "\ufffda");
  EXPECT_EQ(detokenizer.push(7), "");
  EXPECT_EQ(detokenizer.finish(), "\ufffd");
}

TEST(Detokenizer, KeepsValidCharactersOfABrokenRunOfBytes) {
  const Tokenizer tokenizer = Tokenizer::from_json(kMetaspace);
  EXPECT_EQ(tokenizer.decode(Ids{7, 8, 9, 7, 8, 3}), "€\ufffd\ufffda");
}

TEST(Detokenizer, ContinuesAPrompt) {
  const Tokenizer tokenizer = Tokenizer::from_json(kMetaspace);
  Detokenizer detokenizer(tokenizer);
  detokenizer.prime(Ids{0, 6, 7, 8});
  EXPECT_EQ(detokenizer.push(9), "€");
  EXPECT_EQ(detokenizer.push(6), " ab");
}

TEST(Detokenizer, ShowsSpecialTokensWhenAsked) {
  const Tokenizer tokenizer = Tokenizer::from_json(kMetaspace);
  EXPECT_EQ(tokenizer.decode(Ids{0, 6, 1}, false), "<s> ab</s>");
  EXPECT_EQ(tokenizer.decode(Ids{0, 6, 1}, true), "ab");
}

struct BrokenFile {
  const char* from;
  const char* to;
  const char* message;  // a part of it
};

TEST(TokenizerFile, ErrorsNameThePart) {
  const BrokenFile files[] = {
      {"\"BPE\"", "\"Neural\"", "model type `Neural`"},
      {"\"BPE\"", "\"BPE\", \"dropout\": 0.5", "dropout"},
      {"\"Prepend\"", "\"Upper\"", "normalizer `Upper`"},
      {"\"pre_tokenizer\": null", "\"pre_tokenizer\": {\"type\": \"Other\"}", "pre_tokenizer `Other`"},
      {"\"pre_tokenizer\": null", "\"pre_tokenizer\": {\"type\": \"FixedLength\", \"length\": 0}", "must be positive"},
      {"\"TemplateProcessing\"", "\"Other\"", "post_processor `Other`"},
      {"\"ByteFallback\"", "\"Other\"", "decoder `Other`"},
      {"\"ids\": [0]", "\"ids\": [-1]", "post_processor"},
      {"\"special_tokens\": {\"<s>\"", "\"special_tokens\": {\"<q>\"", "lacks `<s>`"},
      {"\"id\": 20", "\"id\": 99999999999", "`<tool>` has id 99999999999"},
      {"\"content\": \"<tool>\"", "\"content\": 7", "`content` must be a string"},
      {"[\"a\", \"b\"]", "[\"a\", \"q\"]", "needs token `q`"},
      {"[\"a\", \"b\"]", "[\"a\"]", "no pair"},
      {"[\"a\", \"b\"]", "[\"a\", \"b\", \"a\"]", "no pair"},
      {"[\"a\", \"b\"]", "7", "no pair"},
      {"[\"a\", \"b\"]", "\"a  b\"", "one space between"},
      {"\"a\": 3", "\"a\": 4", "share id 4"},
      {"\"a\": 3", "\"a\": -3", "does not map texts to ids"},
      {"\"a\": 3", "\"a\": [3]", "does not map texts to ids"},
      {"\"a\": 3", "\"a\": 18446744073709551615", "has id"},
      {"\"unk_token\": null", "\"unk_token\": \"<unk>\"", "unk_token `<unk>`"},
      {"\"model\"", "\"modell\"", "lacks `model`"},
      {"}}", "}", "not valid JSON"},
  };
  for (const BrokenFile& file : files) {
    try {
      Tokenizer::from_json(replaced(kMetaspace, file.from, file.to));
      FAIL() << file.to;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(file.message), std::string::npos) << file.to << ": " << error.what();
    }
  }
}

TEST(TokenizerFile, DepthAndAmountAreLimited) {
  EXPECT_THROW(Tokenizer::from_json(std::string(100'000, '[')), Error);
  EXPECT_THROW(Tokenizer::from_json("{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}"), Error);
  std::string many = "{\"a\":[0";
  for (int i = 0; i < 2'000'000; ++i) many += ",0";
  EXPECT_THROW(Tokenizer::from_json(many + "]}"), Error);
  for (const char* text : {"", "null", "7", "[]", "{}", "{\"model\":null}", "{\"model\":[]}"}) {
    EXPECT_THROW(Tokenizer::from_json(text), Error) << text;
  }
}

// A temporary model folder.
class Folder {
 public:
  Folder() : path_(fs::path(testing::TempDir()) / "arc_tokenizer_test") {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  void write(const char* name, std::string_view text) const { std::ofstream(path_ / name) << text; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

TEST(TokenizerFolder, SpecialTokensComeFromTheFilesBeside) {
  const Folder folder;
  folder.write("tokenizer.json", kMetaspace);
  const Tokenizer bare = load_tokenizer(folder.path());
  EXPECT_EQ(bare.special().eos, std::nullopt);
  EXPECT_EQ(bare.special().stop, Ids{});

  folder.write("special_tokens_map.json",
               R"({"bos_token": "</s>", "eos_token": {"content": "</s>"}, "pad_token": null})");
  folder.write("tokenizer_config.json", R"({"bos_token": {"content": "<s>"}, "unk_token": "missing"})");
  folder.write("config.json", R"({"eos_token_id": 3})");
  const Tokenizer tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer.special().bos, 0);
  EXPECT_EQ(tokenizer.special().eos, 1);
  EXPECT_EQ(tokenizer.special().pad, std::nullopt);
  EXPECT_EQ(tokenizer.special().unk, std::nullopt);
  EXPECT_EQ(tokenizer.special().stop, (Ids{1, 3}));

  folder.write("generation_config.json", R"({"eos_token_id": [20, 1]})");
  EXPECT_EQ(load_tokenizer(folder.path()).special().stop, (Ids{1, 20}));
  folder.write("generation_config.json", R"({"eos_token_id": "x"})");
  EXPECT_THROW(load_tokenizer(folder.path()), Error);
}

TEST(TokenizerFolder, AMissingFileIsNamed) {
  const Folder folder;
  try {
    load_tokenizer(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_NE(std::string(error.what()).find("tokenizer.json"), std::string::npos);
  }
}

}  // namespace
}  // namespace arc
