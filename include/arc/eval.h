// How good a model is, and what a setting costs: perplexity, divergence between two settings, tasks with known answers.
// `arc eval` prints it. All of it works through the public interface of an engine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arc/engine.h"

namespace arc {

// How an evaluation runs, whatever it measures.
struct EvalRun {
  std::string state;     // a file that keeps finished parts, so that a run that was cut off goes on; empty: none
  std::string settings;  // model and settings in words: a state file of others is refused
  ProgressSink progress;
};

// ---- texts ---------------------------------------------------------------------------------------------------------

// The documents of a file: each line's "text" in a .jsonl file, else the whole file as one. Throws Error.
std::vector<std::string> read_documents(const std::string& path);

// Documents longer than a window are read in windows that begin `stride` tokens after one another, and of each only the
// tokens that no window before it held are counted: all but the first window's have window - stride tokens before them.
struct TextOptions {
  int32_t window = 0;  // tokens; 0: as long as the model allows, at most 2048
  int32_t stride = 0;  // 0: half a window
};

// Errors are standard errors; windows are taken as independent, neighbouring tokens are not.
struct Perplexity {
  int64_t tokens = 0, bytes = 0, windows = 0;
  double nll = 0, nll_error = 0;  // mean negative log-likelihood of a token, in nats
  double perplexity = 0, perplexity_error = 0;
  double bits_per_byte = 0;
};
// Throws Error(invalid_argument) when no text has two tokens.
Perplexity evaluate_perplexity(Engine& engine, const std::vector<std::string>& documents, const TextOptions& options,
                               const EvalRun& run);

// Kullback-Leibler divergence of the next token's distribution from the reference's, in nats, over all positions that
// evaluate_perplexity counts.
struct Divergence {
  int64_t positions = 0, windows = 0;
  double mean = 0, mean_error = 0, median = 0, p99 = 0, max = 0;
  double same_top = 0;      // share of positions where both find the same token most likely
  double catastrophic = 0;  // share where the reference's most likely token keeps less than a tenth of its probability
  double perplexity = 0, reference_perplexity = 0;
};
// Both engines have the same vocabulary, else Error(invalid_argument).
Divergence evaluate_divergence(Engine& engine, Engine& reference, const std::vector<std::string>& documents,
                               const TextOptions& options, const EvalRun& run);

// ---- tasks ---------------------------------------------------------------------------------------------------------

// A conversation, what the model ought to answer, and the rule that judges it.
struct EvalTask {
  enum class Check {
    exact,     // the whole text, but for space around it
    contains,  // every text of `must`
    json,      // a JSON document of equal value
    call,      // equal calls of functions, and nothing else
  };
  std::string task;  // what it is counted under
  ChatPrompt prompt;
  Check check = Check::exact;
  std::vector<std::string> must;
  std::string expected;
  int32_t tokens = 0;  // needle: nominal length of the context,
  double depth = 0;    // and where in it the answer stands, 0 to 1
};

// Reads lines of JSON as training/heldout.py writes them. Throws Error that names the line.
std::vector<EvalTask> read_tasks(const std::string& path);

bool is_right(const EvalTask& task, const std::string& answer);

struct TaskAnswer {
  std::string text;
  bool right = false;
};

// Greedy answers, each as long as the longest expected one of its task and a little longer.
std::vector<TaskAnswer> answer_tasks(Engine& engine, const std::vector<EvalTask>& tasks, const EvalRun& run);

// Share of right answers with its standard error.
struct Accuracy {
  int64_t n = 0, right = 0;
  double share() const { return n > 0 ? static_cast<double>(right) / static_cast<double>(n) : 0.0; }
  double error() const;
};

// Accuracy by length and depth.
struct NeedleGrid {
  std::vector<int32_t> lengths;  // rows, ascending
  std::vector<double> depths;    // columns, ascending
  std::vector<Accuracy> cells;   // [lengths, depths]
};
NeedleGrid needle_grid(const std::vector<EvalTask>& tasks, const std::vector<TaskAnswer>& answers);

// A picture of the grid.
std::string needle_svg(const NeedleGrid& grid, const std::string& title);

}  // namespace arc
