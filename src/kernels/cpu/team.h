// How threads of a stage share work and wait for each other. Out of line, so that no instruction-set object holds a
// copy of it.
#pragma once

#include <cstdint>

#include "kernels/api/team.h"

namespace arc::cpu {

// Waits until every thread of the team has called it. What was written before is seen by all after.
void sync(const Team& team) noexcept;

// Deals out the items [0, n) of one phase in ascending runs: true with [begin, end) while there is one. Whoever is
// faster gets more. A phase ends with sync(); items of the next phase may then be claimed.
bool claim(const Team& team, int64_t n, int64_t grain, int64_t& begin, int64_t& end) noexcept;

}  // namespace arc::cpu
