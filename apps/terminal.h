// What programs show on a terminal: a progress bar on stderr, plain lines when it is not a terminal.
#pragma once

#include <string>

namespace arc::app {

class ProgressBar {
 public:
  ~ProgressBar();  // ends the line
  // Redraws at most ten times a second. `fraction` 0 to 1.
  void show(const std::string& what, double fraction);

 private:
  double shown_at_ = -1.0;  // seconds; -1: nothing is on the line
};

}  // namespace arc::app
