// How threads of a stage share work and wait for each other. Out of line, so that no instruction-set object holds a
// copy of it.
#pragma once

#include <cstdint>

#include "kernels/api/team.h"

namespace arc::cpu {

// A stage is a row of phases, each ended by sync(); the executor ends the last one. All work of a phase is claimed:
// what is not done inside a claimed run does not count, and a phase is over when all its items are, whether or not
// every thread has come. A thread that the operating system holds back thus delays the others by the run that it has
// claimed and no more; later it hurries through what was done without it, claiming nothing. Hence two rules:
//  - the number of phases and the `n` of each follow from arguments and step sizes, never from buffers;
//  - buffers and scratch are touched only between a successful claim() and the next claim() or sync().

// Waits until every item of the phase is done. What was written before is seen by all after.
void sync(const Team& team) noexcept;

// Deals out the items [0, n) of one phase in ascending runs: true with [begin, end) while there is one. Whoever is
// faster gets more. `n` is below 2^32 and the same on all threads. A phase ends with sync(); items of the next phase
// may then be claimed.
bool claim(const Team& team, int64_t n, int64_t grain, int64_t& begin, int64_t& end) noexcept;

}  // namespace arc::cpu
