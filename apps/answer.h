// One request from the first token to the last; Ctrl-C cancels it.
#pragma once

#include <string>

#include "arc/engine.h"

namespace arc::app {

struct Answer {
  std::string text;
  Event last;                // with finish reason and usage
  bool interrupted = false;  // by Ctrl-C
};

// Waits for the answer; with `stream` prints its text as it comes. Throws Error when the request is refused or fails.
Answer ask(Engine& engine, Request request, bool stream);

// "12 prompt tokens, 398/s; first token 0.12 s; 128 tokens, 24.9/s"
std::string speed_line(const Usage& usage);

}  // namespace arc::app
