// One request from the first token to the last; Ctrl-C cancels it.
#pragma once

#include <csignal>
#include <string>

#include "arc/engine.h"

namespace arc::app {

struct Answer {
  std::string text;
  Event last;                // with finish reason and usage
  bool interrupted = false;  // by Ctrl-C
};

// While one lives, Ctrl-C does not end the process but stops the answer that is waited for.
class CatchInterrupt {
 public:
  CatchInterrupt();
  ~CatchInterrupt();
  CatchInterrupt(const CatchInterrupt&) = delete;
  CatchInterrupt& operator=(const CatchInterrupt&) = delete;

  static void forget();  // what was pressed until now

 private:
  struct sigaction before_{};
};

// Waits for the answer, under a CatchInterrupt of the caller; with `stream` prints its text as it comes. Throws Error
// when the request is refused or fails.
Answer ask(Engine& engine, Request request, bool stream);

// "12 prompt tokens, 398/s; first token 0.12 s; 128 tokens, 24.9/s"
std::string speed_line(const Usage& usage);

}  // namespace arc::app
