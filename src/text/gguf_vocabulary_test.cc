// Tokenizers as GGUF files describe them: real ones against their own tokenizer.json, whose metadata is made here as
// the format's converters make it; small ones by hand.
#include "text/gguf_vocabulary.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "fmt/format.h"
#include "gtest/gtest.h"

#include "base/error.h"
#include "base/mapped_file.h"
#include "text/base64.h"
#include "text/byte_level.h"
#include "text/cut_patterns.h"
#include "text/json_fields.h"
#include "text/sentencepiece.h"
#include "text/tokenizer.h"
#include "text/tokenizer_check.h"

namespace arc {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<int32_t>;
using Type = GgufVocabulary::Type;

// ---- real tokenizers -----------------------------------------------------------------------------------------------

const std::string kMark = "\u2581";

void set_token(GgufVocabulary& file, size_t id, const std::string& text, Type type, double score = 0) {
  while (file.tokens.size() <= id) {
    file.tokens.push_back(fmt::format("[PAD{}]", file.tokens.size()));
    file.token_type.push_back(static_cast<int64_t>(Type::unused));
    file.scores.push_back(-1000);
  }
  file.tokens[id] = text;
  file.token_type[id] = static_cast<int64_t>(type);
  file.scores[id] = score;
}

std::string wordpiece_text(const std::string& text) {
  if (text.starts_with('[') && text.ends_with(']')) return text;
  return text.starts_with("##") ? text.substr(2) : kMark + text;
}

// A merge of tokenizer.json, as one text.
std::string joined_merge(const FileJson& merge, const std::string& between) {
  if (!merge.is_string()) return merge[0].get<std::string>() + between + merge[1].get<std::string>();
  std::string text = merge;
  return text.replace(text.find(' '), 1, between);
}

// `model`: "llama" for byte-pair encoding with <0x00>; the scores there go down with the merges.
GgufVocabulary converted(const FileJson& document, const std::string& model, const std::string& pre) {
  GgufVocabulary file{.model = model, .pre = pre};
  const FileJson& vocabulary = document["model"]["vocab"];
  if (vocabulary.is_array()) {
    for (size_t id = 0; id < vocabulary.size(); ++id) {
      set_token(file, id, vocabulary[id][0], Type::normal, vocabulary[id][1]);
    }
  } else {
    for (const auto& [text, id] : vocabulary.items()) {
      const bool byte = model == "llama" && text.size() == 6 && text.starts_with("<0x");
      set_token(file, id, model == "bert" ? wordpiece_text(text) : text, byte ? Type::byte : Type::normal);
    }
  }
  for (const FileJson& token : document["added_tokens"]) {
    set_token(file, token["id"], token["content"], token["special"] ? Type::control : Type::user_defined);
  }
  const FileJson merges = document["model"].value("merges", FileJson::array());
  std::map<std::string, double> ranks;
  for (const FileJson& merge : merges) {
    if (model == "gpt2") file.merges.push_back(joined_merge(merge, " "));
    ranks.try_emplace(joined_merge(merge, ""), ranks.size());
  }
  for (size_t id = 0; id < file.tokens.size() && model == "llama"; ++id) {
    if (const auto rank = ranks.find(file.tokens[id]); rank != ranks.end()) file.scores[id] = -rank->second;
  }
  const FileJson& normalizer = document["normalizer"];
  if (model == "t5") file.precompiled_charsmap = *base64_decode(normalizer["precompiled_charsmap"].get<std::string>());
  return file;
}

FileJson texts() {
  return FileJson::parse(read_text_file(ARC_SOURCE_DIR "/tests/goldens/text/texts.json"));
}

struct Real {
  const char *name, *model, *pre;
  std::optional<int64_t> bos, eos, unk;
  std::optional<bool> add_bos;
  std::vector<std::string> differ;  // parts of texts on which `tokenizers` itself is not SentencePiece's equal
};

fs::path shared_data() {
  const char* shared = std::getenv("ARC_SHARED");
  return (shared ? fs::path(shared) : fs::path(ARC_SOURCE_DIR) / "../shared") / "data";
}

TEST(GgufVocabulary, EqualsTokenizerJson) {
  const fs::path folder = shared_data();
  if (!fs::is_directory(folder / "tokenizers")) GTEST_SKIP() << "no real tokenizers: set ARC_SHARED";
  const Real kReal[] = {
      {.name = "tokenizers/gpt2", .model = "gpt2", .pre = "gpt-2"},
      {.name = "tokenizers/llama-3.2", .model = "gpt2", .pre = "llama-bpe", .bos = 128000},
      {.name = "tokenizers/qwen3", .model = "gpt2", .pre = "qwen2"},
      {.name = "tokenizers/smollm2", .model = "gpt2", .pre = "smollm"},
      {.name = "tokenizers/phi-3-mini", .model = "llama", .pre = "", .eos = 32000, .add_bos = false},
      {.name = "tokenizers/bert-base-uncased", .model = "bert", .pre = "", .unk = 100},
      // Rules for characters instead of clusters, and sums of scores in float.
      {.name = "tokenizers/t5-small",
       .model = "t5",
       .pre = "",
       .differ = {"Tie\u0302\u0301", "a\u0300\u0301", "\u0085", "abab"}},
  };
  for (const Real& real : kReal) {
    const std::string json = read_text_file(folder / real.name / "tokenizer.json");
    const Tokenizer expected = Tokenizer::from_json(json);
    GgufVocabulary file = converted(FileJson::parse(json), real.model, real.pre);
    file.bos_token_id = real.bos;
    file.eos_token_id = real.eos;
    file.unknown_token_id = real.unk;
    file.add_bos_token = real.add_bos;
    file.strips_after_added = std::string_view(real.name).ends_with("phi-3-mini");
    const Tokenizer tokenizer(tokenizer_of_gguf(file));
    int n_compared = 0;
    for (const std::string text : texts()) {
      const auto has = [&](const std::string& part) { return text.find(part) != text.npos; };
      if (std::ranges::any_of(real.differ, has)) continue;
      ++n_compared;
      EXPECT_EQ(tokenizer.encode(text), expected.encode(text)) << real.name << " on " << FileJson(text);
      const Ids ids = expected.encode(text);
      if (std::string_view(real.model) != "t5") {
        EXPECT_EQ(tokenizer.decode(ids, false), expected.decode(ids, false)) << real.name << " on " << FileJson(text);
      }
    }
    fmt::print("  {}: {} texts\n", real.name, n_compared);
  }
}

// A SentencePiece model's pieces and scores, as the format's converters take them over.
TEST(GgufVocabulary, EqualsTheSentencePieceModel) {
  const fs::path folder = shared_data() / "tokenizers";
  if (!fs::is_directory(folder)) GTEST_SKIP() << "no real tokenizers: set ARC_SHARED";
  for (const char* name : {"llama-2", "mistral-v3"}) {
    const SentencePieceModel model = parse_sentencepiece(read_text_file(folder / name / "tokenizer.model"));
    GgufVocabulary file{.model = "llama"};
    for (const auto& [text, score, type] : model.pieces) {
      set_token(file, file.tokens.size(), text, static_cast<Type>(type), score);
    }
    const Tokenizer tokenizer(tokenizer_of_gguf(file)), expected(tokenizer_of_pieces(model, {.add_bos = true}));
    for (const std::string text : texts()) {
      const Ids ids = expected.encode(text);
      EXPECT_EQ(tokenizer.encode(text), ids) << name << " on " << FileJson(text);
      EXPECT_EQ(tokenizer.decode(ids), expected.decode(ids)) << name << " on " << FileJson(text);
    }
  }
}

// ---- small ones ----------------------------------------------------------------------------------------------------

GgufVocabulary small_pieces(const std::string& model) {
  GgufVocabulary file{.model = model};
  set_token(file, 0, "<unk>", Type::control);
  set_token(file, 1, "<s>", Type::control);
  set_token(file, 2, "</s>", Type::control);
  size_t id = 3;
  for (const char* text : {"\u2581", "a", "b", "\u2581a", "ab", "\u2581ab"}) {
    set_token(file, id, text, Type::normal, -static_cast<double>(id));
    ++id;
  }
  return file;
}

TEST(GgufVocabulary, PiecesHaveTheFormatsDefaults) {
  GgufVocabulary file = small_pieces("llama");
  EXPECT_EQ(Tokenizer(tokenizer_of_gguf(file)).encode("ab"), (Ids{1, 8}));
  file.add_bos_token = false;
  file.add_eos_token = true;
  file.add_space_prefix = false;
  EXPECT_EQ(Tokenizer(tokenizer_of_gguf(file)).encode("ab x"), (Ids{7, 3, 0, 2}));
  file.model = "t5";
  file.unknown_token_id = 0;
  file.add_eos_token.reset();
  file.eos_token_id = 2;
  EXPECT_EQ(Tokenizer(tokenizer_of_gguf(file)).encode(" ab  x "), (Ids{7, 3, 0, 2}));
  set_token(file, 9, "<|im_end|>", Type::control);
  set_token(file, 10, "a\u2581a", Type::user_defined);
  const Tokenizer tokenizer(tokenizer_of_gguf(file));
  EXPECT_EQ(tokenizer.special().stop, (Ids{2, 9}));
  EXPECT_EQ(tokenizer.encode("ba a"), (Ids{5, 10, 2}));
  check_tokenizer(tokenizer, "a a<s> \xff");
}

// The pieces of `text`, joined.
std::string cut(std::string_view name, std::string_view text) {
  Pieces pieces{.at_start = true};
  pieces.append(text);
  pieces = gguf_pre(name).pre_tokenizer.apply(std::move(pieces));
  std::string joined;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i > 0) joined += "|";
    EXPECT_TRUE(byte_level_decode(pieces[i], joined)) << name;
  }
  return joined;
}

