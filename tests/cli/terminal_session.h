// A program on a terminal of 80 columns, driven by what it writes there.
#pragma once

#include <string>
#include <vector>

namespace arc::test {

class TerminalSession {
 public:
  explicit TerminalSession(const std::vector<std::string>& words, const std::vector<std::string>& environment = {});
  ~TerminalSession();  // ends the program
  TerminalSession(const TerminalSession&) = delete;
  TerminalSession& operator=(const TerminalSession&) = delete;

  // Types `keys`: "\r" is Enter, "\x03" Ctrl-C, "\x04" Ctrl-D.
  void type(const std::string& keys);

  // Waits until `text` appears after what earlier calls have found, and returns all that came before it, without
  // carriage returns. Throws with everything seen so far after 60 seconds, or when the program ends first.
  std::string expect(const std::string& text);

  // The same for a prompt, and then until the program reads single keys: what is typed earlier, the terminal itself
  // echoes, and it takes Ctrl-C as a signal.
  std::string expect_prompt(const std::string& text);

  // Waits for the program's end: the rest of its output in `rest`, its exit code.
  int finish(std::string* rest = nullptr);

 private:
  bool read_more();  // false when the program has ended

  int pid_ = -1, terminal_ = -1;
  std::string unseen_;
};

}  // namespace arc::test
