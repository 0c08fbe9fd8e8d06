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

// What is measured or follows from the machine and its load differs from run to run, and with it the columns of a
// table.
std::string without_figures(const std::string& text) {
  static const std::regex kFigure(
      "cpu executor: [^\n]*|\\b(prefill|decode) +[0-9][^\n]*|share of [^,]*|for [0-9]+ tokens|"
      R"([0-9]+(\.[0-9]+)?(e-[0-9]+| ?[KMGT]?[BF]|/s| s)\b)"
      R"(|[0-9]+\.[0-9]+)");
  static const std::regex kSpaces(" +");
  return std::regex_replace(std::regex_replace(text, kFigure, "#"), kSpaces, " ");
}

// What follows a prompt of the conversation, and Ctrl-C for a server.
void type_all(TerminalSession& terminal, const std::string& session, std::string& seen) {
  static const std::regex kTyped("\n([>.] )([^\n]*)");
  for (std::sregex_iterator it(session.begin(), session.end(), kTyped), end; it != end; ++it) {
    const std::string prompt = (*it)[1], typed = (*it)[2];
    seen += terminal.expect_prompt("\n" + prompt) + "\n" + prompt + typed;
    terminal.type(typed == "^D" ? "\x04" : typed + "\r");
    terminal.expect(typed);
  }
  if (session.ends_with("\n^C\n")) {
    const std::string address = "listening on http://127.0.0.1:";
    seen += terminal.expect(address) + address;
    const std::string port = terminal.expect("/v1");
    EXPECT_NE(ask_health(port).find("200"), std::string::npos);
    seen += "1234/v1";
    terminal.type("\x03");
  }
}

// A progress bar is drawn over: only what stands there at the end counts.
std::string without_bars(const std::string& text) {
  static const std::regex kErased("[^\n]*\033\\[K");
  return std::regex_replace(text, kErased, "");
}

// Plays a session on a terminal: a command, then what is typed. A server takes any free port and says 1234.
std::string play(const std::string& session) {
  const std::string command = session.substr(2, session.find('\n') - 2);
  std::string words = std::regex_replace(command, std::regex("\\barc (?=[a-z-])"), std::string(ARC_PROGRAM) + " ");
  words = replaced(replaced(words, " serve -m", " serve -p 0 -m"), kModel, "./model");
  const std::string here = fs::current_path();
  TerminalSession terminal({"sh", "-c", words}, {"TERM=dumb", "XDG_STATE_HOME=" + here, "HF_HUB_CACHE=" + here});
  std::string seen = "$ " + command + "\n", rest;
  type_all(terminal, session, seen);
  terminal.finish(&rest);
  seen = without_bars(seen + rest);
  while (seen.ends_with("\n\n")) seen.pop_back();
  if (!seen.ends_with('\n')) seen += '\n';
  return replaced(replaced(seen, "./model", kModel), here, "~/.cache/huggingface/hub");
}

// The trained model with a chat template that strings the messages together.
void make_model(const fs::path& folder) {
  fs::create_directories(folder);
  for (const fs::directory_entry& file : fs::directory_iterator(trained_model())) {
    fs::create_symlink(fs::canonical(file.path()), folder / file.path().filename());
  }
  std::ofstream(folder / "chat_template.jinja") << "{% for m in messages %}{{ m.content }} {% endfor %}";
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
  const fs::path here = fs::canonical(fs::temp_directory_path()) / "arc_cli_document";
  fs::remove_all(here);
  fs::create_directories(here);
  if (with_model) make_model(here / "model");
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
