// From Arc's lowered plan to the tape: every stage of the plan is looked at, and what a tape cannot say is an error.
#pragma once

#include "build_tape.h"
#include "plan/plan.h"

namespace arc::tape {

// The shape that a plan in the five-stage recipe describes. Throws Error(unsupported) that names the first stage which
// does not fit (bias, window, softcap, experts, another activation, ...).
Shape shape_of(const Plan& plan);

// Throws Error unless stage i of the tape is stage i of the plan: operation, sizes, epilogue, eps, scale, bytes. The
// plan's gather has no stage of its own on a tape of one sequence, the tape's argmax none in the plan.
void check_same(const Plan& plan, const Tape& tape);

}  // namespace arc::tape
