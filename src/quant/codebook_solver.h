// Finds the codebooks of TurboQuant: the best levels for one coordinate of a random unit vector. Runs in tests and when
// codebooks.inc is written anew; the product reads the pinned table (codebook.h).
#pragma once

#include <vector>

namespace arc {

// Density of one coordinate of a uniformly random unit vector of `dim` coordinates,
// proportional to (1 - t^2)^((dim - 3) / 2) on [-1, 1] (arXiv 2504.19874, section 3.1).
class CoordinateLaw {
 public:
  explicit CoordinateLaw(int dim);
  int dim() const { return dim_; }

  // Of |t| at `t`, and its integrals over [a, b], 0 <= a <= b <= 1: mass by Gauss-Legendre quadrature, moment in closed
  // form.
  double density(double t) const;
  double mass(double a, double b) const;
  double moment(double a, double b) const;

 private:
  int dim_;
  double log_scale_;
};

// The positive levels, ascending; the negative ones mirror them. The law is symmetric, and so is its best quantiser.
using Levels = std::vector<double>;

// Expected squared error of a unit vector whose coordinates each go to the nearest level.
double distortion(const CoordinateLaw& law, const Levels& levels);

// The Lloyd-Max levels of `bits` bits: every level is the mean of its cell, every border lies halfway. Lloyd's
// iteration and then Newton's, to the last digits.
Levels solve_lloyd_max(const CoordinateLaw& law, int bits);

// Levels that are whole numbers (or odd halves) times one step, `twice` holding twice each number.
struct GridLevels {
  std::vector<int> twice;
  double step = 0.0;
  double distortion = 0.0;
};

// The best grid near `levels` whose numbers do not pass 127 (whole) or 127.5 (odd halves).
GridLevels fit_grid(const CoordinateLaw& law, const Levels& levels, bool odd_halves);

}  // namespace arc
