// How far a model's outputs lie from a golden's, against what transformers' own f32 error allows.
#pragma once

#include <vector>

#include "parity/golden.h"
#include "parity/tiny_model.h"

namespace arc::test {

struct Deviation {
  double error = 0.0;  // max |got - golden|; infinite for NaN and for outputs of another size
  double bound = 0.0;  // four times transformers' own; zero (a plain look-up) asks for equality

  // Of the bound; above 1 the golden has noticed.
  double share() const;
};

// At hidden.0 .. hidden.L, then at the logits.
std::vector<Deviation> deviations(const Golden& golden, const TinyModel::Outputs& got);

// max |got - expected|; infinite for NaN and for outputs of another size.
double worst_error(const std::vector<double>& got, const std::vector<double>& expected);

double worst_share(const std::vector<Deviation>& deviations);

}  // namespace arc::test
