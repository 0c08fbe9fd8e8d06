// ARC_CHECK: an assertion that stays in release builds, for bugs only. It must not be reachable from a file or a
// request.
#pragma once

#include <sstream>
#include <string>

namespace arc {

// Names what the thread is doing ("load / layer 12 / mlp.down"); a failed check prints the stack of names.
class Scope {
 public:
  explicit Scope(std::string name);
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  // The calling thread's open scopes joined by " / ".
  static std::string path();
};

// Collects a failure's message and aborts when destroyed.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();

  template <typename T>
  CheckFailure& operator<<(const T& value) {
    message_ << value;
    return *this;
  }

 private:
  std::ostringstream message_;
};

}  // namespace arc

#define ARC_CHECK(condition) \
  while (!(condition)) ::arc::CheckFailure(__FILE__, __LINE__, #condition)
