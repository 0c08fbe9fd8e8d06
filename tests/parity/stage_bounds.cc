#include "parity/stage_bounds.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace arc::test {
namespace {

constexpr double kUnit = 0x1p-24;

// f(row, col) for every element.
template <typename F>
std::vector<double> each(const TensorView& view, F f) {
  std::vector<double> out;
  for (int64_t r = 0; r < view.rows; ++r) {
    for (int64_t c = 0; c < view.cols; ++c) out.push_back(f(r, c));
  }
  return out;
}

double size_at(const TensorView& view, int64_t row, int64_t col) {
  return std::fabs(static_cast<double>(view.row<float>(row)[col]));
}

std::vector<float> row_of(const TensorView& view, int64_t row, int64_t begin, int64_t count) {
  return {view.row<float>(row) + begin, view.row<float>(row) + begin + count};
}

// Largest |value| in column `col` of rows [0, count).
double largest(const std::vector<std::vector<float>>& rows, size_t begin, size_t end, int64_t col) {
  double out = 0.0;
  for (size_t j = begin; j < end; ++j) out = std::max(out, std::fabs(static_cast<double>(rows[j][col])));
  return out;
}

// Relative error of a sum of n terms in 16 partial sums, products included.
double sum_error(int64_t n) {
  return (static_cast<double>(n) / 16 + 8) * kUnit;
}

}  // namespace

std::vector<double> StageBounds::of(const StageRun& run) {
  return std::visit([&](const auto& a) { return bounds(a, run); }, run.stage.args);
}

// A few roundings of the result and of what it was made of: gates, soft caps; none for copies.
template <typename A>
StageBounds::Bounds StageBounds::bounds(const A&, const StageRun& run) {
  constexpr bool exact = std::is_same_v<A, GatherArgs> || std::is_same_v<A, RouteArgs>;
  if constexpr (exact) return each(run.after, [](int64_t, int64_t) { return 0.0; });
  return each(run.after, [&](int64_t r, int64_t c) { return 8 * kUnit * size_at(run.after, r, c); });
}

StageBounds::Bounds StageBounds::bounds(const NormArgs& a, const StageRun& run) {
  const Linear& weight = weights_.weights[run.stage.weights[0]];
  const double relative = sum_error(a.cols) + 8 * kUnit;
  return each(run.after, [&](int64_t r, int64_t c) {
    if (a.kind == NormKind::rms) return relative * size_at(run.after, r, c);
    // The mean's error counts against the spread: |x - mean| * scale <= sqrt(cols).
    double mean = 0.0, square = 0.0;
    const std::vector<float> x = row_of(run.reads[0], r, c / a.cols * a.cols, a.cols);
    for (float v : x) mean += std::fabs(v) / a.cols;
    for (float v : x) square += (v - mean) * (v - mean) / a.cols;
    const double spread = (size_at(run.reads[0], r, c) + mean) / std::sqrt(square + a.eps);
    return relative * (2 * spread * std::fabs(weight.data.as<float>()[c % a.cols]) + size_at(run.after, r, c));
  });
}

StageBounds::Bounds StageBounds::bounds(const GatedNormArgs& a, const StageRun& run) {
  return each(run.after,
              [&](int64_t r, int64_t c) { return (sum_error(a.cols) + 16 * kUnit) * size_at(run.after, r, c); });
}

const float* StageBounds::weight_row(const StageRun& run, int64_t matrix, int64_t row) {
  const Linear& w = weights_.weights[run.stage.weights[0]];
  const std::byte* bytes = w.data.data() + (matrix * w.out + row) * format_bytes(w.format, 1, w.in);
  if (w.format == WeightFormat::plain(DType::f32)) return reinterpret_cast<const float*>(bytes);
  decoded_.resize(static_cast<size_t>(w.in));
  if (w.format.code != BlockCode::none) {
    decode_run(w.format.code, bytes, 0, w.in, decoded_.data());
  } else {
    to_float(w.format.element, bytes, decoded_.data(), decoded_.size());
  }
  return decoded_.data();
}

double StageBounds::product_bound(const StageRun& run, int64_t matrix, int64_t row, const float* x) {
  const Linear& weight = weights_.weights[run.stage.weights[0]];
  const float* w = weight_row(run, matrix, row);
  constexpr int64_t kLanes = 8;
  double lanes[kLanes] = {};
  for (int64_t i = 0; i < weight.in; ++i) lanes[i % kLanes] += std::fabs(static_cast<double>(w[i]) * x[i]);
  double size = 0.0;
  for (const double lane : lanes) size += lane;
  const double bias = weight.bias.defined() ? std::fabs(weight.bias.as<float>()[matrix * weight.out + row]) : 0.0;
  return size * (product_rounding_ + sum_error(weight.in)) + 2 * kUnit * bias;
}

