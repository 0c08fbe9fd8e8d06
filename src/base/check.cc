#include "base/check.h"

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

namespace arc {
namespace {

thread_local std::vector<std::string> scopes;

}  // namespace

Scope::Scope(std::string name) {
  scopes.push_back(std::move(name));
}
Scope::~Scope() {
  scopes.pop_back();
}

std::string Scope::path() {
  std::string joined;
  for (const std::string& name : scopes) joined += (joined.empty() ? "" : " / ") + name;
  return joined;
}

CheckFailure::CheckFailure(const char* file, int line, const char* condition) {
  message_ << file << ":" << line << ": check failed: " << condition << " ";
}

CheckFailure::~CheckFailure() {
  const std::string where = Scope::path();
  std::fprintf(stderr, "%s%s%s\nThis is a bug in Arc.\n", message_.str().c_str(), where.empty() ? "" : "\n  in ",
               where.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace arc
