// Norms on the device: one block per run of columns, sums in f32 in a fixed order.
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/cuda_kernels.h"

namespace arc::cuda {
namespace {

constexpr int kThreads = 256;

struct NormCall {
  NormKind kind = NormKind::rms;
  float eps = 0.0f;
  int32_t cols = 0;
  const float* weight = nullptr;
  const float* bias = nullptr;
  bool gated = false, gate_first = false;
};

// grid: (runs of a row, rows). A short run (heads) leaves threads idle, which costs nothing against the launch.
__global__ void norm_kernel(NormCall call, Rows x, Rows z, Rows y) {
  const int64_t t = blockIdx.y, begin = static_cast<int64_t>(blockIdx.x) * call.cols;
  const float *in = x.row(t) + begin, *gates = z.row(t) + begin;
  const auto gate = [&](int i) { return gates[i] * sigmoid(gates[i]); };
  const auto input = [&](int i) { return call.gate_first ? in[i] * gate(i) : in[i]; };
  float mean = 0.0f;
  if (call.kind == NormKind::layer) {
    float sum = 0.0f;
    for (int i = threadIdx.x; i < call.cols; i += kThreads) sum += input(i);
    mean = block_sum<kThreads>(sum) / static_cast<float>(call.cols);
  }
  float square = 0.0f;
  for (int i = threadIdx.x; i < call.cols; i += kThreads) {
    const float v = input(i) - mean;
    square += v * v;
  }
  const float scale = rsqrtf(block_sum<kThreads>(square) / static_cast<float>(call.cols) + call.eps);
  float* out = y.row(t) + begin;
  for (int i = threadIdx.x; i < call.cols; i += kThreads) {
    const float value = (input(i) - mean) * scale * call.weight[i] + (call.bias != nullptr ? call.bias[i] : 0.0f);
    out[i] = call.gated && !call.gate_first ? value * gate(i) : value;
  }
}

void start(const Operands& o, const NormCall& call, const Rows& z) {
  const Rows x(o.reads[0]), y(o.writes[0]);
  if (x.rows == 0) return;
  const dim3 grid(static_cast<unsigned>(x.cols / call.cols), static_cast<unsigned>(x.rows));
  norm_kernel<<<grid, kThreads, 0, stream_of(o)>>>(call, x, z, y);
}

}  // namespace

void run(const NormArgs& a, const Operands& o) noexcept {
  start(o,
        {.kind = a.kind,
         .eps = a.eps,
         .cols = a.cols,
         .weight = static_cast<const float*>(o.weights[0].data),
         .bias = o.weights[0].bias},
        {});
}

void run(const GatedNormArgs& a, const Operands& o) noexcept {
  start(o,
        {.eps = a.eps,
         .cols = a.cols,
         .weight = static_cast<const float*>(o.weights[0].data),
         .gated = true,
         .gate_first = a.gate_first},
        Rows(o.reads[1]));
}

}  // namespace arc::cuda