StageBounds::Bounds StageBounds::bounds(const LinearArgs&, const StageRun& run) {
  return each(run.after, [&](int64_t r, int64_t c) { return product_bound(run, 0, c, run.reads[0].row<float>(r)); });
}

StageBounds::Bounds StageBounds::bounds(const HeadLinearArgs& a, const StageRun& run) {
  const int64_t out = weights_.weights[run.stage.weights[0]].out;
  return each(run.after, [&](int64_t r, int64_t c) {
    const int64_t head = c / a.out_stride, row = c % a.out_stride;
    if (row >= out) return 0.0;  // not written
    return product_bound(run, head, row, run.reads[0].row<float>(r) + head * a.in_stride);
  });
}

StageBounds::Bounds StageBounds::bounds(const ExpertLinearArgs& a, const StageRun& run) {
  const Linear& w = weights_.weights[run.stage.weights[0]];
  return each(run.after, [&](int64_t r, int64_t c) {
    const int64_t choice = c / w.out, expert = run.reads[1].row<int32_t>(r)[choice] - a.first;
    if (expert < 0 || expert >= w.count) return 0.0;
    return product_bound(run, expert, c % w.out, run.reads[0].row<float>(r) + (a.own_input ? choice * w.in : 0));
  });
}

StageBounds::Bounds StageBounds::bounds(const RopeArgs& a, const StageRun& run) {
  return each(run.after, [&](int64_t r, int64_t c) {
    const int64_t head = c / a.out_stride, i = c % a.out_stride;
    if (head >= a.heads || i >= a.dims) return 0.0;
    const float* x = run.reads[0].row<float>(r) + head * a.in_stride;
    const int64_t other = i < a.dims / 2 ? i + a.dims / 2 : i - a.dims / 2;
    const double factor = std::max(a.factors.factor, a.factors.long_factor) * (1.0 + a.factors.beta * 8);
    return 4 * kUnit * factor * (std::fabs(x[i]) + std::fabs(x[other]));
  });
}

StageBounds::Bounds StageBounds::bounds(const AppendArgs& a, const StageRun& run) {
  History& history = caches_[{a.group, a.layer}];
  const KvPolicy& policy = plan_.groups[a.group].policy;
  const auto stored = [&](std::vector<float> row, KvPolicy::Side side, int32_t dim) {
    if (policy.tiled()) return row;  // only its length is asked for
    std::vector<uint32_t> bytes(static_cast<size_t>(dim));
    std::vector<uint16_t> scales(bytes.size());
    for (size_t head = 0; head < row.size(); head += bytes.size()) {
      const KvTile tile{.codec = side.codec,
                        .raw = policy.raw,
                        .dim = dim,
                        .data = reinterpret_cast<std::byte*>(bytes.data()),
                        .scales = scales.data()};
      store_row(tile, 0, row.data() + head);
      load_rows(tile, 0, 1, row.data() + head, dim);
    }
    return row;
  };
  for (int64_t r = 0; r < run.reads[0].rows; ++r) {
    const int64_t k_cols = int64_t{a.kv_heads} * a.k_dim, v_cols = int64_t{a.kv_heads} * a.v_dim;
    history.keys.push_back(stored(row_of(run.reads[0], r, 0, k_cols), policy.k, a.k_dim));
    if (a.v_dim > 0) history.values.push_back(stored(row_of(run.reads[1], r, 0, v_cols), policy.v, a.v_dim));
  }
  return {};
}

// As below, in the rotated space, where a vector's length is all that is known of its coordinates: scores are at most
// the product of two lengths, and the error of a sum of values is a vector whose length bounds each of its coordinates.
StageBounds::Bounds StageBounds::tiled_bounds(const AttendArgs& a, const StageRun& run) {
  constexpr double kDecoded = 1.01;         // how much longer a vector may be than the one that was encoded
  constexpr double kRotation = 16 * kUnit;  // a rotation's error, relative to the length
  // Kernels may take 16 bits of a query's largest coordinate, and of the largest weight of each tile.
  const double query = std::sqrt(a.k_dim) / 65278;
  constexpr double kWeights = 0.5 * kTileTokens / 65535;
  const double rounding = 2 * attend_rounding_;  // queries and keys, weights and values
  const History& history = caches_.at({a.group, a.layer});
  const size_t seen = history.keys.size(), n = static_cast<size_t>(run.after.rows);
  const auto length = [](const float* x, int32_t dim) {
    double square = 0.0;
    for (int32_t d = 0; d < dim; ++d) square += static_cast<double>(x[d]) * x[d];
    return std::sqrt(square);
  };
  const auto longest = [&](const std::vector<std::vector<float>>& rows, size_t end, int64_t col, int32_t dim) {
    double most = 0.0;
    for (size_t j = 0; j < end; ++j) most = std::max(most, kDecoded * length(rows[j].data() + col, dim));
    return most;
  };
  Bounds out;
  for (size_t t = 0; t < n; ++t) {
    const size_t end = seen - n + t + 1;
    for (int32_t h = 0; h < a.heads; ++h) {
      const int64_t kv_head = h / (a.heads / a.kv_heads);
      const double score = length(run.reads[0].row<float>(static_cast<int64_t>(t)) + h * a.k_dim, a.k_dim) *
                           longest(history.keys, end, kv_head * a.k_dim, a.k_dim) * a.scale;
      const double weight = score * (sum_error(a.k_dim) + kRotation + 4 * kUnit + query + rounding) +
                            8 * kUnit * (1 + (a.softcap > 0 ? score : 0));
      const double sum = (static_cast<double>(end) + 64) * kUnit * std::sqrt(a.v_dim) + kRotation + kWeights + rounding;
      const double size = longest(history.values, end, kv_head * a.v_dim, a.v_dim);
      out.insert(out.end(), static_cast<size_t>(a.v_dim), (2 * weight + sum) * size);
    }
  }
  return out;
}

