#include "parity/deviation.h"

#include <algorithm>
#include <cmath>

namespace arc::test {
double worst_error(const std::vector<double>& got, const std::vector<double>& expected) {
  if (got.size() != expected.size()) return HUGE_VAL;
  double worst = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::fabs(got[i] - expected[i]);
    worst = std::max(worst, std::isnan(error) ? HUGE_VAL : error);
  }
  return worst;
}

double Deviation::share() const {
  if (error == 0.0) return 0.0;
  return bound > 0.0 ? error / bound : HUGE_VAL;
}

std::vector<Deviation> deviations(const Golden& golden, const TinyModel::Outputs& got) {
  std::vector<Deviation> all;
  const auto add = [&](double error) { all.push_back({.error = error, .bound = 4.0 * golden.f32_error[all.size()]}); };
  for (size_t l = 0; l < golden.hidden.size(); ++l) {
    add(l < got.hidden.size() ? worst_error(got.hidden[l], golden.hidden[l]) : HUGE_VAL);
  }
  add(worst_error(got.logits, golden.logits));
  return all;
}

double worst_share(const std::vector<Deviation>& deviations) {
  double worst = 0.0;
  for (const Deviation& d : deviations) worst = std::max(worst, d.share());
  return worst;
}

}  // namespace arc::test
