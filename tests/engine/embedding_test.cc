// Vectors of texts: the modules against sentence-transformers' own results, and the engine's promises: a vector does
// not depend on company, chunks, preemption, prefix hits or threads, and neither does an answer that is made beside it.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>

#include "fmt/format.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "arc/embed.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "engine/client.h"
#include "engine/embedding_head.h"
#include "engine/tiny_folder.h"
#include "io/safetensors.h"
#include "models/embedding_modules.h"

namespace arc::test {
namespace {

constexpr int kVocab = 129;  // of the smaller model
constexpr int32_t kLength = 192;

const Json& heads() {
  static const Json cases =
      parse_json(read_text_file(ARC_SOURCE_DIR "/tests/goldens/embeddings/heads.json"), "heads.json");
  return cases;
}

// The files of a case of heads.json.
void write_modules(const Json& head, const std::filesystem::path& folder) {
  for (const auto& [name, text] : head.at("files").items()) {
    std::filesystem::create_directories((folder / name).parent_path());
    std::ofstream(folder / name) << text.get<std::string>();
  }
  std::map<std::string, std::vector<NamedTensor>> by_module;
  for (const Json& entry : head.at("tensors")) {
    const GoldenTensor tensor{.name = entry.at("name").get<std::string>(),
                              .shape = entry.at("shape").get<std::vector<int64_t>>(),
                              .bits = entry.at("bits").get<int>(),
                              .log2_scale = entry.at("log2_scale").get<int>(),
                              .offset = entry.at("offset").get<double>()};
    const std::vector<float> values = generate(tensor, 0);
    Tensor data = Tensor::zeros(Shape(tensor.shape), DType::f32);
    std::ranges::copy(values, data.as<float>());
    const size_t slash = tensor.name.find('/');
    by_module[tensor.name.substr(0, slash)].push_back({.name = tensor.name.substr(slash + 1), .tensor = data});
  }
  for (const auto& [module, tensors] : by_module) write_safetensors(folder / module / "model.safetensors", tensors);
}

ReadFile reader(const std::filesystem::path& folder) {
  return [folder](const std::string& name) -> std::optional<std::string> {
    if (!std::filesystem::exists(folder / name)) return std::nullopt;
    return read_text_file(folder / name);
  };
}

std::vector<std::string> head_names() {
  std::vector<std::string> names;
  for (const auto& [name, head] : heads().items()) names.push_back(name);
  return names;
}

class BehaviourEmbeddingHead : public testing::TestWithParam<std::string> {};

// Double precision on both sides: what is left is the last rounding to 32 bits.
TEST_P(BehaviourEmbeddingHead, EqualsSentenceTransformers) {
  const Json& expected = heads().at(GetParam());
  const TemporaryFolder folder("arc_head_" + GetParam());
  write_modules(expected, folder.path());
  const Golden golden = read_golden("embeddinggemma");
  const auto n_tokens = static_cast<int32_t>(golden.tokens.size());
  const auto dim = static_cast<int32_t>(golden.logits.size()) / n_tokens;
  const EmbeddingHead head(*read_embedding_modules(reader(folder.path()), dim), dim, 1.0, folder.path());
  Pooler pooler = head.pooler(expected.at("prompt").get<int32_t>() * !head.spec().pooling.include_prompt);
  for (int32_t t = 0; t < n_tokens; ++t) {
    const std::vector<float> state(golden.logits.begin() + t * dim, golden.logits.begin() + (t + 1) * dim);
    pooler.add(t, state);
  }
  const std::vector<float> got = head.finish(pooler.result(), 0);
  const auto vector = expected.at("vector").get<std::vector<double>>();
  ASSERT_EQ(got.size(), vector.size());
  ASSERT_EQ(static_cast<int32_t>(got.size()), head.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], vector[i], 0x1p-24 * std::fabs(vector[i]) + 1e-12) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, BehaviourEmbeddingHead, testing::ValuesIn(head_names()),
                         [](const auto& info) { return info.param; });

TEST(BehaviourEmbeddingModules, WhatIsNotUnderstoodIsRefusedByName) {
  const std::string transformer = R"({"path":"","type":"sentence_transformers.models.Transformer"})";
  const auto module = [](const char* kind) {
    return fmt::format(R"({{"path":"m_{0}","type":"sentence_transformers.models.{0}"}})", kind);
  };
  const auto list = [&](std::initializer_list<const char*> kinds) {
    std::string text = "[" + transformer;
    for (const char* kind : kinds) text += "," + module(kind);
    return text + "]";
  };
  const std::string pooling = R"({"word_embedding_dimension":8,"pooling_mode_mean_tokens":true})";
  struct Case {
    std::map<std::string, std::string> files;
    const char* named;
  };
  const Case cases[] = {
      {{{"modules.json", "[]"}}, "modules.json"},
      {{{"modules.json", "{"}}, "modules.json"},
      {{{"modules.json", list({"Dense", "Pooling"})}}, "Dense"},
      {{{"modules.json", list({"Pooling", "LSTM"})}, {"m_Pooling/config.json", pooling}, {"m_LSTM/config.json", "{}"}},
       "LSTM"},
      {{{"modules.json", list({"Pooling"})}}, "m_Pooling/config.json"},
      {{{"modules.json", list({"Pooling"})}, {"m_Pooling/config.json", R"({"word_embedding_dimension":9})"}}, "9"},
      {{{"modules.json", list({"Pooling"})}, {"m_Pooling/config.json", R"({"pooling_mode":"median"})"}}, "median"},
      {{{"modules.json", list({"Pooling"})}, {"m_Pooling/config.json", R"({"warp_factor":9})"}}, "warp_factor"},
      {{{"modules.json", list({"Pooling", "Dense"})},
        {"m_Pooling/config.json", pooling},
        {"m_Dense/config.json", R"({"in_features":9,"out_features":3})"}},
       "9 numbers where 8"},
      {{{"modules.json", list({"Pooling", "Dense"})},
        {"m_Pooling/config.json", pooling},
        {"m_Dense/config.json", R"({"in_features":8,"out_features":3,"activation_function":"os.system"})"}},
       "os.system"},
      {{{"modules.json", R"([{"path":"","type":"sentence_transformers.models.Transformer"},
                             {"path":"../up","type":"sentence_transformers.models.Pooling"}])"}},
       "../up"},
      {{{"modules.json", list({"Pooling"})},
        {"m_Pooling/config.json", pooling},
        {"sentence_bert_config.json", R"({"do_lower_case":true})"}},
       "do_lower_case"},
      {{{"modules.json", list({"Pooling"})},
        {"m_Pooling/config.json", pooling},
        {"config_sentence_transformers.json", R"({"prompts":{"a":"x"},"default_prompt_name":"b"})"}},
       "default_prompt_name"},
  };
  for (const Case& c : cases) {
    const auto read = [&](const std::string& name) -> std::optional<std::string> {
      const auto found = c.files.find(name);
      return found == c.files.end() ? std::nullopt : std::optional(found->second);
    };
    try {
      read_embedding_modules(read, 8);
      ADD_FAILURE() << c.files.begin()->second;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(c.named), std::string::npos) << e.what();
    }
  }
}

