// The subcommands of `arc`. Each returns the process's exit code and throws arc::Error for what the user can mend.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arc/engine.h"

namespace arc::app {

struct RunOptions {
  std::string prompt;
  bool json = false;
  bool raw = false;  // the prompt as it is, without the chat template
  SamplingParams sampling;
};

struct ServeOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 1234;
  std::string api_key;
};

int run(const EngineConfig& config, const RunOptions& options);
int serve(const EngineConfig& config, const ServeOptions& options);

}  // namespace arc::app
