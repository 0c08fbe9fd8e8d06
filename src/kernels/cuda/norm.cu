// Norms on the device: one block per run of columns, which lie in registers; sums in f32 in a fixed order. A sum that a
// norm follows is done by the same launch.
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/hopper.cuh"
#include "kernels/cuda/limits.h"

namespace arc::cuda {
namespace {

struct NormCall {
  NormKind kind = NormKind::rms;
  float eps = 0.0f;
  int32_t cols = 0;
  const float* weight = nullptr;
  const float* bias = nullptr;
  bool gated = false, gate_first = false;
  float add_scale = 0.0f;
  Rows x, z, y;
  Rows addend;  // times add_scale joins x first, which is kept; null: none
  int64_t first_rounded = 0;
};

// grid: (runs of a row, rows). At most kThreads * kEach columns.
template <int kThreads, int kEach>
__global__ void __launch_bounds__(kThreads) norm_kernel(const __grid_constant__ NormCall call) {
  next_may_start();
  const int64_t t = blockIdx.y, begin = static_cast<int64_t>(blockIdx.x) * call.cols;
  float* in = call.x.row(t) + begin;
  const float *gates = call.z.row(t) + begin, *addend = call.addend.row(t) + begin;
  const auto gate = [&](int i) { return gates[i] * sigmoid(gates[i]); };
  // Loops of loads only: what they load is asked for at once.
  const auto column = [](int j) { return static_cast<int>(threadIdx.x) + j * kThreads; };
  float x[kEach], weights[kEach];
#pragma unroll
  for (int j = 0; j < kEach; ++j) x[j] = column(j) < call.cols ? in[column(j)] : 0.0f;
#pragma unroll
  for (int j = 0; j < kEach; ++j) weights[j] = column(j) < call.cols ? call.weight[column(j)] : 0.0f;
  if (call.addend.data != nullptr) {
    float added[kEach];
#pragma unroll
    for (int j = 0; j < kEach; ++j) added[j] = column(j) < call.cols ? addend[column(j)] : 0.0f;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      x[j] = fmaf(call.add_scale, added[j], x[j]);
      if (column(j) < call.cols) in[column(j)] = x[j];
    }
  }
  if (call.gate_first) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      if (column(j) < call.cols) x[j] *= gate(column(j));
    }
  }
  if (call.kind == NormKind::layer) {
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < kEach; ++j) sum += x[j];
    const float mean = block_sum<kThreads>(sum) / static_cast<float>(call.cols);
#pragma unroll
    for (int j = 0; j < kEach; ++j) x[j] = column(j) < call.cols ? x[j] - mean : 0.0f;
  }
  float square = 0.0f;
#pragma unroll
  for (int j = 0; j < kEach; ++j) square = fmaf(x[j], x[j], square);
  const float scale = rsqrtf(block_sum<kThreads>(square) / static_cast<float>(call.cols) + call.eps);
  float* out = call.y.row(t) + begin;
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    const int i = column(j);
    if (i >= call.cols) break;
    const float value = fmaf(x[j] * scale, weights[j], call.bias != nullptr ? call.bias[i] : 0.0f);
    const float result = call.gated && !call.gate_first ? value * gate(i) : value;
    if (t < call.first_rounded) {
      out[i] = result;
    } else {
      call.y.row<__nv_bfloat16>(2 * t)[i] = __float2bfloat16(result);
    }
  }
}

void start(const Operands& o, const NormCall& call) {
  if (call.x.rows == 0) return;
  const dim3 grid(static_cast<unsigned>(call.x.cols / call.cols), static_cast<unsigned>(call.x.rows));
  cudaStream_t stream = stream_of(o);
  if (call.cols <= 32 * 8) {
    norm_kernel<32, 8><<<grid, 32, 0, stream>>>(call);
  } else if (call.cols <= 128 * 8) {
    norm_kernel<128, 8><<<grid, 128, 0, stream>>>(call);
  } else if (call.cols <= 1024 * 8) {
    norm_kernel<1024, 8><<<grid, 1024, 0, stream>>>(call);
  } else {
    static_assert(kMaxNormCols == 1024 * 32);
    norm_kernel<1024, 32><<<grid, 1024, 0, stream>>>(call);
  }
}

NormCall call_of(const NormArgs& a, const Operands& o) {
  return {.kind = a.kind,
          .eps = a.eps,
          .cols = a.cols,
          .weight = static_cast<const float*>(o.weights[0].data),
          .bias = o.weights[0].bias,
          .x = Rows(o.reads[0]),
          .y = Rows(o.writes[0]),
          .first_rounded = first_rounded(o)};
}

}  // namespace

void run(const NormArgs& a, const Operands& o) noexcept {
  start(o, call_of(a, o));
}

void run(const GatedNormArgs& a, const Operands& o) noexcept {
  start(o, {.eps = a.eps,
            .cols = a.cols,
            .weight = static_cast<const float*>(o.weights[0].data),
            .gated = true,
            .gate_first = a.gate_first,
            .x = Rows(o.reads[0]),
            .z = Rows(o.reads[1]),
            .y = Rows(o.writes[0]),
            .first_rounded = first_rounded(o)});
}

bool add_and_norm(const Args& first, const Operands& a, const Args& second, const Operands& b) noexcept {
  const auto* add = std::get_if<AddArgs>(&first);
  const auto* norm = std::get_if<NormArgs>(&second);
  if (add == nullptr || norm == nullptr) return false;
  const TensorView &sum = a.writes[0], &x = b.reads[0];
  if (sum.data != x.data || sum.cols != x.cols || norm->cols != x.cols) return false;
  NormCall call = call_of(*norm, b);
  call.addend = Rows(a.reads[0]);
  call.add_scale = add->scale;
  start(b, call);
  return true;
}

}  // namespace arc::cuda
