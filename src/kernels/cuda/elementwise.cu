// Element by element on the device: activations, gates, sums, soft caps, row gathering, rotation.
#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/hopper.cuh"

namespace arc::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRopeHeads = 4;  // that share an angle and its thread

// One thread per element of [rows, cols].
template <typename F>
__global__ void each_kernel(int64_t rows, int64_t cols, F f) {
  next_may_start();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < rows * cols) f(i / cols, i % cols);
}

template <typename F>
void each(const Operands& o, int64_t rows, int64_t cols, F f) {
  if (rows * cols == 0) return;
  each_kernel<<<blocks_for(rows * cols, kThreads), kThreads, 0, stream_of(o)>>>(rows, cols, f);
}

}  // namespace

void run(const ActArgs& a, const Operands& o) noexcept {
  const Rows x(o.reads[0]), y(o.writes[0]);
  const int64_t first = first_rounded(o);
  each(o, x.rows, y.cols, [=] __device__(int64_t t, int64_t c) {
    const int64_t run = c / a.hidden, i = c % a.hidden;
    const float* in = x.row(t) + run * a.hidden * (a.gated ? 2 : 1);
    const float value = activate(a, in[i], a.gated ? in[a.hidden + i] : 1.0f);
    if (t < first) {
      y.row(t)[c] = value;
    } else {
      y.row<__nv_bfloat16>(2 * t)[c] = __float2bfloat16(value);
    }
  });
}

void run(const GateArgs&, const Operands& o) noexcept {
  const Rows x(o.reads[0]), g(o.reads[1]), y(o.writes[0]);
  each(o, x.rows, x.cols,
       [=] __device__(int64_t t, int64_t c) { y.row(t)[c] = x.row(t)[c] * sigmoid(g.row(t)[g.cols == 1 ? 0 : c]); });
}

void run(const AddArgs& a, const Operands& o) noexcept {
  const Rows x(o.reads[0]), y(o.writes[0]);
  each(o, x.rows, x.cols,
       [=] __device__(int64_t t, int64_t c) { y.row(t)[c] = fmaf(a.scale, x.row(t)[c], y.row(t)[c]); });
}

void run(const SoftcapArgs& a, const Operands& o) noexcept {
  const Rows y(o.writes[0]);
  each(o, y.rows, y.cols, [=] __device__(int64_t t, int64_t c) { y.row(t)[c] = a.cap * tanhf(y.row(t)[c] / a.cap); });
}

void run(const GatherArgs&, const Operands& o) noexcept {
  const Rows x(o.reads[0]), y(o.writes[0]);
  const int32_t* rows = o.step->rows;
  each(o, y.rows, x.cols, [=] __device__(int64_t r, int64_t c) { y.row(r)[c] = x.row(rows[r])[c]; });
}

// Angles are taken in double: positions reach a million, and frequencies keep their digits.
void run(const RopeArgs& a, const Operands& o) noexcept {
  const Rows x(o.reads[0]), y(o.writes[0]);
  const double* frequencies = static_cast<const double*>(o.weights[0].data);
  const int32_t* positions = o.step->positions;
  const int32_t* q_start = o.step->q_start;
  const int32_t* known = o.step->known_lens != nullptr ? o.step->known_lens : o.step->seq_lens;
  const int32_t half = a.dims / 2, runs = (a.heads + kRopeHeads - 1) / kRopeHeads;
  each(o, x.rows, int64_t{half} * runs, [=] __device__(int64_t t, int64_t c) {
    const int64_t i = c % half;
    const int32_t first = static_cast<int32_t>(c / half) * kRopeHeads;
    const RopeFactors& f = a.factors;
    bool is_long = false;
    if (f.switch_at > 0) {
      int32_t sequence = 0;
      while (q_start[sequence + 1] <= t) ++sequence;
      is_long = known[sequence] > f.switch_at;
    }
    const double temperature = f.beta == 0.0 ? 1.0 : 1.0 + f.beta * log(1.0 + floor(positions[t] / f.period));
    const double factor = (is_long ? f.long_factor : f.factor) * temperature;
    double sine, cosine;
    sincos(positions[t] * frequencies[is_long ? half + i : i], &sine, &cosine);
    const float co = static_cast<float>(cosine * factor), si = static_cast<float>(sine * factor);
    float left[kRopeHeads], right[kRopeHeads];
#pragma unroll
    for (int32_t j = 0; j < kRopeHeads; ++j) {
      const float* in = x.row(t) + min(first + j, a.heads - 1) * a.in_stride + i;
      left[j] = in[0], right[j] = in[half];
    }
#pragma unroll
    for (int32_t j = 0; j < kRopeHeads; ++j) {
      if (first + j >= a.heads) break;
      float* out = y.row(t) + (first + j) * a.out_stride + i;
      out[0] = left[j] * co - right[j] * si;
      out[half] = right[j] * co + left[j] * si;
    }
  });
}

}  // namespace arc::cuda
