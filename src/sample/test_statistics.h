// Statistics for tests of random draws: chi-square and Kolmogorov-Smirnov p-values.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

namespace arc::test {

// Q(a, x), the regularised upper incomplete gamma function. Series below a + 1, Lentz's continued fraction above
// (W. H. Press et al., "Numerical Recipes", section 6.2).
inline double upper_gamma(double a, double x) {
  if (x <= 0.0) return 1.0;
  const double scale = std::exp(a * std::log(x) - x - std::lgamma(a));
  if (x < a + 1.0) {
    double term = 1.0 / a, sum = term;
    for (double n = a + 1.0; term > sum * 1e-16; n += 1.0) sum += term *= x / n;
    return 1.0 - scale * sum;
  }
  double b = x + 1.0 - a, c = 1e300, d = 1.0 / b, fraction = d;
  for (double i = 1.0; i < 1e6; i += 1.0) {
    const double numerator = -i * (i - a);
    b += 2.0;
    d = 1.0 / (numerator * d + b);
    c = b + numerator / c;
    fraction *= c * d;
    if (std::fabs(c * d - 1.0) < 1e-15) break;
  }
  return scale * fraction;
}

// The probability of a chi-square statistic at least as large, with `degrees` of freedom.
inline double chi_square_p(double statistic, double degrees) {
  return upper_gamma(degrees / 2.0, statistic / 2.0);
}

// Goodness of fit of `observed` counts to probabilities. The likeliest outcomes come first; neighbours are pooled until
// each bin expects at least `least_expected`. NaN when that leaves one bin, which would prove nothing.
inline double goodness_of_fit_p(std::span<const int64_t> observed, std::span<const double> probability,
                                double least_expected = 10.0) {
  std::vector<size_t> order(probability.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return probability[a] > probability[b] || (probability[a] == probability[b] && a < b);
  });
  const double n = static_cast<double>(std::accumulate(observed.begin(), observed.end(), int64_t{0}));

  struct Bin {
    double expected = 0.0, observed = 0.0;
  };
  std::vector<Bin> bins(1);
  for (size_t i : order) {
    if (bins.back().expected >= least_expected) bins.emplace_back();
    bins.back().expected += n * probability[i];
    bins.back().observed += static_cast<double>(observed[i]);
  }
  if (bins.size() > 1 && bins.back().expected < least_expected) {
    const Bin rest = bins.back();
    bins.pop_back();
    bins.back().expected += rest.expected;
    bins.back().observed += rest.observed;
  }
  if (bins.size() == 1) return std::numeric_limits<double>::quiet_NaN();
  double statistic = 0.0;
  for (const Bin& bin : bins) statistic += (bin.observed - bin.expected) * (bin.observed - bin.expected) / bin.expected;
  return chi_square_p(statistic, static_cast<double>(bins.size() - 1));
}

// The probability that `values`, drawn from the uniform distribution on (0, 1), deviate at least as far from it
// (Kolmogorov-Smirnov with M. A. Stephens' correction for small samples, 1970).
inline double uniformity_p(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const double n = static_cast<double>(values.size());
  double distance = 0.0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double below = static_cast<double>(i) / n, above = static_cast<double>(i + 1) / n;
    distance = std::max({distance, values[i] - below, above - values[i]});
  }
  const double lambda = (std::sqrt(n) + 0.12 + 0.11 / std::sqrt(n)) * distance;
  double p = 0.0;
  for (int j = 1; j <= 100; ++j) p += (j % 2 == 1 ? 2.0 : -2.0) * std::exp(-2.0 * j * j * lambda * lambda);
  return std::clamp(lambda < 0.2 ? 1.0 : p, 0.0, 1.0);
}

}  // namespace arc::test
