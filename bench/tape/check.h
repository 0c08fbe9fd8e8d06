// Stage-by-stage check of a step: every stage is computed again from the buffers that the kernel's own stage read,
// plainly and in double, and compared with the buffers it wrote. Needs a tape without buffer reuse and with logits.
#pragma once

#include <string>
#include <vector>

#include "machine.h"

namespace arc::tape {

// Worst element of one kind of buffer over all stages: |kernel - reference| / bound, where the bound is derived from
// the inputs: rounding of each sum (terms x 2^-24 x sum of |products|), of each bf16 result (2^-8), and of q and k
// where the reference value lies so near a tie that f32 may round it the other way.
struct Verdict {
  std::string buffer;
  double worst_ratio = 0, worst_error = 0;
  uint64_t n_compared = 0, n_over = 0, n_bad_tags = 0;
  bool passed() const { return n_compared > 0 && n_over == 0 && n_bad_tags == 0; }
};

// Checks the last step that ran; `token` was fed to it.
std::vector<Verdict> check_last_step(const Machine& machine, int token);

}  // namespace arc::tape