TEST(GgufVocabulary, EveryNameOfACutIsKnown) {
  constexpr std::string_view kNames =
      "default llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano minicpm5 deepseek-llm "
      "deepseek-coder deepseek-v3 spark2_5 youtu falcon mpt starcoder gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es "
      "jina-v2-de a.x-4.0 mellum modern-bert jais-2 jina-v1-en jina-v2-code roberta-bpe refact command-r qwen2 "
      "deepseek-r1-qwen kormo f2llmv2 qwen35 stablelm2 olmo dbrx smaug-bpe poro-chat glm4 glm5 chatglm-bpe viking jais "
      "tekken "
      "smollm codeshell bloom gpt3-finnish exaone exaone4 exaone-moe chameleon minerva-7b megrez gpt-4o llama4 kanana2 "
      "talkie granite-embed-multi-97m tiny_aya cohere2moe superbpe trillion granite-docling bailingmoe bailingmoe2 "
      "llada-moe seed-coder hunyuan hunyuan-dense hy_v4 joyai-llm kimi-k2 ufakzeka grok-2 laguna minimax-m2 solar-open "
      "mellum2";
  const std::string text = "It'S  12345 \u0664\u0662x\u0301 HelloWORLD!?\n\n  \u4e2d\u6587 ab./\r\n";
  for (std::string_view rest = kNames; !rest.empty();) {
    const std::string_view name = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
    std::string joined = cut(name, text);
    EXPECT_GT(std::erase(joined, '|'), 3u) << name;
    EXPECT_EQ(joined, text) << name;
  }
}

