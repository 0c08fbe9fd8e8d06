#include "terminal.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <sstream>
#include <unistd.h>

#include "commands.h"

namespace arc::app {
namespace {

constexpr size_t kWidth = 80;
constexpr int kBarWidth = 40;
constexpr double kRedrawSeconds = 0.1;

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string wrapped(const std::string& text, size_t column, size_t indent) {
  std::istringstream words(text);
  std::string out, word;
  bool first = true;
  while (words >> word) {
    if (!first && column + 1 + word.size() > kWidth) {
      out += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (!first) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
    first = false;
  }
  return out + "\n";
}

std::string error_text(const std::string& text) {
  if (::isatty(STDERR_FILENO) == 0) return "arc: " + text + "\n";
  std::istringstream lines("arc: " + text);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    out += line.size() > kWidth ? wrapped(line, 0, 0) : line + "\n";
  }
  return out;
}

ProgressBar::~ProgressBar() {
  if (shown_at_ >= 0) std::fprintf(stderr, "\r\033[K");
}

void ProgressBar::show(const std::string& what, double fraction) {
  if (::isatty(STDERR_FILENO) == 0) return;
  const double now = now_seconds();
  if (shown_at_ >= 0 && now - shown_at_ < kRedrawSeconds && fraction < 1.0) return;
  shown_at_ = now;
  const int filled = std::clamp(static_cast<int>(fraction * kBarWidth), 0, kBarWidth);
  const std::string bar = std::string(filled, '#') + std::string(kBarWidth - filled, '.');
  std::fprintf(stderr, "\r%s [%s] %3.0f%%", what.c_str(), bar.c_str(), fraction * 100);
  std::fflush(stderr);
}

std::unique_ptr<Engine> load(const EngineConfig& config) {
  ProgressBar bar;
  return load_engine(config, [&bar](const std::string& what, double fraction) { bar.show(what, fraction); });
}

}  // namespace arc::app
