// Rotation, cache writes, and attention over the paged cache.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ref/ref.h"

namespace arc::ref {
namespace {

// Row `offset` of one head's keys or values in a cache block.
std::byte* cache_row(const KvView& kv, int64_t block, int64_t offset, int32_t head, int32_t dim, bool value) {
  std::byte* base = kv.data + block * kv.block_bytes + head * kv.head_bytes + (value ? kv.v_offset_bytes : 0);
  return base + offset * dim * static_cast<int64_t>(dtype_size(kv.policy.raw));
}

// One query's walk over the cache: scores, softmax, weighted values.
struct Attention {
  const AttendArgs& a;
  const Operands& o;
  int32_t sequence;

  const std::byte* row(int32_t position, int32_t kv_head, bool value) const {
    const GroupInputs& group = o.step->groups[a.group];
    const int64_t block = group.block_table[sequence * group.table_stride + position / o.kv.tokens_per_block];
    const bool from_k = value && a.v_in_k;
    return cache_row(o.kv, block, position % o.kv.tokens_per_block, kv_head, value && !from_k ? a.v_dim : a.k_dim,
                     value && !from_k);
  }

  double score(const float* q, int32_t position, int32_t kv_head) const {
    float k[kMaxRefHeadDim];
    to_float(o.kv.policy.raw, row(position, kv_head, false), k, a.k_dim);
    double dot = 0.0;
    for (int32_t d = 0; d < a.k_dim; ++d) dot += static_cast<double>(q[d]) * k[d];
    dot *= a.scale;
    return a.softcap > 0 ? a.softcap * std::tanh(dot / a.softcap) : dot;
  }

  // Positions [first, last] are visible. Two passes: the largest score, then weights relative to it.
  void head(const float* q, float* out, int32_t kv_head, const float* sink, int32_t first, int32_t last) const {
    double largest = sink != nullptr ? *sink : -std::numeric_limits<double>::infinity();
    for (int32_t j = first; j <= last; ++j) largest = std::max(largest, score(q, j, kv_head));
    double mass = sink != nullptr ? std::exp(*sink - largest) : 0.0;
    double sums[kMaxRefHeadDim] = {};
    float v[kMaxRefHeadDim];
    for (int32_t j = first; j <= last; ++j) {
      const double weight = std::exp(score(q, j, kv_head) - largest);
      mass += weight;
      to_float(o.kv.policy.raw, row(j, kv_head, true), v, a.v_dim);
      for (int32_t d = 0; d < a.v_dim; ++d) sums[d] += weight * v[d];
    }
    for (int32_t d = 0; d < a.v_dim; ++d) out[d] = static_cast<float>(sums[d] / mass);
  }
};

}  // namespace

void run(const RopeArgs& a, const Operands& o) noexcept {
  const double* frequencies = static_cast<const double*>(o.weights[0].data);
  const int32_t half = a.dims / 2;
  for (int32_t t = 0, sequence = 0; t < o.step->n_tokens; ++t) {
    while (o.step->q_start[sequence + 1] <= t) ++sequence;
    const bool is_long = a.factors.is_long(known_tokens(*o.step, sequence));
    const double factor = a.factors.at(o.step->positions[t], is_long);
    for (int32_t i = 0; i < half; ++i) {
      const double angle = o.step->positions[t] * frequencies[is_long ? half + i : i];
      const double c = std::cos(angle) * factor, s = std::sin(angle) * factor;
      for (int32_t h = 0; h < a.heads; ++h) {
        const float* x = o.reads[0].row<float>(t) + h * a.in_stride;
        float* y = o.writes[0].row<float>(t) + h * a.out_stride;
        const double left = x[i], right = x[i + half];
        y[i] = static_cast<float>(left * c - right * s);
        y[i + half] = static_cast<float>(right * c + left * s);
      }
    }
  }
}

void run(const AppendArgs& a, const Operands& o) noexcept {
  const int64_t* slots = o.step->groups[a.group].slots;
  for (int32_t t = 0; t < o.step->n_tokens; ++t) {
    const int64_t block = slots[t] / o.kv.tokens_per_block, offset = slots[t] % o.kv.tokens_per_block;
    for (int32_t h = 0; h < a.kv_heads; ++h) {
      from_float(o.kv.policy.raw, o.reads[0].row<float>(t) + h * a.k_dim,
                 cache_row(o.kv, block, offset, h, a.k_dim, false), a.k_dim);
      if (a.v_dim == 0) continue;
      from_float(o.kv.policy.raw, o.reads[1].row<float>(t) + h * a.v_dim,
                 cache_row(o.kv, block, offset, h, a.v_dim, true), a.v_dim);
    }
  }
}

void run(const AttendArgs& a, const Operands& o) noexcept {
  const float* sinks = a.sinks ? static_cast<const float*>(o.weights[0].data) : nullptr;
  const int32_t group_size = a.heads / a.kv_heads;
  for (int32_t s = 0; s < o.step->n_seqs; ++s) {
    const Attention attention{a, o, s};
    for (int32_t t = o.step->q_start[s]; t < o.step->q_start[s + 1]; ++t) {
      const int32_t position = o.step->positions[t];
      const int32_t first = a.window > 0 ? std::max(0, position - a.window + 1) : 0;
      const int32_t last = a.causal ? position : o.step->seq_lens[s] - 1;
      for (int32_t h = 0; h < a.heads; ++h) {
        attention.head(o.reads[0].row<float>(t) + h * a.k_dim, o.writes[0].row<float>(t) + h * a.v_dim, h / group_size,
                       sinks != nullptr ? sinks + h : nullptr, first, last);
      }
    }
  }
}

}  // namespace arc::ref
