// Commands without a terminal: help, errors and exit codes, answers in a pipe, bench.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "model_folders.h"
#include "process.h"
#include "terminal_session.h"

namespace arc::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::vector<std::string> kCommands = {"run", "serve", "bench", "eval", "inspect", "completions"};

size_t longest_line(const std::string& text) {
  std::istringstream lines(text);
  size_t longest = 0;
  for (std::string line; std::getline(lines, line);) longest = std::max(longest, line.size());
  return longest;
}

const ModelFolders& models() {
  static const ModelFolders folders;
  return folders;
}

TEST(Help, EveryCommandInEightyColumnsWithExamples) {
  const Output all = run_arc({"--help"});
  EXPECT_EQ(all.status, 0);
  EXPECT_LE(longest_line(all.out), 80u);
  for (const std::string& command : kCommands) {
    EXPECT_THAT(all.out, HasSubstr("\n  " + command + " "));
    const Output help = run_arc({command, "--help"});
    EXPECT_EQ(help.status, 0);
    EXPECT_EQ(help.err, "");
    EXPECT_LE(longest_line(help.out), 80u) << help.out;
    EXPECT_THAT(help.out, HasSubstr("Usage: arc " + command));
    EXPECT_THAT(help.out, HasSubstr("\nExample"));
  }
}

struct Wrong {
  std::vector<std::string> words;
  int status;
  std::vector<std::string> said;
};

TEST(Errors, NameTheThingAndTheNextStep) {
  const std::string empty = (models().root() / "empty").string();
  std::filesystem::create_directories(empty);
  const std::vector<Wrong> cases = {
      {{}, 2, {"arc --help"}},
      {{"walk"}, 2, {"\"walk\"", "arc --help"}},
      {{"--nonsense"}, 2, {"--nonsense", "arc --help"}},
      {{"run", "--temprature", "1"}, 2, {"--temprature", "arc run --help"}},
      {{"run", "-m", "x", "--dtype", "f8", "hi"}, 2, {"--dtype", "bf16", "arc run --help"}},
      {{"run", "-m", "x", "--threads", "-1", "hi"}, 2, {"--threads"}},
      {{"run", "--temperature", "hot", "hi"}, 2, {"--temperature", "hot", "number"}},
      {{"serve", "-p", "99999"}, 2, {"--port", "99999", "65535", "arc serve --help"}},
      {{"completions", "tcsh"}, 2, {"tcsh", "bash"}},
      {{"run", "-m", empty, "hi"}, 1, {"config.json"}},
      {{"run", "-m", "/no/such/folder", "hi"}, 1, {"/no/such/folder"}},
      {{"run", "-m", "someone/some-model", "hi"}, 1, {"hf download someone/some-model"}},
      {{"run", "-m", "no-such-file.gguf", "hi"}, 1, {"no-such-file.gguf"}},
      {{"run", "-m", models().chat()}, 1, {"no prompt", "arc run -m MODEL"}},
      {{"run", "-m", models().chat(), "\xff\xfe"}, 1, {"UTF-8"}},
      {{"run", "-m", models().chat(), "--top-p", "3", "hi"}, 1, {"top_p"}},
      {{"run", "-m", models().chat(), "--max-seq-len", "16", "a prompt of many tokens"}, 1, {"16"}},
      {{"run", "-m", models().base(), "--system", "Be brief.", "hi"}, 1, {"--system", "--chat-template"}},
      {{"bench", "-m", models().base(), "-p", "0", "-n", "0"}, 1, {"nothing to measure"}},
      {{"eval"}, 2, {"what", "arc eval --help"}},
      {{"eval", "taste"}, 2, {"taste", "needle"}},
      {{"eval", "kl", "-m", models().base()}, 1, {"--against"}},
      {{"eval", "kl", "-m", models().base(), "--against", "dtype=f8"}, 1, {"dtype=f8", "bf16"}},
      {{"eval", "tasks", "-m", models().chat(), "--set", "no-such.jsonl"}, 1, {"no-such.jsonl"}},
      {{"eval", "tasks", "-m", models().base()}, 1, {"--chat-template"}},
      {{"bench", "-m", models().base(), "--max-seq-len", "64", "--context", "64"}, 1, {"64", "--kv-memory"}},
  };
  for (const Wrong& wrong : cases) {
    const Output output = run_arc(wrong.words, "", {"HF_HUB_CACHE=" + empty});
    EXPECT_EQ(output.status, wrong.status) << output.err;
    EXPECT_EQ(output.out, "");
    EXPECT_TRUE(output.err.starts_with("arc: ")) << output.err;
    for (const std::string& said : wrong.said) EXPECT_THAT(output.err, HasSubstr(said));
  }
}

