// Element by element: activations, gates, sums, soft caps, row gathering.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "kernels/ref/ref.h"

namespace arc::ref {
namespace {

double gelu(double x) {
  return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
}

double gelu_tanh(double x) {
  const double inner = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1.0 + std::tanh(inner));
}

double activate(const ActArgs& a, double gate, double up) {
  switch (a.act) {
    case Act::silu:
      return silu(gate) * up;
    case Act::gelu:
      return gelu(gate) * up;
    case Act::gelu_tanh:
      return gelu_tanh(gate) * up;
    case Act::relu:
      return std::max(gate, 0.0) * up;
    case Act::clamped_swiglu:
      break;
  }
  const double limit = a.limit;
  const double clamped = std::min(gate, limit);
  return clamped * sigmoid(a.alpha * clamped) * (std::clamp(up, -limit, limit) + 1.0);
}

}  // namespace

double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}
double silu(double x) {
  return x * sigmoid(x);
}

void run(const ActArgs& a, const Operands& o) noexcept {
  const int64_t runs = o.writes[0].cols / a.hidden;
  for (int64_t t = 0; t < o.reads[0].rows; ++t) {
    for (int64_t j = 0; j < runs; ++j) {
      const float* x = o.reads[0].row<float>(t) + j * a.hidden * (a.gated ? 2 : 1);
      float* y = o.writes[0].row<float>(t) + j * a.hidden;
      for (int32_t i = 0; i < a.hidden; ++i)
        y[i] = static_cast<float>(activate(a, x[i], a.gated ? x[a.hidden + i] : 1.0));
    }
  }
}

void run(const GateArgs&, const Operands& o) noexcept {
  const TensorView& g = o.reads[1];
  for (int64_t t = 0; t < o.reads[0].rows; ++t) {
    for (int64_t c = 0; c < o.reads[0].cols; ++c) {
      const float gate = g.row<float>(t)[g.cols == 1 ? 0 : c];
      o.writes[0].row<float>(t)[c] = static_cast<float>(o.reads[0].row<float>(t)[c] * sigmoid(gate));
    }
  }
}

void run(const AddArgs& a, const Operands& o) noexcept {
  for (int64_t t = 0; t < o.reads[0].rows; ++t) {
    const float* x = o.reads[0].row<float>(t);
    float* y = o.writes[0].row<float>(t);
    for (int64_t c = 0; c < o.reads[0].cols; ++c) y[c] += a.scale * x[c];
  }
}

void run(const SoftcapArgs& a, const Operands& o) noexcept {
  for (int64_t t = 0; t < o.writes[0].rows; ++t) {
    float* y = o.writes[0].row<float>(t);
    for (int64_t c = 0; c < o.writes[0].cols; ++c)
      y[c] = static_cast<float>(a.cap * std::tanh(y[c] / static_cast<double>(a.cap)));
  }
}

void run(const GatherArgs&, const Operands& o) noexcept {
  const size_t bytes = static_cast<size_t>(o.reads[0].cols) * sizeof(float);
  for (int32_t r = 0; r < o.step->n_rows; ++r) {
    std::memcpy(o.writes[0].row<float>(r), o.reads[0].row<float>(o.step->rows[r]), bytes);
  }
}

}  // namespace arc::ref
