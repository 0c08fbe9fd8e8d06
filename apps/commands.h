// The commands of `arc`. Each returns the process's exit code and throws arc::Error for what the user can mend.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arc/bench.h"
#include "arc/engine.h"
#include "arc/eval.h"

namespace arc::app {

struct RunOptions {
  std::string prompt;
  bool json = false;
  bool raw = false;  // text as it is, without the chat template
  std::optional<bool> thinking;
  std::string system;
  SamplingDefaults wishes;  // what the user named; the rest is the model's own
  SamplingParams sampling;
};

struct ServeOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 1234;
  std::string api_key;
  std::vector<std::string> allowed_origins;
  bool ui = false;
};

struct BenchCommandOptions {
  BenchOptions bench;
  bool json = false;
};

struct EvalOptions {
  std::string what;  // perplexity, kl, needle or tasks
  std::string set;   // file of texts or tasks; empty: the one that comes with Arc
  TextOptions text;
  int32_t documents = 0;                // of the texts, the first; 0: all
  std::optional<EngineConfig> against;  // the reference of kl
  std::vector<std::string> only;        // tasks
  std::vector<int32_t> lengths;         // of the needle; empty: all
  int32_t every = 1, from = 0;          // of the tasks, each so-manieth behind so many
  std::string state, settings, svg;
  bool json = false;
};

// Loads the model with a bar on stderr, when that is a terminal.
std::unique_ptr<Engine> load(const EngineConfig& config);

// One answer, or a conversation when there is no prompt and standard input is a terminal.
int run(const EngineConfig& config, RunOptions options);
int serve(const EngineConfig& config, const ServeOptions& options);
int bench(const EngineConfig& config, const BenchCommandOptions& options);
int eval(const EngineConfig& config, const EvalOptions& options);

}  // namespace arc::app
