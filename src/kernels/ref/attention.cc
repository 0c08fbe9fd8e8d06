// Rotation, cache writes, and attention over the paged cache.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/ref/ref.h"
#include "quant/turbo.h"

namespace arc::ref {
namespace {

// One query's walk over the cache, tile by tile: scores, softmax, weighted values. Of a tiled policy all of it happens
// in the rotated space.
struct Attention {
  const AttendArgs& a;
  const Operands& o;
  int32_t sequence;

  // The keys or values of a tile as a query of tile `own` sees them.
  KvTile tile_of(int32_t tile, int32_t own, int32_t kv_head, KvRole role) const {
    const bool open = a.open_group >= 0 && tile >= own - o.kv.policy.recent;
    const GroupInputs& group = o.step->groups[open ? a.open_group : a.group];
    const int64_t block = group.block_table[sequence * group.table_stride + tile];
    return kv_tile(open ? o.open : o.kv, block, kv_head, role == KvRole::key ? a.k_dim : a.v_dim, role);
  }

  double score(const double* q, const float* k) const {
    double dot = 0.0;
    for (int32_t d = 0; d < a.k_dim; ++d) dot += q[d] * k[d];
    dot *= a.scale;
    return a.softcap > 0 ? a.softcap * std::tanh(dot / a.softcap) : dot;
  }

  // Calls visit(score, key, value) for positions [first, last] in order; values only where they are wanted.
  template <typename Visit>
  void walk(const double* q, int32_t own, int32_t kv_head, int32_t first, int32_t last, bool values,
            const Visit& visit) const {
    float k[kTileTokens * kMaxRefHeadDim], v[kTileTokens * kMaxRefHeadDim];
    for (int32_t tile = first / kTileTokens; tile <= last / kTileTokens; ++tile) {
      const int32_t begin = std::max(first - tile * kTileTokens, 0);
      const int32_t end = std::min(last - tile * kTileTokens + 1, kTileTokens);
      load_rows(tile_of(tile, own, kv_head, KvRole::key), begin, end, k, a.k_dim);
      if (values && !a.v_in_k) load_rows(tile_of(tile, own, kv_head, KvRole::value), begin, end, v, a.v_dim);
      for (int32_t j = begin; j < end; ++j) {
        const float* key = k + j * a.k_dim;
        visit(score(q, key), a.v_in_k ? key : v + j * a.v_dim);
      }
    }
  }

  // Positions [first, last] are visible. Two passes: the largest score, then weights relative to it.
  void head(const float* query, float* out, int32_t position, int32_t kv_head, const float* sink, int32_t first,
            int32_t last) const {
    double q[kMaxRefHeadDim], sums[kMaxRefHeadDim] = {};
    std::copy_n(query, a.k_dim, q);
    if (o.kv.k_turbo != nullptr) o.kv.k_turbo->rotation().apply(q);
    const int32_t own = position / kTileTokens;
    double largest = sink != nullptr ? *sink : -std::numeric_limits<double>::infinity();
    walk(q, own, kv_head, first, last, false, [&](double score, const float*) { largest = std::max(largest, score); });
    double mass = sink != nullptr ? std::exp(*sink - largest) : 0.0;
    walk(q, own, kv_head, first, last, true, [&](double score, const float* v) {
      const double weight = std::exp(score - largest);
      mass += weight;
      for (int32_t d = 0; d < a.v_dim; ++d) sums[d] += weight * v[d];
    });
    for (int32_t d = 0; d < a.v_dim; ++d) sums[d] /= mass;
    if (o.kv.v_turbo != nullptr) o.kv.v_turbo->rotation().apply(sums);
    for (int32_t d = 0; d < a.v_dim; ++d) out[d] = static_cast<float>(sums[d]);
  }
};

// Row `t` of a head's keys or values goes where its slot says.
void append_row(const AppendArgs& a, const Operands& o, int32_t t, int32_t head, KvRole role) {
  const bool key = role == KvRole::key, tiled = a.open_group >= 0;
  const KvView& to = tiled ? o.open : o.kv;
  const int64_t slot = o.step->groups[tiled ? a.open_group : a.group].slots[t];
  const int32_t dim = key ? a.k_dim : a.v_dim;
  float x[kMaxRefHeadDim];
  std::copy_n(o.reads[key ? 0 : 1].row<float>(t) + head * dim, dim, x);
  if (tiled) rotate(key ? *o.kv.k_turbo : *o.kv.v_turbo, x);
  store_row(kv_tile(to, slot / kTileTokens, head, dim, role), static_cast<int32_t>(slot % kTileTokens), x);
}

// Packs the tiles of a sequence whose last token is written in this step.
void seal_tiles(const AppendArgs& a, const Operands& o, int32_t sequence) {
  const GroupInputs &from = o.step->groups[a.open_group], &to = o.step->groups[a.group];
  const int32_t begin = o.step->q_start[sequence], end = o.step->q_start[sequence + 1];
  if (begin == end) return;
  for (int32_t tile = o.step->positions[begin] / kTileTokens; (tile + 1) * kTileTokens <= o.step->seq_lens[sequence];
       ++tile) {
    const int64_t open = from.block_table[sequence * from.table_stride + tile],
                  packed = to.block_table[sequence * to.table_stride + tile];
    for (int32_t h = 0; h < a.kv_heads; ++h) {
      seal(kv_tile(o.open, open, h, a.k_dim, KvRole::key), kv_tile(o.kv, packed, h, a.k_dim, KvRole::key));
      seal(kv_tile(o.open, open, h, a.v_dim, KvRole::value), kv_tile(o.kv, packed, h, a.v_dim, KvRole::value));
    }
  }
}

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
  for (int32_t t = 0; t < o.step->n_tokens; ++t) {
    for (int32_t h = 0; h < a.kv_heads; ++h) {
      append_row(a, o, t, h, KvRole::key);
      if (a.v_dim > 0) append_row(a, o, t, h, KvRole::value);
    }
  }
  for (int32_t s = 0; a.open_group >= 0 && s < o.step->n_seqs; ++s) seal_tiles(a, o, s);
}

void run(const AttendArgs& a, const Operands& o) noexcept {
  const float* sinks = a.sinks ? static_cast<const float*>(o.weights[0].data) : nullptr;
  const int32_t group_size = a.heads / a.kv_heads;
  for (int32_t s = 0; s < o.step->n_seqs; ++s) {
    const Attention attention{a, o, s};
    for (int32_t t = o.step->q_start[s]; t < o.step->q_start[s + 1]; ++t) {
      const int32_t position = o.step->positions[t];
      const int32_t first = a.window > 0 ? std::max(0, position - a.window + 1) : 0;
      const int32_t end = o.step->seq_lens[s] - 1;
      const int32_t last = a.causal ? position : a.window > 0 ? std::min(end, position + a.window - 1) : end;
      for (int32_t h = 0; h < a.heads; ++h) {
        attention.head(o.reads[0].row<float>(t) + h * a.k_dim, o.writes[0].row<float>(t) + h * a.v_dim, position,
                       h / group_size, sinks != nullptr ? sinks + h : nullptr, first, last);
      }
    }
  }
}

}  // namespace arc::ref
