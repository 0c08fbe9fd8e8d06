#include "line_editor.h"

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <histedit.h>
#include <langinfo.h>
#include <string_view>
#include <unistd.h>

namespace arc::app {
namespace {

constexpr int kHistoryEntries = 1000;
// Bracketed paste: the terminal puts these around what is pasted.
constexpr std::string_view kPasteOn = "\033[?2004h", kPasteOff = "\033[?2004l";
constexpr std::wstring_view kPasteEnd = L"\033[201~";

// libedit counts columns by the locale; text is UTF-8 whatever the environment says.
void use_utf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(::nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

std::FILE* output() {
  return ::isatty(STDOUT_FILENO) != 0 ? stdout : stderr;
}

void tell_terminal(std::string_view sequence) {
  const char* terminal = std::getenv("TERM");
  if (terminal == nullptr || std::strcmp(terminal, "dumb") == 0 || ::isatty(STDOUT_FILENO) == 0) return;
  std::fwrite(sequence.data(), 1, sequence.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

LineEditor::LineEditor(std::filesystem::path history_file) : history_file_(std::move(history_file)) {
  use_utf8();
  editor_ = ::el_init("arc", stdin, output(), stderr);
  history_ = ::history_init();
  HistEvent event;
  ::history(history_, &event, H_SETSIZE, kHistoryEntries);
  ::history(history_, &event, H_SETUNIQUE, 1);
  if (!history_file_.empty()) ::history(history_, &event, H_LOAD, history_file_.c_str());
  ::el_set(editor_, EL_CLIENTDATA, this);
  ::el_set(editor_, EL_PROMPT, prompt);
  ::el_set(editor_, EL_EDITOR, "emacs");
  ::el_set(editor_, EL_HIST, ::history, history_);
  ::el_set(editor_, EL_SETTY, "-d", "-isig", nullptr);  // Ctrl-C comes as a key
  ::el_set(editor_, EL_ADDFN, "arc-interrupt", "", on_interrupt);
  ::el_set(editor_, EL_BIND, "^C", "arc-interrupt", nullptr);
  ::el_set(editor_, EL_ADDFN, "arc-paste", "", on_paste);
  ::el_set(editor_, EL_BIND, "\\e[200~", "arc-paste", nullptr);
}

LineEditor::~LineEditor() {
  ::el_end(editor_);
  ::history_end(history_);
}

LineEditor::Outcome LineEditor::read(const std::string& prompt, std::string& line) {
  prompt_ = prompt;
  interrupted_ = false;
  tell_terminal(kPasteOn);
  int n_chars = 0;
  const char* typed = ::el_gets(editor_, &n_chars);
  tell_terminal(kPasteOff);
  if (typed == nullptr) {
    std::fputc('\n', output());
    return interrupted_ ? Outcome::interrupt : Outcome::end;
  }
  line = typed;
  if (line.ends_with('\n')) line.pop_back();
  return Outcome::line;
}

void LineEditor::remember(const std::string& text) {
  HistEvent event;
  ::history(history_, &event, H_ENTER, text.c_str());
  if (history_file_.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(history_file_.parent_path(), ignored);
  ::history(history_, &event, H_SAVE, history_file_.c_str());
}

LineEditor& LineEditor::self(EditLine* editor) {
  void* data = nullptr;
  ::el_get(editor, EL_CLIENTDATA, &data);
  return *static_cast<LineEditor*>(data);
}

const char* LineEditor::prompt(EditLine* editor) {
  return self(editor).prompt_.c_str();
}

unsigned char LineEditor::on_interrupt(EditLine* editor, int /*key*/) {
  self(editor).interrupted_ = true;
  return CC_EOF;
}

unsigned char LineEditor::on_paste(EditLine* editor, int /*key*/) {
  std::wstring text;
  wchar_t c = 0;
  while (!text.ends_with(kPasteEnd) && ::el_wgetc(editor, &c) == 1) text += c == L'\r' ? L'\n' : c;
  if (text.ends_with(kPasteEnd)) text.resize(text.size() - kPasteEnd.size());
  return ::el_winsertstr(editor, text.c_str()) == -1 ? CC_ERROR : CC_REFRESH;
}

}  // namespace arc::app
