// What programs show on a terminal: a progress bar on stderr, plain lines when it is not a terminal.
#pragma once

#include <string>

namespace arc::app {

// "arc: TEXT" and a line feed; on a terminal no line is longer than 80 columns unless a word is.
std::string error_text(const std::string& text);

// Words in lines of at most 80 columns, each but the first indented. The first begins at `column`.
std::string wrapped(const std::string& text, size_t column, size_t indent);

class ProgressBar {
 public:
  ~ProgressBar();  // ends the line
  // Redraws at most ten times a second. `fraction` 0 to 1.
  void show(const std::string& what, double fraction);

 private:
  double shown_at_ = -1.0;  // seconds; -1: nothing is on the line
};

}  // namespace arc::app
