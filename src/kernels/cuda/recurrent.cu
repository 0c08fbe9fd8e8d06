// The recurrent parts of gated DeltaNet and Mamba-2 on the device. Each thread owns its channel, or its column of a
// head's state, and walks the sequence's tokens; no thread waits for another but for the shared q and k.
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/limits.h"

namespace arc::cuda {
namespace {

constexpr int kConvThreads = 128;

struct StateCall {
  StateView state;
  const int32_t* read = nullptr;
  const int32_t* write = nullptr;
  const int32_t* q_start = nullptr;
  int64_t offset = 0;

  // The state before the step, or null where a sequence begins; and where it goes.
  __device__ const float* before(int s) const {
    return read[s] < 0 ? nullptr : reinterpret_cast<const float*>(state.data + read[s] * state.slot_bytes + offset);
  }
  __device__ float* after(int s) const {
    return reinterpret_cast<float*>(state.data + write[s] * state.slot_bytes + offset);
  }
};

StateCall state_call(const Operands& o, int32_t group, int64_t offset) {
  const GroupInputs& inputs = o.step->groups[group];
  return {.state = o.state,
          .read = inputs.state_read,
          .write = inputs.state_write,
          .q_start = o.step->q_start,
          .offset = offset};
}

// grid: (channels, sequences).
__global__ void conv_kernel(ConvArgs a, StateCall call, const float* weight, const float* bias, Rows x, Rows y) {
  const int c = blockIdx.x * kConvThreads + threadIdx.x, s = blockIdx.y, past = a.kernel - 1;
  if (c >= a.channels) return;
  const float* before = call.before(s);
  float window[kMaxConvKernel] = {};
  for (int i = 0; i < past; ++i) window[i] = before != nullptr ? before[i * a.channels + c] : 0.0f;
  for (int t = call.q_start[s]; t < call.q_start[s + 1]; ++t) {
    window[past] = x.row(t)[c];
    float sum = bias != nullptr ? bias[c] : 0.0f;
    for (int i = 0; i <= past; ++i) sum += weight[c * a.kernel + i] * window[i];
    for (int i = 0; i < past; ++i) window[i] = window[i + 1];
    y.row(t)[c] = sum * sigmoid(sum);
  }
  float* after = call.after(s);
  for (int i = 0; i < past; ++i) after[i * a.channels + c] = window[i];
}

__device__ __forceinline__ float softplus(float x) {
  return x > 20.0f ? x : log1pf(expf(x));
}

// Brings column j of a head's state, `n` rows of `stride` cells, from its old slot into the new one; zeros where a
// sequence begins.
__device__ void begin_column(const float* before, float* cells, int n, int stride, int j) {
  if (before == cells) return;
  for (int i = 0; i < n; ++i) cells[i * stride + j] = before == nullptr ? 0.0f : before[i * stride + j];
}

// One block per value head and sequence, one thread per value coordinate; the state stays in its slot.
__global__ void delta_kernel(DeltaArgs a, StateCall call, const float* dt_bias, const float* a_log, Rows qkv, Rows ba,
                             Rows out) {
  __shared__ float q[kMaxKeyDim], k[kMaxKeyDim];
  const int h = blockIdx.x, s = blockIdx.y, j = threadIdx.x;
  const int key_head = h / (a.value_heads / a.key_heads);
  const int64_t head_cells = static_cast<int64_t>(a.key_dim) * a.value_dim;
  const float* before = call.before(s);
  float* cells = call.after(s) + h * head_cells;
  begin_column(before == nullptr ? nullptr : before + h * head_cells, cells, a.key_dim, a.value_dim, j);
  for (int t = call.q_start[s]; t < call.q_start[s + 1]; ++t) {
    const float* row = qkv.row(t);
    __syncthreads();
    for (int i = j; i < a.key_dim; i += blockDim.x) {
      q[i] = row[key_head * a.key_dim + i];
      k[i] = row[(a.key_heads + key_head) * a.key_dim + i];
    }
    __syncthreads();
    float q_square = 0.0f, k_square = 0.0f;
    for (int i = 0; i < a.key_dim; ++i) {
      q_square += q[i] * q[i];
      k_square += k[i] * k[i];
    }
    const float q_scale = rsqrtf(q_square + 1e-6f) * rsqrtf(static_cast<float>(a.key_dim));
    const float k_scale = rsqrtf(k_square + 1e-6f);
    const float dt = softplus(ba.row(t)[a.value_heads + h] + dt_bias[h]);
    const float decay = expf(-expf(a_log[h]) * dt), beta = sigmoid(ba.row(t)[h]);
    float remembered = 0.0f;
    for (int i = 0; i < a.key_dim; ++i)
      remembered += decay * cells[static_cast<int64_t>(i) * a.value_dim + j] * (k[i] * k_scale);
    const float value = row[2 * a.key_heads * a.key_dim + h * a.value_dim + j];
    const float correction = beta * (value - remembered);
    float sum = 0.0f;
    for (int i = 0; i < a.key_dim; ++i) {
      float& cell = cells[static_cast<int64_t>(i) * a.value_dim + j];
      cell = decay * cell + k[i] * k_scale * correction;
      sum += cell * (q[i] * q_scale);
    }
    out.row(t)[h * a.value_dim + j] = sum;
  }
}

// One block per head and sequence, one thread per coordinate of the head.
__global__ void ssm_kernel(SsmArgs a, StateCall call, const float* dt_bias, const float* a_log, const float* d,
                           Rows xbc, Rows dts, Rows out) {
  const int h = blockIdx.x, s = blockIdx.y, j = threadIdx.x;
  const int64_t head_cells = static_cast<int64_t>(a.state_dim) * a.head_dim;
  const float* before = call.before(s);
  float* cells = call.after(s) + h * head_cells;
  begin_column(before == nullptr ? nullptr : before + h * head_cells, cells, a.state_dim, a.head_dim, j);
  const int64_t b_begin = static_cast<int64_t>(a.heads) * a.head_dim + h / (a.heads / a.groups) * a.state_dim;
  for (int t = call.q_start[s]; t < call.q_start[s + 1]; ++t) {
    const float* row = xbc.row(t);
    const float *b = row + b_begin, *c = b + static_cast<int64_t>(a.groups) * a.state_dim;
    const float x = row[h * a.head_dim + j];
    const float dt =
        fminf(fmaxf(softplus(dts.row(t)[h] + dt_bias[h]), static_cast<float>(a.dt_min)), static_cast<float>(a.dt_max));
    const float decay = expf(-expf(a_log[h]) * dt);
    float sums[2] = {d[h] * x, 0.0f};
    for (int i = 0; i < a.state_dim; ++i) {
      float& cell = cells[static_cast<int64_t>(i) * a.head_dim + j];
      cell = decay * cell + dt * b[i] * x;
      sums[i % 2] += cell * c[i];
    }
    out.row(t)[h * a.head_dim + j] = sums[0] + sums[1];
  }
}

}  // namespace

void run(const ConvArgs& a, const Operands& o) noexcept {
  if (o.step->n_seqs == 0) return;
  const dim3 grid(static_cast<unsigned>(blocks_for(a.channels, kConvThreads)), static_cast<unsigned>(o.step->n_seqs));
  conv_kernel<<<grid, kConvThreads, 0, stream_of(o)>>>(a, state_call(o, a.group, a.state_offset),
                                                       static_cast<const float*>(o.weights[0].data), o.weights[0].bias,
                                                       Rows(o.reads[0]), Rows(o.writes[0]));
}

void run(const DeltaArgs& a, const Operands& o) noexcept {
  if (o.step->n_seqs == 0) return;
  const dim3 grid(static_cast<unsigned>(a.value_heads), static_cast<unsigned>(o.step->n_seqs));
  delta_kernel<<<grid, static_cast<unsigned>(a.value_dim), 0, stream_of(o)>>>(
      a, state_call(o, a.group, a.state_offset), static_cast<const float*>(o.weights[0].data),
      static_cast<const float*>(o.weights[1].data), Rows(o.reads[0]), Rows(o.reads[1]), Rows(o.writes[0]));
}

void run(const SsmArgs& a, const Operands& o) noexcept {
  if (o.step->n_seqs == 0) return;
  const dim3 grid(static_cast<unsigned>(a.heads), static_cast<unsigned>(o.step->n_seqs));
  const auto weight = [&](int i) { return static_cast<const float*>(o.weights[i].data); };
  ssm_kernel<<<grid, static_cast<unsigned>(a.head_dim), 0, stream_of(o)>>>(
      a, state_call(o, a.group, a.state_offset), weight(0), weight(1), weight(2), Rows(o.reads[0]), Rows(o.reads[1]),
      Rows(o.writes[0]));
}

}  // namespace arc::cuda
