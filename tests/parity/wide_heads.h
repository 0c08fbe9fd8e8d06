// Goldens whose heads are widened, for what tiny heads cannot have: a compressed cache.
#pragma once

#include "parity/golden.h"

namespace arc::test {

// The golden's model with attention heads of `head_dim`, which its config must name. Outputs are dropped: they are
// another model's. `n_tokens` tokens to run.
Golden with_wide_heads(const std::string& name, int head_dim, int n_tokens);

}  // namespace arc::test
