// docs/cli.md is true: every session in it, played again, looks the same but for measured figures. ARC_WRITE_DOCS=1
// writes the sessions anew. Those with a model use a trained one, and are skipped where it is absent.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <regex>

#include "gtest/gtest.h"

#include "base/mapped_file.h"
#include "process.h"
#include "terminal_session.h"

namespace arc::test {
namespace {

namespace fs = std::filesystem;

const fs::path kDocument = fs::path(ARC_SOURCE_DIR) / "docs" / "cli.md";
const std::string kFence = "```console\n$ ";
const std::string kModel = "path/to/model";

fs::path trained_model() {
  const char* shared = std::getenv("ARC_SHARED");
  const fs::path root = shared != nullptr ? fs::path(shared) : fs::path(ARC_SOURCE_DIR) / ".." / "shared";
  return root / "data" / "models" / "tinystories-656k";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

// Numbers with a decimal point, and what follows from the machine's memory and load, differ from run to run.
std::string without_figures(const std::string& text) {
  static const std::regex kFigure("[0-9]+(\\.[0-9]+)?( ?[KMG]B|/s| s)|[0-9]+\\.[0-9]+|for [0-9]+ tokens");
  return std::regex_replace(text, kFigure, "#");
}

// Plays a session on a terminal: a command, then what is typed after each "> " or ". ".
std::string play(const std::string& session) {
  const std::string command = session.substr(2, session.find('\n') - 2);
  const std::string words = replaced(replaced(command, "arc ", std::string(ARC_PROGRAM) + " "), kModel, "./model");
  TerminalSession terminal({"sh", "-c", words}, {"TERM=dumb", "XDG_STATE_HOME=/nonexistent"});
  static const std::regex kTyped("\n([>.] )([^\n]*)");
  std::string seen = "$ " + command + "\n";
  for (std::sregex_iterator it(session.begin(), session.end(), kTyped), end; it != end; ++it) {
    const std::string prompt = (*it)[1], typed = (*it)[2];
    seen += terminal.expect("\n" + prompt) + "\n" + prompt + typed;
    terminal.type(typed == "^D" ? "\x04" : typed + "\r");
    terminal.expect(typed);
  }
  std::string rest;
  terminal.finish(&rest);
  seen += rest;
  while (seen.ends_with("\n\n")) seen.pop_back();
  return replaced(seen, "./model", kModel);
}

class CliDocument : public testing::Test {
 protected:
  // The document with every session played again. Sessions with a model stay as they are when it is absent.
  static std::string played_again(const std::string& document, bool with_model) {
    std::string out;
    size_t at = 0;
    for (size_t fence; (fence = document.find(kFence, at)) != std::string::npos;) {
      const size_t begin = fence + kFence.size() - 2, end = document.find("```", begin);
      const std::string session = document.substr(begin, end - begin);
      const bool possible = with_model || session.substr(0, session.find('\n')).find(kModel) == std::string::npos;
      out += document.substr(at, begin - at) + (possible ? play(session) : session);
      at = end;
    }
    return out + document.substr(at);
  }
};

TEST_F(CliDocument, SessionsAreTrue) {
  const bool with_model = fs::exists(trained_model() / "config.json");
  if (!with_model) std::cout << "no trained model (ARC_SHARED): sessions with a model are not played\n";
  const fs::path here = fs::temp_directory_path() / "arc_cli_document";
  fs::remove_all(here);
  fs::create_directories(here);
  if (with_model) fs::create_directory_symlink(fs::canonical(trained_model()), here / "model");
  const std::string document = read_text_file(kDocument);
  const fs::path before = fs::current_path();
  fs::current_path(here);
  const std::string again = played_again(document, with_model);
  fs::current_path(before);
  fs::remove_all(here);
  if (std::getenv("ARC_WRITE_DOCS") != nullptr) {
    std::ofstream(kDocument) << again;
  } else {
    EXPECT_EQ(without_figures(document), without_figures(again)) << "write docs/cli.md anew with ARC_WRITE_DOCS=1";
  }
}

}  // namespace
}  // namespace arc::test