// ---- engines -------------------------------------------------------------------------------------------------------

std::vector<int32_t> text(int32_t n, int32_t seed) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < n; ++i) tokens.push_back((seed + 37 * i + i * i) % kVocab);
  return tokens;
}

EmbeddingRequest vector_of(std::vector<int32_t> tokens, EmbeddingParams params = {}) {
  return {.prompt = TokenPrompt{std::move(tokens)}, .params = std::move(params)};
}

class BehaviourEmbedding : public testing::TestWithParam<const char*> {
 protected:
  BehaviourEmbedding() : folder_("arc_embedding") {}

  // The golden's model, with the modules of a case of heads.json ("": none). Letters are tokens 0 to 25.
  void write_model(const std::string& golden, const std::string& head) {
    write_model_folder(read_golden(golden), kVocab, folder_.path());
    nlohmann::ordered_json vocabulary;
    for (int i = 0; i < kVocab; ++i)
      vocabulary[i < 26 ? std::string(1, static_cast<char>('a' + i)) : fmt::format("<t{}>", i)] = i;
    std::ofstream(folder_.path() / "tokenizer.json") << bpe_tokenizer(vocabulary, nullptr);
    if (head.empty()) return;
    Json of_model = heads().at(head);
    const int dim = parse_json(read_golden(golden).config_json, "config").at("hidden_size").get<int>();
    for (auto& [name, content] : of_model["files"].items()) {  // as wide as this model
      Json config = parse_json(content.get<std::string>(), name);
      for (const char* key : {"word_embedding_dimension", "embedding_dimension"}) {
        if (config.is_object() && config.contains(key)) config[key] = dim;
      }
      content = config.dump();
    }
    write_modules(of_model, folder_.path());
  }

