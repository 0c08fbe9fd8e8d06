// Tokenizers from SentencePiece, tekken and tiktoken files against what their own packages say (tests/goldens/text/
// files.json, made by tools/make_file_golden.py), and model folders that hold them.
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>

#include "gtest/gtest.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "text/base64.h"
#include "text/json_fields.h"
#include "text/sentencepiece.h"
#include "text/tekken.h"
#include "text/tiktoken.h"
#include "text/tokenizer.h"
#include "text/tokenizer_check.h"

namespace arc {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

class Folder {
 public:
  Folder() : path_(fs::path(testing::TempDir()) / ("arc_tokenizer_files_" + std::to_string(getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const fs::path& path() const { return path_; }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }

 private:
  fs::path path_;
};

const FileJson& golden() {
  static const FileJson json = FileJson::parse(read_text_file(ARC_SOURCE_DIR "/tests/goldens/text/files.json"));
  return json["tokenizers"];
}

const FileJson& golden(std::string_view name) {
  for (const FileJson& entry : golden()) {
    if (entry["name"] == name) return entry;
  }
  ADD_FAILURE() << name;
  return golden()[0];
}

void write_files(const Folder& folder, const FileJson& entry) {
  for (const auto& [name, data] : entry["files"].items()) folder.write(name, *base64_decode(data.get<std::string>()));
}

std::string file_of(std::string_view name) {
  return *base64_decode(golden(name)["files"].begin()->get<std::string>());
}

TEST(TokenizerFiles, AgreeWithTheirPackages) {
  for (const FileJson& entry : golden()) {
    const Folder folder;
    write_files(folder, entry);
    const Tokenizer tokenizer = load_tokenizer(folder.path());
    for (const FileJson& one : entry["cases"]) {
      const std::string text = one[0];
      const Ids ids = one[1];
      EXPECT_EQ(tokenizer.encode(text, {.add_special_tokens = false, .parse_special = false}), ids)
          << entry["name"] << " on " << one[0];
      if (one.size() > 2 && one[2].is_null()) continue;  // the package writes a sign of its own for the unknown
      EXPECT_EQ(tokenizer.decode(ids), one.size() > 2 ? one[2].get<std::string>() : text) << entry["name"];
    }
    check_tokenizer(tokenizer, "<s>Once</s> <|im_end|>[INST] \xff\u00e9");
  }
}

TEST(TokenizerFiles, FoldersSayWhichSpecialTokensAreAdded) {
  const Folder folder;
  write_files(folder, golden("bpe_bytes"));
  const auto first_and_last = [&] {
    const Ids ids = load_tokenizer(folder.path()).encode("a");
    return std::pair(ids.front(), ids.back());
  };
  EXPECT_EQ(first_and_last().first, 1);  // as Llama's, unless the folder says otherwise
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer"})");
  EXPECT_NE(first_and_last().first, 1);
  EXPECT_EQ(first_and_last().second, 2);
  folder.write("tokenizer_config.json", R"({"add_bos_token": false, "legacy": false, "eos_token": "<0x0A>",
    "added_tokens_decoder": {"700": {"content": "<x>", "special": true}, "701": {"content": "<y>", "lstrip": true}}})");
  const Tokenizer tokenizer = load_tokenizer(folder.path());
  const int32_t a = *tokenizer.token_id("a"), space_a = *tokenizer.token_id("▁a");
  EXPECT_EQ(tokenizer.encode("a<x>a  <y> a"), (Ids{space_a, 700, a, 701, space_a}));
  EXPECT_EQ(tokenizer.special().eos, tokenizer.token_id("<0x0A>"));
  EXPECT_EQ(tokenizer.special().bos, 1);
  EXPECT_EQ(tokenizer.vocab_size(), 702);
}

TEST(TokenizerFiles, RanksBringTheirSpecialTokens) {
  const Folder llama;
  write_files(llama, golden("llama3"));
  const Tokenizer three = load_tokenizer(llama.path());
  EXPECT_EQ(three.encode("").size(), 1u);
  EXPECT_EQ(three.encode("")[0], three.token_id("<|begin_of_text|>"));
  EXPECT_EQ(three.token_id("<|reserved_special_token_247|>"), three.vocab_size() - 1);
  EXPECT_EQ(*three.token_id("<|eot_id|>") - *three.token_id("<|begin_of_text|>"), 9);
  EXPECT_EQ(three.special().stop, (Ids{*three.token_id("<|end_of_text|>")}));
  const Folder qwen;
  write_files(qwen, golden("qwen"));
  const Tokenizer one = load_tokenizer(qwen.path());
  EXPECT_EQ(one.token_id("<|extra_204|>"), one.vocab_size() - 1);
  EXPECT_EQ(one.encode("<|im_start|>"), (Ids{*one.token_id("<|endoftext|>") + 1}));
  const Tokenizer tekken(read_tekken(file_of("tekken_v3")));
  EXPECT_EQ(tekken.encode("[INST]"), (Ids{1, 3}));
  EXPECT_EQ(*tekken.token_text(23), "<SPECIAL_23>");
  EXPECT_EQ(tekken.special().eos, 2);
}

// What `load` throws; empty when it does not.
template <typename Load>
std::string error_of(const Load& load) {
  try {
    load();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(TokenizerFiles, ErrorsNameTheProblem) {
  const Folder folder;
  const auto message = [&] { return error_of([&] { load_tokenizer(folder.path()); }); };
  EXPECT_NE(message().find("looked for tokenizer.json, tekken.json, tokenizer.model"), std::string::npos) << message();
  write_files(folder, golden("kimi"));
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "TikTokenTokenizer"})");
  EXPECT_NE(message().find("added_tokens_decoder"), std::string::npos) << message();
  folder.write("tokenizer_config.json", R"({"tokenizer_class": "OtherTokenizer"})");
  EXPECT_NE(message().find("`OtherTokenizer` is not known"), std::string::npos) << message();
  const auto ranks = [](std::string_view file) { return error_of([&] { read_tiktoken(file, "qwen", {}); }); };
  EXPECT_NE(ranks("YQ== 0\nYg==1\n").find("line 2"), std::string::npos);
  EXPECT_NE(ranks("YQ== 0\nYg== 1x\n").find("line 2"), std::string::npos);
  EXPECT_NE(ranks("YQ==0").find("line 1"), std::string::npos);
  EXPECT_NE(ranks("YQ== -1").find("rank -1"), std::string::npos);
  EXPECT_NE(ranks("YQ== 4194304").find("rank 4194304"), std::string::npos);
  EXPECT_NE(ranks("YQ== 0\n").find("single byte 0x00"), std::string::npos);
  const auto tekken = [](std::string_view file) { return error_of([&] { read_tekken(file); }); };
  EXPECT_NE(tekken("[").find("not valid JSON"), std::string::npos);
  EXPECT_NE(tekken(R"({"vocab": [], "config": {"default_num_special_tokens": 9, "default_vocab_size": 8}})")
                .find("9 special tokens of 8"),
            std::string::npos);
  EXPECT_NE(tekken(R"({"vocab": [{"rank": 1, "token_bytes": ""}]})").find("count up from 0"), std::string::npos);
  EXPECT_NE(tekken(R"({"vocab": [{"rank": 0, "token_bytes": "?"}]})").find("base64"), std::string::npos);
}

// Cut off anywhere, or with any byte changed, a file is read or refused.
TEST(TokenizerFiles, DamageIsFoundOrHarmless) {
  const std::string good = file_of("unigram_rules");
  for (size_t size = 0; size < good.size(); ++size) {
    error_of([&] { parse_sentencepiece(std::string_view(good).substr(0, size)); });
  }
  int n_refused = 0;
  for (size_t i = 0; i < good.size(); i += 3) {
    std::string bad = good;
    bad[i] = static_cast<char>(~bad[i]);
    n_refused += !error_of([&] {
                    check_tokenizer(Tokenizer(tokenizer_of_pieces(parse_sentencepiece(bad), {})), "the tool 12");
                  }).empty();
  }
  EXPECT_GT(n_refused, 100);
}

}  // namespace
}  // namespace arc
