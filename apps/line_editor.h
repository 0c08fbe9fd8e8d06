// Lines typed on a terminal: editing, history, pasted text of several lines.
#pragma once

#include <filesystem>
#include <string>

typedef struct editline EditLine;
typedef struct history History;

namespace arc::app {

class LineEditor {
 public:
  enum class Outcome { line, interrupt, end };

  // History is kept in `history_file`, readable by its owner only; an empty path keeps none.
  explicit LineEditor(std::filesystem::path history_file);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  // Reads one line, without its end; a pasted text counts as one. `interrupt`: Ctrl-C. `end`: Ctrl-D on an empty line,
  // or the terminal is gone.
  Outcome read(const std::string& prompt, std::string& line);

  // Makes `text` the newest entry of the history.
  void remember(const std::string& text);

 private:
  static LineEditor& self(EditLine* editor);
  static const char* prompt(EditLine* editor);
  static unsigned char on_interrupt(EditLine* editor, int key);
  static unsigned char on_paste(EditLine* editor, int key);

  EditLine* editor_;
  History* history_;
  std::filesystem::path history_file_;
  std::string prompt_;
  bool interrupted_ = false;
};

}  // namespace arc::app