  void write_settings(const char* json) { std::ofstream(folder_.path() / "config_sentence_transformers.json") << json; }

  EngineConfig config() const {
    return {.model = folder_.path(),
            .max_seqs = 8,
            .max_batched_tokens = 24,
            .max_seq_len = kLength,
            .kv_memory_bytes = 64 << 20,
            .executor = GetParam()};
  }

  static std::vector<std::vector<float>> alone(Engine& engine, const std::vector<EmbeddingRequest>& requests) {
    std::vector<std::vector<float>> out;
    for (const EmbeddingRequest& request : requests) out.push_back(embed(engine, {request})[0].values);
    return out;
  }

  static std::vector<EmbeddingRequest> some() {
    std::vector<EmbeddingRequest> requests;
    for (const int32_t n : {1, 2, 30, 100, 7, kLength, 64, 65, 130}) requests.push_back(vector_of(text(n, n)));
    requests.push_back(vector_of(text(150, 130)));  // begins like the one before
    return requests;
  }

  static void expect(Engine& engine, const std::vector<std::vector<float>>& expected, const char* what) {
    const std::vector<Embedding> got = embed(engine, some());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].values, expected[i]) << what << ", text " << i;
  }

  TemporaryFolder folder_;
};

// sqrt(T) is by how much the mode that divides by it magnifies an error of the states.
TEST_P(BehaviourEmbedding, OfTransformersStatesIsSentenceTransformersVector) {
  write_model("embeddinggemma", "all_modes");
  const Golden golden = read_golden("embeddinggemma");
  const auto engine = load_engine(config());
  const auto expected = heads().at("all_modes").at("vector").get<std::vector<double>>();
  const Embedding got = embed(*engine, {vector_of(golden.tokens)})[0];
  EXPECT_EQ(got.prompt_tokens, static_cast<int32_t>(golden.tokens.size()));
  ASSERT_EQ(got.values.size(), expected.size());
  const double bound = 4.0 * golden.f32_error.back();
  const size_t dim = expected.size() / 6;
  double worst = 0.0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double magnified = i / dim == 3 ? std::sqrt(static_cast<double>(golden.tokens.size())) : 1.0;
    worst = std::max(worst, std::fabs(got.values[i] - expected[i]) / (bound * magnified));
  }
  std::printf("  vectors of all modes: worst share of the bound %.3f\n", worst);
  EXPECT_LE(worst, 1.0);
}

TEST_P(BehaviourEmbedding, DenseLayersAndLengthOne) {
  write_model("embeddinggemma", "embeddinggemma");
  const Golden golden = read_golden("embeddinggemma");
  const auto engine = load_engine(config());
  EXPECT_FALSE(engine->info().generates);
  EXPECT_EQ(engine->info().embedding_size, 44);
  const auto expected = heads().at("embeddinggemma").at("vector").get<std::vector<double>>();
  const std::vector<float> got = embed(*engine, {vector_of(golden.tokens)})[0].values;
  ASSERT_EQ(got.size(), expected.size());
  double squares = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], expected[i], 1e-5) << i;
    squares += double{got[i]} * got[i];
  }
  EXPECT_NEAR(squares, 1.0, 1e-6);

  const std::vector<float> first = embed(*engine, {vector_of(golden.tokens, {.dimensions = 5})})[0].values;
  const double length = std::sqrt(std::inner_product(got.begin(), got.begin() + 5, got.begin(), 0.0));
  ASSERT_EQ(first.size(), 5u);
  for (size_t i = 0; i < first.size(); ++i) EXPECT_NEAR(first[i], got[i] / length, 1e-6);
}

