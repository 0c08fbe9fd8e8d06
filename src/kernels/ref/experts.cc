// Choosing experts and adding up what they gave.
#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "kernels/ref/ref.h"

namespace arc::ref {
namespace {

constexpr double kOut = -std::numeric_limits<double>::infinity();

// What a token thinks of expert `e`: its weight, and the value by which it is chosen.
struct Router {
  const RouteArgs& a;
  const float* logits;
  const float* correction;
  double largest = kOut, mass = 0.0;

  Router(const RouteArgs& args, const float* row, const float* bias) : a(args), logits(row), correction(bias) {
    for (int32_t e = 0; e < a.experts; ++e) largest = std::max(largest, static_cast<double>(logits[e]));
    for (int32_t e = 0; e < a.experts; ++e) mass += std::exp(logits[e] - largest);
  }

  double weight(int32_t e) const {
    if (a.score == RouterScore::sigmoid) return sigmoid(logits[e]);
    const double relative = std::exp(logits[e] - largest);
    return a.score == RouterScore::softmax ? relative / mass : relative;
  }
  double choice(int32_t e) const { return a.correction ? weight(e) + correction[e] : weight(e); }

  // Sum of the one or two best choices of group `g`.
  double group_score(int32_t g) const {
    const int32_t size = a.experts / a.groups;
    double first = kOut, second = kOut;
    for (int32_t e = g * size; e < (g + 1) * size; ++e) {
      const double c = choice(e);
      second = std::max(second, std::min(first, c));
      first = std::max(first, c);
    }
    return a.group_best > 1 && size > 1 ? first + second : first;
  }

  // Whether fewer than top_groups groups rank before `g` (ties: lower number first).
  bool group_kept(int32_t g) const {
    if (a.groups == a.top_groups) return true;
    const double mine = group_score(g);
    int32_t better = 0;
    for (int32_t other = 0; other < a.groups; ++other) {
      const double theirs = group_score(other);
      better += theirs > mine || (theirs == mine && other < g);
    }
    return better < a.top_groups;
  }
};

// Sparsemixer's weight of `best`, which leads the experts that are not in `taken`: softmax over those near it.
double mixer_weight(const RouteArgs& a, const float* logits, std::span<const int32_t> taken, int32_t best) {
  const double top = logits[best];
  double mass = 0.0;
  for (int32_t e = 0; e < a.experts; ++e) {
    const double logit = logits[e];
    const bool near = top - logit <= 2 * a.jitter * std::max(std::fabs(logit), top);
    if (near && std::ranges::find(taken, e) == taken.end()) mass += std::exp(logit - top);
  }
  return 1.0 / mass;
}

}  // namespace

void run(const RouteArgs& a, const Operands& o) noexcept {
  const float* correction = a.correction ? static_cast<const float*>(o.weights[0].data) : nullptr;
  for (int64_t t = 0; t < o.reads[0].rows; ++t) {
    const Router router(a, o.reads[0].row<float>(t), correction);
    int32_t* ids = o.writes[0].row<int32_t>(t);
    float* weights = o.writes[1].row<float>(t);
    double sum = 0.0;
    for (int32_t j = 0; j < a.top_k; ++j) {
      int32_t best = -1;
      for (int32_t e = 0; e < a.experts; ++e) {
        const bool taken = std::find(ids, ids + j, e) != ids + j;
        if (taken || !router.group_kept(e / (a.experts / a.groups))) continue;
        if (best < 0 || router.choice(e) > router.choice(best)) best = e;
      }
      ids[j] = best;
      sum += router.weight(best);
    }
    const bool normalised = a.renormalize || a.score == RouterScore::softmax_selected;
    const double divisor = normalised ? (a.score == RouterScore::sigmoid ? sum + 1e-20 : sum) : 1.0;
    for (int32_t j = 0; j < a.top_k; ++j) {
      const double weight = a.score == RouterScore::sparsemixer
                                ? mixer_weight(a, router.logits, {ids, static_cast<size_t>(j)}, ids[j])
                                : router.weight(ids[j]);
      weights[j] = static_cast<float>(weight / divisor * a.scale);
    }
  }
}

void run(const ExpertSumArgs& a, const Operands& o) noexcept {
  const int64_t cols = o.writes[0].cols;
  for (int64_t t = 0; t < o.reads[0].rows; ++t) {
    const float* x = o.reads[0].row<float>(t);
    const float* weights = o.reads[1].row<float>(t);
    float* y = o.writes[0].row<float>(t);
    for (int64_t c = 0; c < cols; ++c) {
      double sum = 0.0;
      for (int32_t j = 0; j < a.top_k; ++j) sum += static_cast<double>(weights[j]) * x[j * cols + c];
      y[c] = static_cast<float>(sum);
    }
  }
}

}  // namespace arc::ref
