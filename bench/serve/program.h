// How the benches of this folder end: what went wrong in one line.
#pragma once

#include <cstdio>
#include <exception>

#include "fmt/core.h"

namespace arc::bench {

inline int run_program(const char* name, int (*program)(int, char**), int argc, char** argv) {
  try {
    return program(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}: {}\n", name, e.what());
    return 1;
  }
}

}  // namespace arc::bench
