// Tokenizers against what the `tokenizers` package says: tests/goldens/text, made by tools/make_text_golden.py.
// Real tokenizers are not in the repository; without ../shared (ARC_SHARED) their tests are skipped.
#include <array>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>

#include "gtest/gtest.h"

#include "base/mapped_file.h"
#include "base/utf8.h"
#include "text/detokenizer.h"
#include "text/json_fields.h"
#include "text/tokenizer.h"

namespace arc {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;

FileJson golden(const std::string& name) {
  return FileJson::parse(read_text_file(fs::path(ARC_SOURCE_DIR) / "tests/goldens/text" / (name + ".json")));
}

fs::path shared_data() {
  const char* folder = std::getenv("ARC_SHARED");
  return (folder != nullptr ? fs::path(folder) : fs::path(ARC_SOURCE_DIR) / ".." / "shared") / "data";
}

TEST(TokenizerGolden, Normalizers) {
  const FileJson texts = golden("texts"), components = golden("components");
  for (const FileJson& entry : components["normalizers"]) {
    const Normalizer normalizer = read_normalizer(entry[0]);
    for (const std::string text : texts) {
      EXPECT_EQ(normalizer.apply(text), entry[1].value(text, text)) << entry[0] << " on " << FileJson(text);
    }
  }
}

TEST(TokenizerGolden, PreTokenizers) {
  const FileJson components = golden("components");
  const FileJson& texts = components["cut_texts"];
  for (const FileJson& entry : components["pre_tokenizers"]) {
    const PreTokenizer pre_tokenizer = read_pre_tokenizer(entry[0]);
    for (size_t i = 0; i < texts.size(); ++i) {
      Pieces pieces{.at_start = true};
      pieces.append(texts[i].get<std::string>());
      pieces = pre_tokenizer.apply(std::move(pieces));
      FileJson got = FileJson::array();
      for (size_t j = 0; j < pieces.size(); ++j) got.push_back(std::string(pieces[j]));
      EXPECT_EQ(got, entry[1][i]) << entry[0] << " on " << texts[i];
    }
  }
}

TEST(TokenizerGolden, Decoders) {
  const FileJson components = golden("components");
  const FileJson& lists = components["token_lists"];
  for (const FileJson& entry : components["decoders"]) {
    const Decoder decoder = read_decoder(entry[0]);
    for (size_t i = 0; i < lists.size(); ++i) {
      if (entry[1][i].is_null()) continue;  // the package panics
      Decoder::State state = decoder.start();
      std::string text;
      for (const std::string token : lists[i]) decoder.push(token, state, text);
      decoder.finish(state, text);
      EXPECT_EQ(text, entry[1][i].get<std::string>()) << entry[0] << " on " << lists[i];
    }
  }
}

uint32_t crc32(std::string_view bytes) {
  static const auto table = [] {
    std::array<uint32_t, 256> rows{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
      rows[byte] = byte;
      for (int bit = 0; bit < 8; ++bit) rows[byte] = rows[byte] >> 1 ^ (rows[byte] % 2 == 1 ? 0xEDB88320u : 0u);
    }
    return rows;
  }();
  uint32_t crc = UINT32_MAX;
  for (const char byte : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<uint8_t>(byte)) & 0xFF];
  return ~crc;
}

// Every code point of a block, next to letters and next to itself.
std::string block_text(char32_t first, char32_t end) {
  std::string text;
  for (char32_t c = first; c < end; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    if (!text.empty()) text += ' ';
    for (const char letter : {'a', 'b'}) {
      text += letter;
      utf8_append(text, c);
    }
  }
  return text;
}

std::string joined_pieces(const PreTokenizer& pre_tokenizer, const std::string& text) {
  Pieces pieces{.at_start = true};
  pieces.append(text);
  pieces = pre_tokenizer.apply(std::move(pieces));
  std::string joined;
  for (size_t i = 0; i < pieces.size(); ++i) joined.append(i == 0 ? "" : "\n").append(pieces[i]);
  return joined;
}

TEST(TokenizerGolden, EveryCharacter) {
  const FileJson unicode = golden("unicode");
  std::vector<std::string> blocks;
  for (const FileJson& first : unicode["firsts"]) {
    blocks.push_back(block_text(first.get<char32_t>(), first.get<char32_t>() + unicode["block"].get<char32_t>()));
  }
  const auto expect_checksums = [&](const FileJson& row, const auto& result_of) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      EXPECT_EQ(crc32(result_of(blocks[i])), row[1][i].get<uint32_t>()) << row[0] << ", block " << unicode["firsts"][i];
    }
  };
  for (const FileJson& row : unicode["checksums"]) {
    if (row[0].contains("normalizer")) {
      const Normalizer normalizer = read_normalizer(row[0]["normalizer"]);
      expect_checksums(row, [&](const std::string& text) { return normalizer.apply(text); });
    } else {
      const PreTokenizer pre_tokenizer = read_pre_tokenizer(row[0]["pre_tokenizer"]);
      expect_checksums(row, [&](const std::string& text) { return joined_pieces(pre_tokenizer, text); });
    }
  }
}