TEST_P(BehaviourEmbedding, BothWaysBatchedEqualsAlone) {
  write_model("embeddinggemma", "embeddinggemma");
  const auto engine = load_engine(config());  // steps of 24 tokens were asked for
  const std::vector<std::vector<float>> expected = alone(*engine, some());
  expect(*engine, expected, "together");
  expect(*engine, expected, "again");
  EXPECT_EQ(engine->stats().cached_tokens_total, 0);
  EXPECT_NE(expected[8], expected[9]);
  for (const int threads : {1, 3}) {
    EngineConfig c = config();
    c.threads = threads;
    if (std::string(GetParam()) == "cpu") expect(*load_engine(c), expected, "threads");
  }
}

// Texts of several cache tiles. A query that sees one position too many or too few moves a vector by far more.
TEST_P(BehaviourEmbedding, BothWaysAsInTheReference) {
  write_model("embeddinggemma", "embeddinggemma");
  EngineConfig reference = config();
  reference.executor = "ref";
  const std::vector<std::vector<float>> expected = alone(*load_engine(reference), some());
  const std::vector<std::vector<float>> got = alone(*load_engine(config()), some());
  double worst = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    for (size_t j = 0; j < got[i].size(); ++j) worst = std::max<double>(worst, std::fabs(got[i][j] - expected[i][j]));
  }
  std::printf("  %s against the reference: %.1e\n", GetParam(), worst);
  EXPECT_LT(worst, 1e-5);
}

TEST_P(BehaviourEmbedding, CausalInChunksEqualsWhole) {
  for (const char* head : {"qwen3_embedding", "all_modes"}) {
    write_model("qwen3", head);
    EngineConfig c = config();
    c.max_batched_tokens = 256;
    c.prefix_cache = false;
    const std::vector<std::vector<float>> expected = alone(*load_engine(c), some());
    for (const int32_t tokens : {8, 24, 100}) {
      c = config();
      c.max_batched_tokens = tokens;
      const auto engine = load_engine(c);
      expect(*engine, expected, head);
      expect(*engine, expected, "through the prefix cache");
      const bool whole_tiles = engine->stats().cached_tokens_total > 0;
      EXPECT_EQ(whole_tiles, std::string(head) == "qwen3_embedding");  // the others need every row
    }
  }
}

// Answers and vectors in the same steps, in a cache so tight that sequences have to leave.
TEST_P(BehaviourEmbedding, BesideGenerationBothAreAsAlone) {
  write_model("qwen3", "");
  constexpr int kAnswers = 5;
  const auto answer = [](int i) {
    return Request{.prompt = TokenPrompt{text(40 + 12 * i, i)},
                   .sampling = {.temperature = 0.8f, .seed = 100 + i, .max_tokens = 40, .ignore_eos = true}};
  };
  for (const char* pooling : {"last", "mean"}) {
    EngineConfig c = config();
    c.pooling = pooling;
    std::vector<std::vector<int32_t>> answers;
    std::vector<std::vector<float>> vectors;
    {
      const auto engine = load_engine(c);
      EXPECT_TRUE(engine->info().generates);
      for (int i = 0; i < kAnswers; ++i) {
        Client client(*engine);
        client.send(answer(i));
        answers.push_back(client.wait()[0].tokens);
      }
      vectors = alone(*engine, some());
    }
    int64_t preempted = 0;
    for (c.kv_memory_bytes = 64 << 10; preempted == 0; c.kv_memory_bytes += c.kv_memory_bytes / 16) {
      ASSERT_LT(c.kv_memory_bytes, 64 << 20) << "no size preempts";
      try {
        c.swap_memory_bytes = 64 << 20;
        const auto engine = load_engine(c);
        Client client(*engine);
        const std::vector<EmbeddingRequest> texts = some();
        for (int i = 0; i < kAnswers; ++i) client.send(answer(i));
        for (const EmbeddingRequest& r : texts) client.send({.prompt = r.prompt, .embedding = r.params});
        const std::vector<Answer> got = client.wait();
        for (int i = 0; i < kAnswers; ++i) EXPECT_EQ(got[i].tokens, answers[i]) << pooling << ", answer " << i;
        for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(got[kAnswers + i].embedding, vectors[i]) << pooling << i;
        preempted = engine->stats().preemptions_swap;
      } catch (const Error&) {
        continue;
      }
    }
    std::printf("  %s: %ld preemptions in %ld bytes\n", pooling, static_cast<long>(preempted),
                static_cast<long>(c.kv_memory_bytes));
  }
}

