// What is counted, judged and kept, against an engine whose numbers are known.
#include "arc/eval.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <unistd.h>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

#include "arc/score.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "eval/byte_engine.h"
#include "eval/divergence.h"
#include "eval/windows.h"

namespace arc {
namespace {

namespace fs = std::filesystem;

const std::string kText = "It was a bright cold day in April, and the clocks had batteries that were low. Nobody knew.";

class Files : public testing::Test {
 protected:
  Files() : folder_(fs::temp_directory_path() / ("arc_eval_" + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~Files() override { fs::remove_all(folder_); }
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  fs::path folder_;
};

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

double nll_of(const std::string& text) {
  double sum = 0;
  for (size_t i = 1; i < text.size(); ++i) sum -= ByteEngine::logprob(static_cast<unsigned char>(text[i]));
  return sum / static_cast<double>(text.size() - 1);
}

TEST(Windows, EveryTokenButTheFirstCountsOnceWithTextBeforeIt) {
  ByteEngine engine;
  const std::vector<int32_t> tokens = engine.tokenize(TextPrompt{.text = kText});
  for (int32_t window = 2; window <= 64; window += 3) {
    for (int32_t stride = 1; stride < window; stride += 2) {
      size_t next = 1;
      for (const Window& w : cut_windows(engine, {kText}, {.window = window, .stride = stride}).list) {
        const size_t begin = next - static_cast<size_t>(w.first);
        ASSERT_EQ(w.tokens, std::vector<int32_t>(tokens.begin() + static_cast<ptrdiff_t>(begin),
                                                 tokens.begin() + static_cast<ptrdiff_t>(begin + w.tokens.size())));
        ASSERT_GE(w.counted(), 1);
        ASSERT_LE(w.tokens.size(), static_cast<size_t>(window));
        ASSERT_GE(w.first, next > 1 ? window - stride : 1);
        next += static_cast<size_t>(w.counted());
      }
      ASSERT_EQ(next, tokens.size());
    }
  }
}

TEST(Windows, SizesThatDoNotFitAreRefused) {
  ByteEngine engine;
  EXPECT_NE(refusal([&] { cut_windows(engine, {kText}, {.window = 65}); }).find("65"), std::string::npos);
  EXPECT_NE(refusal([&] { cut_windows(engine, {kText}, {.window = 8, .stride = 8}); }).find("8"), std::string::npos);
  EXPECT_NE(refusal([&] { cut_windows(engine, {"", "x"}, {}); }), "");
}

TEST(Perplexity, DoesNotDependOnWindowsWhereContextDoesNotMatter) {
  ByteEngine engine;
  for (const int32_t stride : {0, 1, 7, 31}) {
    const Perplexity p = evaluate_perplexity(engine, {kText}, {.window = 32, .stride = stride}, {});
    EXPECT_EQ(p.tokens, static_cast<int64_t>(kText.size()) - 1);
    EXPECT_NEAR(p.nll, nll_of(kText), 1e-9);
    EXPECT_NEAR(p.perplexity, std::exp(nll_of(kText)), 1e-6);
    EXPECT_NEAR(p.bits_per_byte * static_cast<double>(kText.size()) * std::log(2.0), p.nll * p.tokens, 1e-6);
  }
}

TEST(Perplexity, ErrorIsThatOfWindowMeans) {
  EXPECT_NEAR(mean_of({{.sum = 2, .n = 2}, {.sum = 6, .n = 2}}).mean, 2.0, 1e-12);
  EXPECT_NEAR(mean_of({{.sum = 2, .n = 2}, {.sum = 6, .n = 2}}).error, 1.0, 1e-12);  // means 1 and 3: sqrt(2 / 2)
  EXPECT_EQ(mean_of({{.sum = 2, .n = 2}}).error, 0.0);
}

TEST(Score, GivesEachTokenAfterTheFirst) {
  ByteEngine engine;
  const std::vector<Score> scores = score(engine, {{.tokens = {5, 6, 7}}, {.tokens = {9}}});
  EXPECT_EQ(scores[0].logprobs, (std::vector<float>{ByteEngine::logprob(6), ByteEngine::logprob(7)}));
  EXPECT_TRUE(scores[1].logprobs.empty());
  engine.fail_at = engine.read.size() + 1;
  EXPECT_EQ(refusal([&] { score(engine, {{.tokens = {5}}, {.tokens = {6}}}); }), "it broke");
}

TEST(Divergence, RowsAreComparedInFull) {
  const std::vector<float> p = {1.0f, 2.0f, -1.0f}, shifted = {4.0f, 5.0f, 2.0f}, q = {3.0f, 0.0f, -1.0f};
  const RowDivergence same = compare_rows(p, shifted);
  EXPECT_NEAR(same.kl, 0.0, 1e-12);
  EXPECT_TRUE(same.same_top && !same.catastrophic);
  const auto share = [](const std::vector<float>& x, size_t i) {
    return std::exp(x[i]) / (std::exp(x[0]) + std::exp(x[1]) + std::exp(x[2]));
  };
  double want = 0;
  for (size_t i = 0; i < 3; ++i) want += share(p, i) * std::log(share(p, i) / share(q, i));
  const RowDivergence other = compare_rows(p, q);
  EXPECT_NEAR(other.kl, want, 1e-6);
  EXPECT_FALSE(other.same_top);
  EXPECT_EQ(other.catastrophic, share(q, 1) < share(p, 1) / 10);
  EXPECT_TRUE(compare_rows(std::vector<float>{9.0f, 0.0f}, std::vector<float>{0.0f, 9.0f}).catastrophic);
}

TEST(Divergence, OfAnEngineFromItselfIsNothing) {
  ByteEngine engine, tilted;
  tilted.tilt = 0.5f;
  const Divergence none = evaluate_divergence(engine, engine, {kText}, {.window = 32}, {});
  EXPECT_EQ(none.positions, static_cast<int64_t>(kText.size()) - 1);
  EXPECT_EQ(none.mean, 0.0);
  EXPECT_EQ(none.same_top, 1.0);
  const Divergence some = evaluate_divergence(tilted, engine, {kText}, {.window = 32}, {});
  EXPECT_GT(some.mean, 0.0);
  EXPECT_NEAR(some.p99, some.mean, 1e-9);  // every row is the same
  EXPECT_NEAR(some.mean_error, 0.0, 1e-9);
}

TEST(IsRight, JudgesAsTheTrainingDoes) {
  const auto cases = nlohmann::json::parse(read_text_file(fs::path(ARC_SOURCE_DIR) / "training/is_right_cases.json"));
  const std::map<std::string, EvalTask::Check> checks = {{"exact", EvalTask::Check::exact},
                                                         {"contains", EvalTask::Check::contains},
                                                         {"json", EvalTask::Check::json},
                                                         {"call", EvalTask::Check::call}};
  for (const auto& one : cases) {
    EvalTask task{.check = checks.at(one["check"]), .expected = one["expected"]};
    if (one.contains("must")) task.must = one["must"].get<std::vector<std::string>>();
    EXPECT_EQ(is_right(task, one["answer"]), one["right"].get<bool>()) << one.dump();
  }
}

const std::string kSet =
    R"({"filler": ["First.", "Second.", "Third."]}
{"task": "needle", "messages": [{"role": "user", "content": ["Read.", [1, 3], "Who?"]}], "check": "exact", "expected": "Ada", "tokens": 64, "depth": 0.5}
{"task": "needle", "messages": [{"role": "user", "content": "Who?"}], "tools": [{"x": 1}], "check": "contains", "must": ["Bob"], "expected": "Bob", "tokens": 32, "depth": 0.0}
{"task": "sum", "messages": [{"role": "user", "content": "1 + 1"}], "tools": [], "check": "exact", "expected": "2"}
)";

TEST_F(Files, TasksAreReadAndFillerIsPutIn) {
  const std::vector<EvalTask> tasks = read_tasks(file("tasks.jsonl", kSet));
  ASSERT_EQ(tasks.size(), 3u);
  EXPECT_EQ(tasks[0].prompt.messages_json, R"([{"role":"user","content":"Read.\n\nSecond.\n\nThird.\n\nWho?"}])");
  EXPECT_EQ(tasks[1].prompt.tools_json, R"([{"x":1}])");
  EXPECT_EQ(tasks[2].prompt.tools_json, "");
  for (const char* bad :
       {R"({"task": "x"})", R"([1])", "{", R"({"task": "x", "messages": [], "check": "guess", "expected": ""})",
        R"({"task": "x", "messages": [{"content": [[0, 9]]}], "check": "exact", "expected": ""})",
        R"({"task": "x", "messages": [], "check": "contains", "must": [], "expected": ""})"}) {
    EXPECT_NE(refusal([&] { read_tasks(file("bad.jsonl", bad)); }).find("line 1 of "), std::string::npos) << bad;
  }
}

TEST_F(Files, AnswersAreCountedByLengthAndDepth) {
  const std::vector<EvalTask> tasks = read_tasks(file("tasks.jsonl", kSet));
  ByteEngine engine;
  engine.answers[tasks[0].prompt.messages_json] = "Ada\n";
  const std::vector<TaskAnswer> answers = answer_tasks(engine, tasks, {});
  EXPECT_TRUE(answers[0].right);
  EXPECT_FALSE(answers[1].right);
  const NeedleGrid grid = needle_grid({tasks[0], tasks[1]}, {answers[0], answers[1]});
  EXPECT_EQ(grid.lengths, (std::vector<int32_t>{32, 64}));
  EXPECT_EQ(grid.depths, (std::vector<double>{0.0, 0.5}));
  EXPECT_EQ(grid.cells[0].right, 0);
  EXPECT_EQ(grid.cells[1].n, 0);
  EXPECT_EQ(grid.cells[3].right, 1);
  const std::string svg = needle_svg(grid, "a < b & c");
  EXPECT_NE(svg.find("a &lt; b &amp; c"), std::string::npos);
  EXPECT_NE(svg.find(">100<"), std::string::npos);
}

TEST_F(Files, AStoppedRunGoesOnWhereItWas) {
  const std::string state = folder_ / "state";
  const EvalRun run{.state = state, .settings = "x"};
  const TextOptions cut{.window = 16, .stride = 8};
  ByteEngine broken, engine, fresh;
  broken.fail_at = 3;
  EXPECT_EQ(refusal([&] { evaluate_perplexity(broken, {kText}, cut, run); }), "it broke");
  std::ofstream(state, std::ios::app) << R"({"part": 5, "res)";  // cut off while it was written
  const Perplexity resumed = evaluate_perplexity(engine, {kText}, cut, run);
  const Perplexity whole = evaluate_perplexity(fresh, {kText}, cut, {});
  EXPECT_EQ(engine.read.size(), fresh.read.size() - 3);
  EXPECT_EQ(resumed.nll, whole.nll);
  for (const EvalRun& other : {EvalRun{.state = state, .settings = "y"}}) {
    EXPECT_NE(refusal([&] { evaluate_perplexity(engine, {kText}, cut, other); }).find("another evaluation"),
              std::string::npos);
  }
  EXPECT_NE(refusal([&] { evaluate_perplexity(engine, {kText}, {.window = 32}, run); }), "");
}

}  // namespace
}  // namespace arc
