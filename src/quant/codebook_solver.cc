#include "quant/codebook_solver.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace arc {
namespace {

// Nodes and weights of the 8-point Gauss-Legendre rule on [-1, 1], the positive half.
constexpr double kNodes[] = {0.1834346424956498, 0.5255324099163290, 0.7966664774136267, 0.9602898564975363};
constexpr double kWeights[] = {0.3626837833783620, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763};

// Half a standard deviation a panel: the rule is then exact to rounding.
constexpr double kPanelsPerSigma = 2.0;
constexpr double kTailSigmas = 14.0;  // what lies behind is below 1e-40

constexpr int kLloydSteps = 300, kNewtonSteps = 20;

// The borders between `levels`, with 0 in front and 1 behind.
std::vector<double> borders(const Levels& levels) {
  std::vector<double> edges{0.0};
  for (size_t i = 0; i + 1 < levels.size(); ++i) edges.push_back((levels[i] + levels[i + 1]) / 2);
  edges.push_back(1.0);
  return edges;
}

// One step of Newton's method for "level i is the mean of its cell": the Jacobian is tridiagonal.
void newton_step(const CoordinateLaw& law, Levels& levels) {
  const std::vector<double> edges = borders(levels);
  const size_t n = levels.size();
  std::vector<double> diagonal(n), upper(n), residual(n);
  for (size_t i = 0; i < n; ++i) {
    const double mass = law.mass(edges[i], edges[i + 1]), mean = law.moment(edges[i], edges[i + 1]) / mass;
    const double low = i == 0 ? 0.0 : law.density(edges[i]) * (mean - edges[i]) / mass / 2;
    const double high = i + 1 == n ? 0.0 : law.density(edges[i + 1]) * (edges[i + 1] - mean) / mass / 2;
    diagonal[i] = low + high - 1;
    upper[i] = high;
    residual[i] = levels[i] - mean;
    if (i == 0) continue;
    const double factor = low / diagonal[i - 1];
    diagonal[i] -= factor * upper[i - 1];
    residual[i] -= factor * residual[i - 1];
  }
  for (size_t i = n; i-- > 0;) {
    if (i + 1 < n) residual[i] -= upper[i] * residual[i + 1];
    residual[i] /= diagonal[i];
  }
  for (size_t i = 0; i < n; ++i) levels[i] += residual[i];
}

// The step that suits the numbers best: with cells fixed, error is a parabola in it.
double best_step(const CoordinateLaw& law, const std::vector<int>& twice, double step) {
  for (int round = 0; round < 6; ++round) {
    Levels levels;
    for (int n : twice) levels.push_back(n * step / 2);
    const std::vector<double> edges = borders(levels);
    double cross = 0.0, square = 0.0;
    for (size_t i = 0; i < twice.size(); ++i) {
      const double number = twice[i] / 2.0;
      cross += number * law.moment(edges[i], edges[i + 1]);
      square += number * number * law.mass(edges[i], edges[i + 1]);
    }
    step = cross / square;
  }
  return step;
}

}  // namespace

CoordinateLaw::CoordinateLaw(int dim)
    : dim_(dim),
      log_scale_(std::log(2.0) + std::lgamma(dim / 2.0) - std::lgamma((dim - 1) / 2.0) -
                 std::log(std::numbers::pi) / 2) {}

double CoordinateLaw::density(double t) const {
  return t >= 1.0 ? 0.0 : std::exp(log_scale_ + (dim_ - 3) / 2.0 * std::log1p(-t * t));
}

double CoordinateLaw::mass(double a, double b) const {
  const double sigma = 1.0 / std::sqrt(dim_);
  b = std::min(b, kTailSigmas * sigma);
  if (b <= a) return 0.0;
  const int panels = static_cast<int>(std::ceil((b - a) / sigma * kPanelsPerSigma));
  const double half = (b - a) / panels / 2;
  double sum = 0.0;
  for (int p = 0; p < panels; ++p) {
    const double middle = a + (2 * p + 1) * half;
    for (int i = 0; i < 4; ++i) {
      sum += kWeights[i] * (density(middle - half * kNodes[i]) + density(middle + half * kNodes[i]));
    }
  }
  return sum * half;
}

double CoordinateLaw::moment(double a, double b) const {
  const auto tail = [&](double t) {
    return t >= 1.0 ? 0.0 : std::exp(log_scale_ + (dim_ - 1) / 2.0 * std::log1p(-t * t)) / (dim_ - 1);
  };
  return tail(a) - tail(b);
}

double distortion(const CoordinateLaw& law, const Levels& levels) {
  const std::vector<double> edges = borders(levels);
  double saved = 0.0;  // E[t^2] is 1 / dim
  for (size_t i = 0; i < levels.size(); ++i) {
    saved +=
        2 * levels[i] * law.moment(edges[i], edges[i + 1]) - levels[i] * levels[i] * law.mass(edges[i], edges[i + 1]);
  }
  return 1.0 - law.dim() * saved;
}

Levels solve_lloyd_max(const CoordinateLaw& law, int bits) {
  Levels levels(size_t{1} << (bits - 1));
  const double spread = 3.0 / std::sqrt(law.dim()) / static_cast<double>(levels.size());
  for (size_t i = 0; i < levels.size(); ++i) levels[i] = spread * (static_cast<double>(i) + 0.5);
  for (int step = 0; step < kLloydSteps; ++step) {
    const std::vector<double> edges = borders(levels);
    for (size_t i = 0; i < levels.size(); ++i) {
      levels[i] = law.moment(edges[i], edges[i + 1]) / law.mass(edges[i], edges[i + 1]);
    }
  }
  for (int step = 0; step < kNewtonSteps; ++step) newton_step(law, levels);
  return levels;
}

GridLevels fit_grid(const CoordinateLaw& law, const Levels& levels, bool odd_halves) {
  const double most = odd_halves ? 127.5 : 127.0;
  GridLevels best{.distortion = 2.0};
  for (double top = most / 4; top <= most; top += 0.25) {
    const double scale = top / levels.back();
    std::vector<int> twice;
    for (double level : levels) {
      const double number = odd_halves ? std::floor(level * scale) + 0.5 : std::round(level * scale);
      twice.push_back(static_cast<int>(2 * number));
    }
    if (twice.front() <= 0 || twice.back() > 2 * most || std::ranges::adjacent_find(twice) != twice.end()) continue;
    const double step = best_step(law, twice, 1.0 / scale);
    Levels snapped;
    for (int n : twice) snapped.push_back(n * step / 2);
    const double d = distortion(law, snapped);
    if (d < best.distortion) best = {.twice = std::move(twice), .step = step, .distortion = d};
  }
  return best;
}

}  // namespace arc
