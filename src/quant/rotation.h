// The random rotation of TurboQuant: spreads any vector over all coordinates, so that each follows the same law.
#pragma once

#include <cstdint>
#include <vector>

namespace arc {

// R = D T D: signs, an orthogonal transform, the same signs. T is symmetric, so R is its own inverse, and
// <R x, R y> = <x, y>. For dim = 2^a * m with m odd, T is the Walsh-Hadamard transform over the 2^a part times
// (Kronecker) the Hartley transform cas(2 pi j k / m) / sqrt(m): every entry is at most sqrt(2 / dim), so no coordinate
// keeps much of any one input. Source: arXiv 2504.19874, section 3 (a random rotation); the structured one follows
// QuIP# (arXiv 2402.04396, section 3).
class Rotation {
 public:
  // `dim` is 2^a * m with m up to 15; `seed` draws the signs.
  Rotation(int dim, uint32_t seed);

  int dim() const { return static_cast<int>(signs_.size()); }
  // +1 or -1 per coordinate.
  const std::vector<float>& signs() const { return signs_; }
  // [odd, odd], with the factor of the power of two.
  const std::vector<float>& hartley() const { return hartley_; }

  // x <- R x, [dim], in the precision of T: float or double.
  template <typename T>
  void apply(T* x) const;

 private:
  int odd_ = 1;
  std::vector<float> signs_, hartley_;
};

}  // namespace arc