class Answers : public testing::Test {
 protected:
  static Output ask(std::vector<std::string> words, const std::string& input = "") {
    words.insert(words.begin(),
                 {"run", "-m", models().chat(), "--temperature", "0", "--max-tokens", "8", "--ignore-eos"});
    return run_arc(words, input);
  }
};

TEST_F(Answers, StdoutHoldsTheAnswerAndNothingElse) {
  const Output plain = ask({"hello"});
  ASSERT_EQ(plain.status, 0) << plain.err;
  EXPECT_EQ(plain.err, "");
  const json whole = json::parse(ask({"--json", "hello"}).out);
  EXPECT_EQ(plain.out, whole["text"].get<std::string>() + "\n");
  EXPECT_EQ(whole["completion_tokens"], 8);
  EXPECT_EQ(whole["prompt_tokens"], 5 + kTemplateTokens);
  EXPECT_EQ(whole["finish_reason"], "length");
  EXPECT_GT(whole["prefill_seconds"], 0.0);
}

TEST_F(Answers, PipedTextIsThePrompt) {
  EXPECT_EQ(ask({}, "hello").out, ask({"hello"}).out);
  EXPECT_EQ(ask({"-i", "hello"}).out, ask({"hello"}).out);
}

TEST_F(Answers, RawAndSystemReachTheTemplate) {
  EXPECT_EQ(json::parse(ask({"--json", "--raw", "hello"}).out)["prompt_tokens"], 5);
  const json system = json::parse(ask({"--json", "--system", "brief", "hello"}).out);
  EXPECT_EQ(system["prompt_tokens"], 5 + kTemplateTokens + 3 + 5);
}

TEST_F(Answers, NoTemplateMeansRawText) {
  const Output output = run_arc({"run", "-m", models().base(), "--max-tokens", "2", "--json", "hello"});
  EXPECT_EQ(json::parse(output.out)["prompt_tokens"], 5);
}

TEST(Inspect, PrintsThePlan) {
  const Output output = run_arc({"inspect", "-m", models().base()});
  EXPECT_EQ(output.status, 0);
  EXPECT_THAT(output.out, HasSubstr("plan llama"));
}

TEST(Run, WithoutAModelTheBuiltInOneAnswers) {
  const Output output = run_arc({"run", "--temperature", "0", "What is Arc?"});
  ASSERT_EQ(output.status, 0) << output.err;
  EXPECT_THAT(output.out, HasSubstr("inference engine and server"));
}

TEST(Bench, FiguresFitTheClockOutside) {
  const auto begin = std::chrono::steady_clock::now();
  const Output output = run_arc({"bench", "-m", models().base(), "-p", "8,32", "-n", "16", "--batch", "1,3",
                                 "--context", "16", "-r", "3", "--json"});
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin;
  ASSERT_EQ(output.status, 0) << output.err;
  const json report = json::parse(output.out);
  ASSERT_EQ(report["results"].size(), 6u);
  double measured = 0;
  for (const json& row : report["results"]) {
    ASSERT_EQ(row["seconds"].size(), 3u);
    for (const json& seconds : row["seconds"]) measured += seconds.get<double>();
    const json& speed = row["tokens_per_second"];
    EXPECT_LE(speed["min"], speed["median"]);
    EXPECT_LE(speed["median"], speed["max"]);
    const double slowest = *std::ranges::max_element(row["seconds"]);
    EXPECT_NEAR(speed["min"].get<double>() * slowest, row["batch"].get<double>() * row["tokens"].get<double>(), 1e-6);
    const std::string unit = row["test"] == "prefill" ? "flops" : "bytes";
    const double reached = row[unit + "_per_second"], ceiling = row["ceiling_" + unit + "_per_second"]["median"];
    EXPECT_NEAR(reached, speed["median"].get<double>() * row[unit + "_per_token"].get<double>(), 1e-9 * reached);
    EXPECT_NEAR(row["share"], reached / ceiling, 1e-9);
  }
  EXPECT_LT(measured, wall.count());
}

TEST(Bench, ATokenReadsTheWeightsOnceForTheBatchAndItsOwnCache) {
  const json report = json::parse(run_arc({"bench", "-m", models().base(), "-p", "0", "-n", "9", "--batch", "1,4",
                                           "--context", "20", "-r", "1", "--warmup", "0", "--json"})
                                      .out);
  const double weights = report["weight_bytes_per_token"], cache = report["cache_bytes_per_context_token"];
  EXPECT_EQ(cache, 3 * 2 * 14 * 2 * 4.0);  // layers, kv heads, head dim, keys and values, f32
  for (const json& row : report["results"]) {
    EXPECT_DOUBLE_EQ(row["bytes_per_token"], weights / row["batch"].get<double>() + cache * 25);
  }
}

