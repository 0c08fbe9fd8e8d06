// Root-mean-square and layer norms. Weights are f32 and hold 1 + w where the checkpoint stores w.
#include <cmath>

#include "kernels/ref/ref.h"

namespace arc::ref {
namespace {

struct Moments {
  double mean = 0.0;
  double scale = 0.0;  // 1 / sqrt(mean square about `mean` + eps)
};

Moments moments(const float* x, int32_t n, NormKind kind, float eps) {
  Moments m;
  if (kind == NormKind::layer) {
    for (int32_t i = 0; i < n; ++i) m.mean += x[i];
    m.mean /= n;
  }
  double square = 0.0;
  for (int32_t i = 0; i < n; ++i) square += (x[i] - m.mean) * (x[i] - m.mean);
  m.scale = 1.0 / std::sqrt(square / n + eps);
  return m;
}

}  // namespace

void run(const NormArgs& a, const Operands& o) noexcept {
  const float* weight = static_cast<const float*>(o.weights[0].data);
  const float* bias = o.weights[0].bias;
  for (int64_t t = 0; t < o.reads[0].rows; ++t) {
    for (int64_t begin = 0; begin < o.reads[0].cols; begin += a.cols) {
      const float* x = o.reads[0].row<float>(t) + begin;
      float* y = o.writes[0].row<float>(t) + begin;
      const Moments m = moments(x, a.cols, a.kind, a.eps);
      for (int32_t i = 0; i < a.cols; ++i) {
        y[i] = static_cast<float>((x[i] - m.mean) * m.scale * weight[i] + (bias != nullptr ? bias[i] : 0.0f));
      }
    }
  }
}

void run(const GatedNormArgs& a, const Operands& o) noexcept {
  const float* weight = static_cast<const float*>(o.weights[0].data);
  for (int64_t t = 0; t < o.reads[0].rows; ++t) {
    for (int64_t begin = 0; begin < o.reads[0].cols; begin += a.cols) {
      const float* x = o.reads[0].row<float>(t) + begin;
      const float* z = o.reads[1].row<float>(t) + begin;
      float* y = o.writes[0].row<float>(t) + begin;
      double square = 0.0;
      for (int32_t i = 0; i < a.cols; ++i) {
        const double v = a.gate_first ? x[i] * silu(z[i]) : x[i];
        square += v * v;
      }
      const double scale = 1.0 / std::sqrt(square / a.cols + a.eps);
      for (int32_t i = 0; i < a.cols; ++i) y[i] = static_cast<float>(x[i] * scale * weight[i] * silu(z[i]));
    }
  }
}

}  // namespace arc::ref