// A score's error moves its weight in proportion; weights sum to one, so the result moves by twice that times the
// largest value; then the sum over the keys. A rounded query moves its scores, and rounded weights the sum, in
// proportion.
StageBounds::Bounds StageBounds::bounds(const AttendArgs& a, const StageRun& run) {
  if (a.open_group >= 0) return tiled_bounds(a, run);
  const History& history = caches_.at({a.group, a.layer});
  const auto& values = a.v_in_k ? history.keys : history.values;
  // Over bytes as in tiled_bounds(): a query's coordinate errs by half a step, as does each weight of a tile.
  const bool int8 = plan_.groups[a.group].policy.k.codec == KvPolicy::Codec::int8_block;
  const bool bytes = attends_in_bytes_ && int8;
  const double query = bytes ? 1.0 / 65278 : 0.0, weights = bytes ? 0.5 * kTileTokens / 65535 : 0.0;
  // Keys and values of int8 are rounded, too, where queries and weights are.
  const double rounding = int8 ? 2 * attend_rounding_ : attend_rounding_;
  const size_t seen = history.keys.size(), n = static_cast<size_t>(run.after.rows);
  Bounds out;
  for (size_t t = 0; t < n; ++t) {
    const size_t position = seen - n + t;
    const size_t end = a.causal ? position + 1 : a.window > 0 ? std::min(seen, position + a.window) : seen;
    const size_t begin = a.window > 0 && position + 1 > static_cast<size_t>(a.window) ? position + 1 - a.window : 0;
    for (int32_t h = 0; h < a.heads; ++h) {
      const int64_t kv_head = h / (a.heads / a.kv_heads);
      double score = 0.0, length = 0.0, largest_query = 0.0;
      for (int32_t d = 0; d < a.k_dim; ++d) {
        largest_query = std::max(largest_query, size_at(run.reads[0], static_cast<int64_t>(t), h * a.k_dim + d));
      }
      for (size_t j = begin; j < end; ++j) {
        double dot = 0.0, sum = 0.0;
        for (int32_t d = 0; d < a.k_dim; ++d) {
          const double key = std::fabs(history.keys[j][kv_head * a.k_dim + d]);
          dot += size_at(run.reads[0], static_cast<int64_t>(t), h * a.k_dim + d) * key;
          sum += key;
        }
        score = std::max(score, dot * a.scale);
        length = std::max(length, sum * a.scale);
      }
      const double weight = score * (sum_error(a.k_dim) + 4 * kUnit + rounding) + query * largest_query * length +
                            8 * kUnit * (1 + (a.softcap > 0 ? score : 0));
      const double sum = (static_cast<double>(end - begin) + 64) * kUnit + rounding + weights;
      for (int32_t d = 0; d < a.v_dim; ++d) {
        const int64_t col = kv_head * (a.v_in_k ? a.k_dim : a.v_dim) + d;
        out.push_back((2 * weight + sum) * largest(values, begin, end, col));
      }
    }
  }
  return out;
}

// The reference rounds the product, at most as large as both sides together, and the sum; another one the sum.
StageBounds::Bounds StageBounds::bounds(const AddArgs&, const StageRun& run) {
  return each(run.after, [&](int64_t r, int64_t c) {
    return kUnit * (2 * size_at(run.before, r, c) + 3 * size_at(run.after, r, c));
  });
}