// Files do not say it. As transformers' own tokenizers of these families: Qwen2, Qwen3.5, GPT-NeoX and Cohere
// normalise.
TEST(GgufVocabulary, NormalFormsAreTheFamilies) {
  for (const char* name : {"qwen2", "deepseek-r1-qwen", "qwen35", "mpt", "olmo", "modern-bert", "command-r"}) {
    EXPECT_TRUE(gguf_pre(name).nfc) << name;
  }
  for (const char* name : {"gpt-2", "roberta-bpe", "llama-bpe", "glm4", "gpt-4o", "llama4", "tekken", "kimi-k2",
                           "smollm", "starcoder", "deepseek-llm", "deepseek-v3", "falcon", "bloom"}) {
    EXPECT_FALSE(gguf_pre(name).nfc) << name;
  }
}

std::string error_of(const GgufVocabulary& file) {
  try {
    tokenizer_of_gguf(file);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(GgufVocabulary, ErrorsNameTheKey) {
  const auto expect = [](const GgufVocabulary& file, std::string_view part) {
    EXPECT_NE(error_of(file).find(part), std::string::npos) << error_of(file);
  };
  expect({.model = "gpt2"}, "tokenizer.ggml.tokens are 0");
  expect({.model = "rwkv", .tokens = {"a"}}, "tokenizer.ggml.model is \"rwkv\"");
  expect({.model = "gpt2", .pre = "unheard-of", .tokens = {"a"}}, "tokenizer.ggml.pre is \"unheard-of\"");
  expect({.model = "gpt2", .tokens = {"a"}, .merges = {"ab"}}, "tokenizer.ggml.merges");
  expect({.model = "gpt2", .tokens = {"a"}, .merges = {"a b"}}, "needs token `b`");
  expect({.model = "gpt2", .tokens = {"a", "a"}}, "has two ids");
  expect({.model = "llama", .tokens = {"a"}, .scores = {1, 2}}, "tokenizer.ggml.scores");
  expect({.model = "llama", .tokens = {"a"}, .token_type = {1, 1}}, "tokenizer.ggml.token_type");
  expect({.model = "llama", .tokens = {"a", "<0x00>"}, .token_type = {1, 6}}, "1 byte pieces, not 256");
  expect({.model = "t5", .tokens = {std::string(2000, 'a')}}, "has 2000 bytes");
  expect({.model = "t5", .tokens = {"\xff"}}, "UTF-8");
}

}  // namespace
}  // namespace arc
