// The threads that carry out a stage together. Every thread calls the kernel with its own Team.
#pragma once

#include <cstdint>

namespace arc {

struct TeamState;  // shared by the threads, see kernels/cpu/team.h

struct Team {
  int32_t thread = 0, threads = 1;
  TeamState* state = nullptr;  // null: a team of one
};

}  // namespace arc
