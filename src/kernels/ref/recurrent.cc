// The recurrent parts of gated DeltaNet and Mamba-2. A sequence's state is read from one slot and written to another
// (or the same).
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/ref/ref.h"

namespace arc::ref {
namespace {

// State of `layer_bytes` at `offset` for sequence s, as it is to be updated in place: the read slot copied to the write
// slot.
float* begin_state(const Operands& o, int32_t group, int32_t s, int64_t offset, size_t size_bytes) {
  const GroupInputs& inputs = o.step->groups[group];
  std::byte* out = o.state.data + inputs.state_write[s] * o.state.slot_bytes + offset;
  if (inputs.state_read[s] < 0) {
    std::memset(out, 0, size_bytes);
  } else if (inputs.state_read[s] != inputs.state_write[s]) {
    std::memcpy(out, o.state.data + inputs.state_read[s] * o.state.slot_bytes + offset, size_bytes);
  }
  return reinterpret_cast<float*>(out);
}

double softplus(double x) {
  return x > 20.0 ? x : std::log1p(std::exp(x));
}

double inverse_norm(const float* x, int32_t n) {
  double square = 0.0;
  for (int32_t i = 0; i < n; ++i) square += static_cast<double>(x[i]) * x[i];
  return 1.0 / std::sqrt(square + 1e-6);
}

// One value head, one token: state [key_dim, value_dim] is updated and read.
void delta_step(const DeltaArgs& a, float* state, const float* q, const float* k, const float* v, double decay,
                double beta, float* out) {
  const double q_scale = inverse_norm(q, a.key_dim) / std::sqrt(static_cast<double>(a.key_dim));
  const double k_scale = inverse_norm(k, a.key_dim);
  for (int32_t j = 0; j < a.value_dim; ++j) {
    double remembered = 0.0;
    for (int32_t i = 0; i < a.key_dim; ++i) remembered += decay * state[i * a.value_dim + j] * (k[i] * k_scale);
    const double correction = beta * (v[j] - remembered);
    double sum = 0.0;
    for (int32_t i = 0; i < a.key_dim; ++i) {
      float& cell = state[i * a.value_dim + j];
      cell = static_cast<float>(decay * cell + k[i] * k_scale * correction);
      sum += cell * (q[i] * q_scale);
    }
    out[j] = static_cast<float>(sum);
  }
}

}  // namespace

void run(const ConvArgs& a, const Operands& o) noexcept {
  const float* weight = static_cast<const float*>(o.weights[0].data);
  const float* bias = o.weights[0].bias;
  const int32_t past = a.kernel - 1;
  for (int32_t s = 0; s < o.step->n_seqs; ++s) {
    // [past, channels], oldest first
    float* state = begin_state(o, a.group, s, a.state_offset, static_cast<size_t>(past) * a.channels * sizeof(float));
    for (int32_t t = o.step->q_start[s]; t < o.step->q_start[s + 1]; ++t) {
      const float* x = o.reads[0].row<float>(t);
      float* y = o.writes[0].row<float>(t);
      for (int32_t c = 0; c < a.channels; ++c) {
        const float newest = x[c];
        double sum = static_cast<double>(weight[c * a.kernel + past]) * newest + (bias != nullptr ? bias[c] : 0.0f);
        for (int32_t i = 0; i < past; ++i)
          sum += static_cast<double>(weight[c * a.kernel + i]) * state[i * a.channels + c];
        for (int32_t i = 0; i + 1 < past; ++i) state[i * a.channels + c] = state[(i + 1) * a.channels + c];
        if (past > 0) state[(past - 1) * a.channels + c] = newest;
        y[c] = static_cast<float>(silu(sum));
      }
    }
  }
}

void run(const DeltaArgs& a, const Operands& o) noexcept {
  const float* dt_bias = static_cast<const float*>(o.weights[0].data);
  const float* a_log = static_cast<const float*>(o.weights[1].data);
  const int32_t heads_per_key = a.value_heads / a.key_heads;
  const int64_t head_cells = static_cast<int64_t>(a.key_dim) * a.value_dim;
  for (int32_t s = 0; s < o.step->n_seqs; ++s) {
    float* state =
        begin_state(o, a.group, s, a.state_offset, static_cast<size_t>(a.value_heads * head_cells) * sizeof(float));
    for (int32_t t = o.step->q_start[s]; t < o.step->q_start[s + 1]; ++t) {
      const float* q = o.reads[0].row<float>(t);
      const float* k = q + a.key_heads * a.key_dim;
      const float* v = k + a.key_heads * a.key_dim;
      const float* b = o.reads[1].row<float>(t);
      const float* dt = b + a.value_heads;
      for (int32_t h = 0; h < a.value_heads; ++h) {
        const int32_t key_head = h / heads_per_key;
        const double decay =
            std::exp(-std::exp(static_cast<double>(a_log[h])) * softplus(static_cast<double>(dt[h]) + dt_bias[h]));
        delta_step(a, state + h * head_cells, q + key_head * a.key_dim, k + key_head * a.key_dim, v + h * a.value_dim,
                   decay, sigmoid(b[h]), o.writes[0].row<float>(t) + h * a.value_dim);
      }
    }
  }
}

void run(const SsmArgs& a, const Operands& o) noexcept {
  const auto weight = [&](int i, int32_t h) {
    return static_cast<double>(static_cast<const float*>(o.weights[i].data)[h]);
  };
  const int64_t head_cells = static_cast<int64_t>(a.state_dim) * a.head_dim, width = int64_t{a.heads} * a.head_dim;
  for (int32_t s = 0; s < o.step->n_seqs; ++s) {
    float* state =
        begin_state(o, a.group, s, a.state_offset, static_cast<size_t>(a.heads * head_cells) * sizeof(float));
    for (int32_t t = o.step->q_start[s]; t < o.step->q_start[s + 1]; ++t) {
      for (int32_t h = 0; h < a.heads; ++h) {
        const int64_t group = h / (a.heads / a.groups);
        const float* x = o.reads[0].row<float>(t) + h * a.head_dim;
        const float* b = o.reads[0].row<float>(t) + width + group * a.state_dim;
        const float* c = b + static_cast<int64_t>(a.groups) * a.state_dim;
        const double dt = std::clamp(softplus(o.reads[1].row<float>(t)[h] + weight(0, h)), a.dt_min, a.dt_max);
        const double decay = std::exp(-std::exp(weight(1, h)) * dt);
        for (int32_t p = 0; p < a.head_dim; ++p) {
          double sum = weight(2, h) * x[p];
          for (int32_t i = 0; i < a.state_dim; ++i) {
            float& cell = state[h * head_cells + static_cast<int64_t>(i) * a.head_dim + p];
            cell = static_cast<float>(decay * cell + dt * b[i] * x[p]);
            sum += static_cast<double>(cell) * c[i];
          }
          o.writes[0].row<float>(t)[h * a.head_dim + p] = static_cast<float>(sum);
        }
      }
    }
  }
}

}  // namespace arc::ref
