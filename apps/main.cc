// The program: command line in, exit code out.
#include <cstdio>
#include <exception>

#include "fmt/format.h"

#include "arc/error.h"
#include "cli.h"
#include "terminal.h"

namespace {

constexpr int kFailed = 1, kWrongUsage = 2;

// The command that was typed, or the whole program.
const CLI::App& chosen(const CLI::App& app) {
  const auto typed = app.get_subcommands();
  return typed.empty() ? app : *typed.front();
}

// `typed`: what stands in its place.
int no_command(const std::string& typed) {
  const std::string what = typed.empty() ? "no command is given" : "there is no command \"" + typed + "\"";
  fmt::print(stderr,
             "arc: {}. There are run, serve, bench, eval,\ninspect and completions; \"arc --help\" says more.\n", what);
  return kWrongUsage;
}

int run_command(const CLI::App& app, arc::app::CommandLine& line) {
  const std::string& command = chosen(app).get_name();
  if (command == "completions") {
    fmt::print("{}", arc::app::completion_script(app, line.shell));
    return 0;
  }
  if (command == "run") return arc::app::run(line.engine, line.run);
  if (command == "serve") return arc::app::serve(line.engine, line.serve);
  if (command == "bench") return arc::app::bench(line.engine, line.bench);
  if (command == "eval") return arc::app::eval(line.engine, line.eval);
  fmt::print("{}", arc::inspect_model(line.engine));
  return 0;
}

int main_checked(int argc, char** argv) {
  arc::app::CommandLine line;
  CLI::App app;
  arc::app::define_commands(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& e) {
    const CLI::App& command = chosen(app);
    if (&command == &app && argc > 1 && argv[1][0] != '-') return no_command(argv[1]);
    fmt::print(stderr, "{}\"arc {}--help\" lists what there is.\n", arc::app::error_text(e.what()),
               &command == &app ? "" : command.get_name() + " ");
    return kWrongUsage;
  }
  if (app.get_subcommands().empty()) return no_command("");
  return run_command(app, line);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return main_checked(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}", arc::app::error_text(e.what()));
    return kFailed;
  }
}
