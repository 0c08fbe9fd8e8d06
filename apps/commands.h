// The commands of `arc`. Each returns the process's exit code and throws arc::Error for what the user can mend.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arc/bench.h"
#include "arc/engine.h"

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

// Loads the model with a bar on stderr, when that is a terminal.
std::unique_ptr<Engine> load(const EngineConfig& config);

// One answer, or a conversation when there is no prompt and standard input is a terminal.
int run(const EngineConfig& config, RunOptions options);
int serve(const EngineConfig& config, const ServeOptions& options);
int bench(const EngineConfig& config, const BenchCommandOptions& options);

}  // namespace arc::app
