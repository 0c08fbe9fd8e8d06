// Every command and option of the program, in one place: parsing, --help and completions all come from it.
#pragma once

#include <string>

#include "CLI/CLI.hpp"

#include "commands.h"

namespace arc::app {

struct CommandLine {
  std::string kind = "auto";
  EngineConfig engine;
  RunOptions run;
  ServeOptions serve;
  BenchCommandOptions bench;
  EvalOptions eval;
  std::string against;
  std::string shell;
};

// Adds the commands run, serve, bench, eval, inspect and completions to `app`. Parsing fills `line`, which outlives
// `app`.
void define_commands(CLI::App& app, CommandLine& line);

// A script for `shell` (bash, zsh or fish) that completes commands, options and their values.
std::string completion_script(const CLI::App& app, const std::string& shell);

// What an option calls its value: "FILE", "N", "{a,b}" for a choice, or nothing.
std::string value_name(const CLI::Option& option);

// --help in 80 columns.
class HelpFormatter : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
};

}  // namespace arc::app