// Functions of the gate err in proportion to their value; near the zeros of GELU in proportion to the gate.
StageBounds::Bounds StageBounds::bounds(const ActArgs& a, const StageRun& run) {
  return each(run.after, [&](int64_t r, int64_t c) {
    const int64_t j = c / a.hidden, i = c % a.hidden, first = j * a.hidden * (a.gated ? 2 : 1);
    const double gate = size_at(run.reads[0], r, first + i);
    const double up = a.gated ? size_at(run.reads[0], r, first + a.hidden + i) : 1.0;
    return 8 * kUnit * gate * (a.act == Act::clamped_swiglu ? up + 1.0 : up);
  });
}

StageBounds::Bounds StageBounds::bounds(const ExpertSumArgs& a, const StageRun& run) {
  return each(run.after, [&](int64_t r, int64_t c) {
    double size = 0.0;
    for (int32_t j = 0; j < a.top_k; ++j)
      size += size_at(run.reads[0], r, j * run.after.cols + c) * size_at(run.reads[1], r, j);
    return (a.top_k + 2) * kUnit * size;
  });
}

StageBounds::Bounds StageBounds::bounds(const ConvArgs& a, const StageRun& run) {
  History& history = states_[{a.group, a.layer}];
  for (int64_t r = 0; r < run.reads[0].rows; ++r) history.keys.push_back(row_of(run.reads[0], r, 0, a.channels));
  return each(run.after, [&](int64_t r, int64_t c) {
    double weight = 0.0;
    for (const float w : std::span(weight_row(run, 0, c), static_cast<size_t>(a.kernel))) weight += std::fabs(w);
    const Tensor& biases = weights_.weights[run.stage.weights[0]].bias;
    const double bias = biases.defined() ? std::fabs(biases.as<float>()[c]) : 0.0;
    // |silu'| < 1.1
    const double sum =
        1.1 * (a.kernel + 2) * kUnit * (weight * largest(history.keys, 0, history.keys.size(), c) + bias);
    return sum + 8 * kUnit * size_at(run.after, r, c);
  });
}

// A step of the rule neither lengthens a state's columns beyond what it adds nor forgets errors: both grow by at most
// the value and its rounding with every token. Keys have length 1, queries 1 / sqrt(key_dim).
StageBounds::Bounds StageBounds::bounds(const DeltaArgs& a, const StageRun& run) {
  History& history = states_[{a.group, a.layer}];
  const int64_t keys = 2 * int64_t{a.key_heads} * a.key_dim;
  for (int64_t r = 0; r < run.reads[0].rows; ++r) {
    history.values.push_back(row_of(run.reads[0], r, keys, int64_t{a.value_heads} * a.value_dim));
  }
  const auto tokens = static_cast<double>(history.values.size());
  const double rounding = (static_cast<double>(a.key_dim) / 2 + 24) * kUnit / std::sqrt(a.key_dim);
  return each(run.after, [&](int64_t, int64_t c) {
    return rounding * tokens * tokens * largest(history.values, 0, history.values.size(), c);
  });
}

// What a token adds to a state is read with no more than its size; with every token it decays, and is rounded three
// times.
StageBounds::Bounds StageBounds::bounds(const SsmArgs& a, const StageRun& run) {
  History& history = states_[{a.group, a.layer}];
  const auto weight = [&](int i, int64_t h) { return weights_.weights[run.stage.weights[i]].data.as<float>()[h]; };
  const int64_t width = int64_t{a.heads} * a.head_dim, n = a.state_dim;
  for (int64_t r = 0; r < run.reads[0].rows; ++r) {
    history.values.push_back(row_of(run.reads[0], r, 0, run.reads[0].cols));
    std::vector<float>& row = history.values.back();
    for (int32_t h = 0; h < a.heads; ++h) row.push_back(run.reads[1].row<float>(r)[h]);
  }
  const size_t seen = history.values.size(), first = seen - static_cast<size_t>(run.after.rows);
  return each(run.after, [&](int64_t r, int64_t c) {
    const int64_t h = c / a.head_dim, group = h / (a.heads / a.groups), now = static_cast<int64_t>(first) + r;
    const int64_t b = width + group * n, read = b + a.groups * n;
    const std::vector<float>& mine = history.values[now];
    double size = 0.0;
    for (int64_t t = 0; t <= now; ++t) {
      const std::vector<float>& row = history.values[t];
      const double raw = row[row.size() - a.heads + h] + weight(0, h);
      const double dt = std::clamp(raw > 20.0 ? raw : std::log1p(std::exp(raw)), a.dt_min, a.dt_max);
      double overlap = 0.0;
      for (int64_t i = 0; i < n; ++i) overlap += std::fabs(static_cast<double>(row[b + i]) * mine[read + i]);
      size += dt * std::fabs(row[c]) * overlap;
    }
    return (3.0 * static_cast<double>(now + 1) + static_cast<double>(n) / 2 + 8) * kUnit * size +
           4 * kUnit * std::fabs(static_cast<double>(weight(2, h)) * mine[c]);
  });
}

}  // namespace arc::test
