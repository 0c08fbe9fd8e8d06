// Runs a program without a terminal.
#pragma once

#include <string>
#include <vector>

namespace arc::test {

struct Output {
  int status = -1;  // exit code; 128 + signal when a signal ended it
  std::string out, err;
};

// `environment`: "NAME=value" added to this process's own. The program's standard input is `input`.
Output run_program(const std::vector<std::string>& words, const std::string& input = "",
                   const std::vector<std::string>& environment = {});

// The same for the program under test: run_arc({"run", "--help"}).
Output run_arc(std::vector<std::string> words, const std::string& input = "",
               const std::vector<std::string>& environment = {});

// The first line of the answer to GET /health on this machine; comes when the server runs.
std::string ask_health(const std::string& port);

// In a forked child: becomes `words`, or exits with 127.
[[noreturn]] void become(const std::vector<std::string>& words, const std::vector<std::string>& environment);

// Waits for a child and gives its status as in Output.
int wait_for(int pid);

}  // namespace arc::test
