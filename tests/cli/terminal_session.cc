#include "terminal_session.h"

#include <chrono>
#include <csignal>
#include <poll.h>
#include <pty.h>
#include <stdexcept>
#include <termios.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "process.h"

namespace arc::test {
namespace {

constexpr std::chrono::seconds kPatience{60};

}  // namespace

TerminalSession::TerminalSession(const std::vector<std::string>& words, const std::vector<std::string>& environment) {
  winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  pid_ = ::forkpty(&terminal_, nullptr, nullptr, &size);
  if (pid_ == 0) become(words, environment);
  if (pid_ < 0) throw std::runtime_error("no terminal to be had");
}

TerminalSession::~TerminalSession() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    wait_for(pid_);
  }
  ::close(terminal_);
}

void TerminalSession::type(const std::string& keys) {
  if (::write(terminal_, keys.data(), keys.size()) != static_cast<ssize_t>(keys.size())) {
    throw std::runtime_error("the terminal takes no keys");
  }
}

bool TerminalSession::read_more() {
  pollfd ready{.fd = terminal_, .events = POLLIN, .revents = 0};
  if (::poll(&ready, 1, 100) == 0) return true;
  char bytes[4096];
  const ssize_t n = ::read(terminal_, bytes, sizeof bytes);  // fails when the last process has closed the terminal
  for (ssize_t i = 0; i < n; ++i) {
    if (bytes[i] != '\r') unseen_ += bytes[i];
  }
  return n > 0;
}

std::string TerminalSession::expect(const std::string& text) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  size_t at = unseen_.find(text);
  bool open = true;
  while (at == std::string::npos && open && std::chrono::steady_clock::now() < end) {
    open = read_more();
    at = unseen_.find(text);
  }
  if (at == std::string::npos) {
    throw std::runtime_error("\"" + text + "\" did not come" + (open ? "" : " before the end") + "; what came:\n" +
                             unseen_);
  }
  const std::string before = unseen_.substr(0, at);
  unseen_.erase(0, at + text.size());
  return before;
}

std::string TerminalSession::expect_prompt(const std::string& text) {
  const std::string before = expect(text);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  termios mode{};
  while (::tcgetattr(terminal_, &mode) == 0 && (mode.c_lflag & ICANON) != 0) {
    if (std::chrono::steady_clock::now() > end) throw std::runtime_error("the program reads no keys:\n" + unseen_);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return before;
}

int TerminalSession::finish(std::string* rest) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (read_more()) {
    if (std::chrono::steady_clock::now() > end) throw std::runtime_error("the program does not end:\n" + unseen_);
  }
  if (rest != nullptr) *rest = std::exchange(unseen_, "");
  return wait_for(std::exchange(pid_, -1));
}

}  // namespace arc::test