TEST_P(BehaviourEmbedding, PromptsComeBeforeTexts) {
  write_model("qwen3", "qwen3_embedding");
  write_settings(R"({"prompts":{"query":"qq","document":""},"default_prompt_name":"query"})");
  const auto engine = load_engine(config());
  const auto of_text = [&](const char* s, EmbeddingParams params = {}) {
    return embed(*engine, {{.prompt = TextPrompt{s}, .params = std::move(params)}})[0].values;
  };
  const auto of_tokens = [&](std::vector<int32_t> tokens) {
    return embed(*engine, {vector_of(std::move(tokens))})[0].values;
  };
  EXPECT_EQ(of_text("ab"), of_tokens({16, 16, 0, 1}));
  EXPECT_EQ(of_text("ab", {.prompt_name = "query"}), of_text("ab"));
  EXPECT_EQ(of_text("ab", {.prompt_name = "document"}), of_tokens({0, 1}));
  EXPECT_EQ(of_text("ab", {.prompt_name = ""}), of_tokens({0, 1}));
  EXPECT_THROW(of_text("ab", {.prompt_name = "answer"}), Error);
  EXPECT_THROW(embed(*engine, {vector_of({1}, {.prompt_name = "query"})}), Error);

  // Without the prompt's states: of a causal model, the first that counts is the last of what is read so far.
  Json head = heads().at("without_prompt");
  head["files"]["1_Pooling/config.json"] = R"({"pooling_mode":"cls","include_prompt":false})";
  write_modules(head, folder_.path());
  const auto without = load_engine(config());
  write_modules(heads().at("all_modes"), folder_.path());
  std::ofstream(folder_.path() / "1_Pooling/config.json") << R"({"pooling_mode":"lasttoken"})";
  const auto last = load_engine(config());
  EXPECT_EQ(embed(*without, {{.prompt = TextPrompt{"ab"}}})[0].values,
            embed(*last, {{.prompt = TextPrompt{"a"}}})[0].values);
}

TEST_P(BehaviourEmbedding, WhatCannotBeDoneIsRefused) {
  write_model("embeddinggemma", "embeddinggemma");
  std::ofstream(folder_.path() / "sentence_bert_config.json") << R"({"max_seq_length":100,"do_lower_case":false})";
  const auto engine = load_engine(config());
  const auto message = [&](Engine& on, Request request) {
    try {
      on.submit(std::move(request), [](const Event&) {});
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("taken");
  };
  const std::string too_long = message(*engine, {.prompt = TokenPrompt{text(101, 1)}, .embedding = EmbeddingParams{}});
  EXPECT_NE(too_long.find("101"), std::string::npos) << too_long;
  EXPECT_NE(too_long.find("at most 100"), std::string::npos) << too_long;
  EXPECT_EQ(embed(*engine, {vector_of(text(101, 1), {.truncate = true})})[0].values,
            embed(*engine, {vector_of(text(100, 1))})[0].values);
  EXPECT_NE(message(*engine, {.prompt = TokenPrompt{{1}}}).find("embedding model"), std::string::npos);
  const Request conversation{.prompt = ChatPrompt{.messages_json = "[]"}, .embedding = EmbeddingParams{}};
  EXPECT_NE(message(*engine, conversation).find("conversation"), std::string::npos);
  EXPECT_NE(message(*engine, {.prompt = TokenPrompt{{1}}, .embedding = EmbeddingParams{.dimensions = 45}}).find("44"),
            std::string::npos);
  EXPECT_THROW(embed(*engine, {vector_of({})}), Error);

  std::filesystem::remove_all(folder_.path() / "modules.json");
  const std::string report = load_engine(config())->info().load_report;
  EXPECT_NE(report.find("mean pooling, length 1: 44 numbers (no modules.json"), std::string::npos) << report;

  write_model("qwen3", "");
  EXPECT_NE(
      message(*load_engine(config()), {.prompt = TokenPrompt{{1}}, .embedding = EmbeddingParams{}}).find("--pooling"),
      std::string::npos);
  EngineConfig unknown = config();
  unknown.pooling = "median";
  EXPECT_THROW(load_engine(unknown), Error);
}

INSTANTIATE_TEST_SUITE_P(Executors, BehaviourEmbedding, testing::Values("ref", "cpu"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace arc::test