TEST(Bench, TableFitsEightyColumns) {
  const Output output = run_arc({"bench", "-m", models().base(), "-p", "8", "-n", "4", "-r", "1", "--warmup", "0"});
  ASSERT_EQ(output.status, 0) << output.err;
  EXPECT_LE(longest_line(output.out), 80u) << output.out;
  EXPECT_THAT(output.out, HasSubstr("\nprefill "));
  EXPECT_THAT(output.out, HasSubstr("\ndecode "));
  EXPECT_THAT(output.out, HasSubstr("read ceiling"));
}

std::string text_file() {
  const std::string path = models().root() / "text.txt";
  std::ofstream(path) << "Tom had a red ball. Tom and the dog had a ball and a cat. The cat had a red dog.";
  return path;
}

TEST(Eval, PerplexityAndDivergenceOfAText) {
  const std::vector<std::string> words = {"-m", models().base(), "--set", text_file(), "--window", "16", "--json"};
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.begin(), "eval");
    more.insert(more.end(), words.begin(), words.end());
    const Output output = run_arc(more);
    EXPECT_EQ(output.status, 0) << output.err;
    EXPECT_EQ(output.err, "");
    return json::parse(output.out);
  };
  const json perplexity = run({"perplexity"});
  EXPECT_NEAR(perplexity["perplexity"], std::exp(perplexity["nll"].get<double>()), 1e-6);
  EXPECT_GT(perplexity["nll_error"], 0.0);
  const json executors = run({"kl", "--against", "executor=ref"});
  EXPECT_EQ(executors["positions"], perplexity["tokens"]);
  EXPECT_LT(executors["mean"], 1e-6);
  EXPECT_EQ(executors["same_top"], 1.0);
  EXPECT_NEAR(executors["perplexity"], perplexity["perplexity"], 1e-6);
  const json types = run({"kl", "--dtype", "bf16", "--against", "dtype=f32"});
  EXPECT_GT(types["mean"], executors["mean"]);
  EXPECT_LE(types["mean"], types["p99"]);
}

TEST(Eval, AStoppedNeedleGoesOnAndIsDrawn) {
  const std::string set = models().root() / "needle.jsonl", state = models().root() / "needle.state",
                    svg = models().root() / "needle.svg";
  std::ofstream file(set);
  for (int i = 0; i < 4; ++i) {
    file << json{{"task", "needle"},
                 {"messages", {{{"role", "user"}, {"content", std::string(static_cast<size_t>(i + 1), 'a')}}}},
                 {"check", "exact"},
                 {"expected", "b"},
                 {"tokens", 8 + 8 * (i % 2)},
                 {"depth", i / 2}}
                .dump()
         << '\n';
  }
  file.close();
  const std::vector<std::string> words = {"eval", "needle", "-m", models().chat(), "--set", set, "--state", state};
  const Output first = run_arc(words);
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_LE(longest_line(first.out), 80u);
  EXPECT_THAT(first.out, HasSubstr("of 4"));
  std::vector<std::string> again = words;
  again.insert(again.end(), {"--svg", svg, "--json"});
  const json report = json::parse(run_arc(again).out);
  EXPECT_EQ(report["n"], 4);
  EXPECT_EQ(report["grid"].size(), 2u);
  EXPECT_TRUE(std::filesystem::exists(svg));
  std::vector<std::string> other = words;
  other.insert(other.end(), {"--every", "2"});
  const Output refused = run_arc(other);
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("another evaluation"));
}

TEST(Serve, SaysWhereItListensAndKeepsTheKeyToItself) {
  TerminalSession session({ARC_PROGRAM, "serve", "-m", models().chat(), "-p", "0", "--host", "0.0.0.0", "--ui",
                           "--served-model-name", "tiny"},
                          {"ARC_API_KEY=hunter2"});
  std::string all = session.expect("the page is not there yet");
  all += session.expect("listening on http://0.0.0.0:");
  const std::string port = session.expect("/v1 as \"tiny\"");
  EXPECT_THAT(ask_health(port), HasSubstr("200"));
  session.type("\x03");
  std::string rest;
  EXPECT_EQ(session.finish(&rest), 0);
  EXPECT_EQ((all + rest).find("hunter2"), std::string::npos);
  EXPECT_EQ((all + rest).find("anyone who reaches"), std::string::npos);
}

}  // namespace
}  // namespace arc::test