// `expected` is [ids, ids without special tokens or null when they are the same].
void expect_ids(const Tokenizer& tokenizer, const std::string& text, const FileJson& ids, const FileJson& plain) {
  EXPECT_EQ(tokenizer.encode(text), ids.get<Ids>()) << FileJson(text);
  const EncodeOptions no_special{.add_special_tokens = false, .parse_special = false};
  EXPECT_EQ(tokenizer.encode(text, no_special), (plain.is_null() ? ids : plain).get<Ids>()) << FileJson(text);
}

TEST(TokenizerGolden, SmallTokenizers) {
  for (const FileJson& entry : golden("small")) {
    const Tokenizer tokenizer = Tokenizer::from_json(entry["tokenizer"].dump());
    for (const FileJson& one : entry["cases"]) expect_ids(tokenizer, one[0], one[1], one[2]);
    if (HasFailure()) FAIL() << entry["tokenizer"];
  }
}

// Feeds a Detokenizer; every delta must be valid UTF-8.
std::string stream(const Tokenizer& tokenizer, const Ids& ids, bool skip_special) {
  Detokenizer detokenizer(tokenizer, skip_special);
  std::string text;
  for (const int32_t id : ids) {
    const std::string delta = detokenizer.push(id);
    EXPECT_TRUE(is_valid_utf8(delta)) << FileJson(ids);
    text += delta;
  }
  return text + detokenizer.finish();
}

class RealTokenizer : public testing::TestWithParam<const char*> {};

TEST_P(RealTokenizer, AgreesOnIdsAndText) {
  const fs::path folder = shared_data() / GetParam();
  if (!fs::exists(folder)) GTEST_SKIP() << "no " << folder << "; set ARC_SHARED";
  const Tokenizer tokenizer = load_tokenizer(folder);
  const FileJson texts = golden("texts"), expected = golden(folder.filename().string());
  const FileJson& encoded = expected["encoded"];
  ASSERT_EQ(texts.size(), encoded.size());
  for (size_t i = 0; i < texts.size(); ++i) expect_ids(tokenizer, texts[i], encoded[i][0], encoded[i][1]);
  for (const FileJson& entry : expected["decoded"]) {
    const Ids ids = entry[0].get<Ids>();
    const std::string text = entry[1], skipped = entry[2].is_null() ? text : entry[2].get<std::string>();
    EXPECT_EQ(tokenizer.decode(ids, false), text) << entry[0];
    EXPECT_EQ(tokenizer.decode(ids, true), skipped) << entry[0];
    EXPECT_EQ(stream(tokenizer, ids, false), text) << entry[0];
    EXPECT_EQ(stream(tokenizer, ids, true), skipped) << entry[0];
  }
}

INSTANTIATE_TEST_SUITE_P(All, RealTokenizer,
                         testing::Values("tokenizers/gpt2", "tokenizers/llama-3.2", "tokenizers/qwen3",
                                         "tokenizers/smollm2", "tokenizers/phi-3-mini", "tokenizers/t5-small",
                                         "tokenizers/bert-base-uncased", "models/tinystories-656k"));

// Texts and ids that llama.cpp's tests use, made without `tokenizers`: a second, independent word.
struct VocabCase {
  const char* tokenizer;
  const char* file;
};
class OtherOracle : public testing::TestWithParam<VocabCase> {};

TEST_P(OtherOracle, AgreesOnIds) {
  const fs::path data = shared_data(), inputs = data / "gguf-vocab" / (std::string(GetParam().file) + ".inp");
  const fs::path folder = data / "tokenizers" / GetParam().tokenizer;
  if (!fs::exists(inputs) || !fs::exists(folder)) GTEST_SKIP() << "no " << inputs << "; set ARC_SHARED";
  const Tokenizer tokenizer = load_tokenizer(folder);
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::string rest = read_text_file(inputs);
  std::istringstream outputs(read_text_file(fs::path(inputs).replace_extension(".out")));
  std::string line;
  int n_compared = 0;
  while (std::getline(outputs, line)) {
    const size_t end = rest.find(separator);
    ASSERT_NE(end, std::string::npos);
    std::istringstream numbers(line);
    const Ids expected{std::istream_iterator<int32_t>(numbers), {}};
    EXPECT_EQ(tokenizer.encode(rest.substr(0, end), {.add_special_tokens = false}), expected) << rest.substr(0, end);
    rest.erase(0, end + separator.size());
    ++n_compared;
  }
  EXPECT_GT(n_compared, 40);
}

INSTANTIATE_TEST_SUITE_P(All, OtherOracle,
                         testing::Values(VocabCase{"gpt2", "ggml-vocab-gpt-2.gguf"},
                                         VocabCase{"llama-3.2", "ggml-vocab-llama-bpe.gguf"},
                                         VocabCase{"qwen3", "ggml-vocab-qwen2.gguf"},
                                         VocabCase{"phi-3-mini", "ggml-vocab-llama-spm.gguf"}));

}  // namespace
}  // namespace arc
