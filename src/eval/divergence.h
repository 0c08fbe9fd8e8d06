// Two rows of logits compared.
#pragma once

#include <span>

namespace arc {

struct RowDivergence {
  double kl = 0;              // nats, of `other` from `reference`; infinity where other rules out what reference allows
  bool same_top = false;      // the same token is the most likely one; ties go to the lower id
  bool catastrophic = false;  // the reference's most likely token keeps less than a tenth of its probability
};

// Raw logits [V] each.
RowDivergence compare_rows(std::span<const float> reference, std::span<const float> other);

}  // namespace arc
