#include "gpu/tape_oracle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "base/dtype.h"

namespace arc::test {
namespace {

constexpr double kHalfUlpBf16 = 0x1p-8, kUlpF32 = 0x1p-23;
constexpr int kDim = tape::kHeadDim;

void compare(const std::string& kind, double got, double expected, double bound, Shares& shares) {
  const double error = std::fabs(got - expected), share = error == 0.0 ? 0.0 : error / bound;
  double& worst = shares[kind];
  if (!(share <= worst)) worst = std::isnan(share) ? std::numeric_limits<double>::infinity() : share;
}

double rounded(double v) {
  return bf16_to_float(float_to_bf16(static_cast<float>(v)));
}
double with_rounding(double v, double bound) {
  return bound + kHalfUlpBf16 * std::fabs(v);
}

// A number as rounded to bf16, and what f32 sums before the rounding may change: nothing, or a step to the neighbour.
struct Near {
  double value = 0.0, slack = 0.0;
  Near() = default;
  Near(double v, double spread) : value(rounded(v)), slack(std::fabs(rounded(v + spread) - rounded(v - spread))) {}
};

using Head = std::array<Near, kDim>;

// q or k of one head as attention sees them; without gains there is no norm.
Head norm_and_rotate(const double* raw, const std::vector<float>& gains, const std::vector<double>& frequencies,
                     int position, const tape::AttendArgs& a) {
  double square = 0.0;
  for (int d = 0; d < kDim; ++d) square += raw[d] * raw[d];
  const double scale = gains.empty() ? 1.0 : 1.0 / std::sqrt(square / kDim + double{a.eps});
  std::array<double, kDim> normed{};
  for (int d = 0; d < kDim; ++d) normed[d] = raw[d] * scale * (gains.empty() ? 1.0 : gains[d]);
  Head head;
  for (int d = 0; d < kDim; ++d) {
    const double angle = position * frequencies[d % (kDim / 2)];
    const double c = a.rope_factor * std::cos(angle), s = a.rope_factor * std::sin(angle);
    const double partner = d < kDim / 2 ? -normed[d + kDim / 2] : normed[d - kDim / 2];
    head[d] = Near(normed[d] * c + partner * s, 24 * kUlpF32 * (std::fabs(normed[d]) + std::fabs(partner)));
  }
  return head;
}

}  // namespace

// Row sums of a product, and what f32 sums may be off.
struct TapeOracle::Sums {
  std::vector<double> values, bounds;
};

template <typename T>
std::vector<T> TapeOracle::read(uint64_t address, size_t count) const {
  const Tensor bytes = executor_.tape()->read(address, static_cast<int64_t>(count * sizeof(T)));
  return {bytes.as<T>(), bytes.as<T>() + count};
}

std::vector<double> TapeOracle::vector(const tape::BufferRef& ref, size_t count, Shares& shares) const {
  const uint32_t tag = executor_.tape()->last_step() * ref.per_step + ref.version;
  std::vector<double> values;
  for (const uint32_t word : read<uint32_t>(ref.address, count)) {
    if (((word ^ tag) & 0xffff) != 0) shares["tags"] = std::numeric_limits<double>::infinity();
    values.push_back(bf16_to_float(static_cast<uint16_t>(word >> 16)));
  }
  return values;
}

std::vector<double> TapeOracle::tagged32(const tape::BufferRef& ref, size_t count, Shares& shares) const {
  const uint32_t tag = executor_.tape()->last_step() * ref.per_step + ref.version;
  std::vector<double> values;
  for (const uint64_t word : read<uint64_t>(ref.address, count)) {
    if (static_cast<uint32_t>(word >> 32) != tag) shares["tags"] = std::numeric_limits<double>::infinity();
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(word)));
  }
  return values;
}

double TapeOracle::sum_of_squares(const tape::BufferRef& ref, Shares& shares) const {
  const std::vector<double> squares = tagged32(ref, tape().n_sms, shares);
  return std::accumulate(squares.begin(), squares.end(), 0.0);
}

// Where an element of a stage's matrix lies: gate, then up, of one chosen expert after another; or columns of one after
// another.
size_t TapeOracle::weight_at(const tape::TapeStage& stage, size_t row, size_t column) const {
  const tape::ProductArgs& args = stage.product;
  const size_t hidden = stage.experts.hidden;
  if (hidden == 0) return row * args.n_in + column;
  if (args.epilogue == tape::Epilogue::add_residual)
    return (chosen_[column / hidden].id * args.n_out + row) * hidden + column % hidden;
  const size_t half = args.n_out / 2, up = row / half, i = row % half;
  return (chosen_[i / hidden].id * 2 * hidden + up * hidden + i % hidden) * args.n_in + column;
}

// The experts with the best scores, of equal ones the first, and their weights.
void TapeOracle::choose_experts(const tape::TapeStage& stage, Shares& shares) {
  const tape::ExpertArgs& args = stage.experts;
  const std::vector<double> scores = tagged32(stage.reads[tape::kScores], args.n_experts, shares);
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  chosen_.clear();
  double mass = 0.0;
  for (size_t i = 0; i < order.size(); ++i) {
    const double weight = std::exp(scores[order[i]] - scores[order[0]]);
    if (i < args.top_k) chosen_.push_back({.id = order[i], .weight = weight});
    if (i < args.top_k || !args.over_chosen) mass += weight;
  }
  for (Chosen& c : chosen_) c.weight *= args.scale / mass;
}

TapeOracle::Sums TapeOracle::multiply(const tape::TapeStage& stage, const std::vector<double>& x) const {
  const uint64_t first_map = tape().stages[1].weights[tape::kMatrix].address;
  const size_t map = (stage.weights[tape::kMatrix].address - first_map) / tape::kMapBytes;
  const auto* weights = host_.weights[static_cast<size_t>(tape().matrices[map].weight)].data.as<uint16_t>();
  const size_t n_in = stage.product.n_in;
  // A lane adds 32 products per slice, then come 5 additions over lanes and one per slice.
  const double n_additions = 40.0 + static_cast<double>(n_in / tape::kTileColumns + 1 + stage.experts.top_k);
  Sums sums;
  for (size_t row = 0; row < stage.product.n_out; ++row) {
    double sum = 0.0, size = 0.0;
    for (size_t c = 0; c < n_in; ++c) {
      const double p = double{bf16_to_float(weights[weight_at(stage, row, c)])} * x[c];
      sum += p;
      size += std::fabs(p);
    }
    sums.values.push_back(sum);
    sums.bounds.push_back(n_additions * kUlpF32 * size);
  }
  return sums;
}

void TapeOracle::check(size_t index, int32_t token, int position, const std::vector<int32_t>& table, Shares& shares) {
  const tape::TapeStage& stage = tape().stages[index];
  if (index == 1) check_embed(token, shares);
  if (stage.op == tape::Op::product) check_product(stage, shares);
  if (stage.op == tape::Op::attend) check_attend(stage, position, table, shares);
}

void TapeOracle::check_embed(int32_t token, Shares& shares) {
  const tape::TapeStage& stage = tape().stages[0];
  const size_t n = stage.product.n_out;
  std::vector<double> row;
  for (const uint16_t w :
       read<uint16_t>(stage.weights[tape::kMatrix].address + static_cast<uint64_t>(token) * n * 2, n))
    row.push_back(bf16_to_float(w));
  check_residual(stage, row, std::vector<double>(n, 0.0), shares);
}

// The residual, the vector that the next norm needs, and the squares of the residual that is there.
void TapeOracle::check_residual(const tape::TapeStage& stage, const std::vector<double>& expected,
                                const std::vector<double>& bounds, Shares& shares) {
  const size_t n = expected.size();
  const std::vector<float> got = read<float>(stage.writes[tape::kResidual].address, n);
  const std::vector<float> gains = read<float>(stage.weights[tape::kNextNorm].address, n);
  const std::vector<double> x = vector(stage.writes[tape::kVector], n, shares);
  double square = 0.0;
  for (size_t i = 0; i < n; ++i) {
    compare("residual", got[i], expected[i], bounds[i], shares);
    const double v = double{got[i]} * gains[i];
    compare("x", x[i], v, with_rounding(v, kUlpF32 * std::fabs(v)), shares);
    square += double{got[i]} * got[i];
  }
  compare("squares", sum_of_squares(stage.writes[tape::kSquares], shares), square, 16 * kUlpF32 * square, shares);
  residual_ = got;
}

void TapeOracle::check_product(const tape::TapeStage& stage, Shares& shares) {
  const tape::ProductArgs& args = stage.product;
  if (stage.reads[tape::kScores].address != 0 && args.epilogue == tape::Epilogue::silu_mul)
    choose_experts(stage, shares);
  const Sums sums = multiply(stage, vector(stage.reads[tape::kVector], args.n_in, shares));
  const bool normed = stage.reads[tape::kSquares].address != 0;
  const double square = normed ? sum_of_squares(stage.reads[tape::kSquares], shares) : 0.0;
  const double scale = normed ? 1.0 / std::sqrt(square / args.n_in + double{args.eps}) : 1.0;
  const auto value = [&](size_t row) { return sums.values[row] * scale; };
  const auto bound = [&](size_t row) { return sums.bounds[row] * scale + 32 * kUlpF32 * std::fabs(value(row)); };
  const size_t n = args.n_out;
  if (args.epilogue == tape::Epilogue::add_residual) {
    std::vector<double> expected, bounds;
    for (size_t i = 0; i < n; ++i) {
      expected.push_back(residual_[i] + value(i));
      bounds.push_back(bound(i) + kUlpF32 * std::fabs(expected[i]));
    }
    return check_residual(stage, expected, bounds, shares);
  }
  if (args.epilogue == tape::Epilogue::silu_mul) {
    const std::vector<double> h = vector(stage.writes[tape::kVector], n / 2, shares);
    for (size_t i = 0; i < n / 2; ++i) {
      const double weight = stage.experts.hidden > 0 ? chosen_[i / stage.experts.hidden].weight : 1.0;
      const double gate = value(i), up = value(n / 2 + i), silu = gate / (1 + std::exp(-gate)), v = silu * up * weight;
      const double b =
          weight * (1.1 * bound(i) * std::fabs(up) + std::fabs(silu) * bound(n / 2 + i)) + 128 * kUlpF32 * std::fabs(v);
      compare("h", h[i], v, with_rounding(v, b), shares);
    }
    return;
  }
  if (args.epilogue == tape::Epilogue::scores) {
    const std::vector<double> scores = tagged32(stage.writes[tape::kVector], n, shares);
    for (size_t i = 0; i < n; ++i) compare("scores", scores[i], value(i), bound(i), shares);
    return;
  }
  if (args.epilogue == tape::Epilogue::logits) {
    const std::vector<float> logits = read<float>(stage.writes[tape::kVector].address, n);
    for (size_t i = 0; i < n; ++i) compare("logits", logits[i], value(i), bound(i), shares);
    return;
  }
  const std::vector<double> y = vector(stage.writes[tape::kVector], n, shares);
  const uint64_t bias = stage.weights[tape::kBias].address;
  const std::vector<float> biases = bias != 0 ? read<float>(bias, n) : std::vector<float>(n, 0.0f);
  for (size_t i = 0; i < n; ++i)
    compare("qkv", y[i], value(i) + biases[i],
            with_rounding(value(i) + biases[i], bound(i) + kUlpF32 * std::fabs(biases[i])), shares);
}

void TapeOracle::check_attend(const tape::TapeStage& stage, int position, const std::vector<int32_t>& table,
                              Shares& shares) {
  const tape::AttendArgs& a = stage.attend;
  const size_t group = a.n_heads / a.n_kv_heads, n = static_cast<size_t>(position) + 1;
  const std::vector<double> qkv =
      vector(stage.reads[tape::kVector], size_t{a.n_heads + 2 * a.n_kv_heads} * kDim, shares);
  const std::vector<double> attended = vector(stage.writes[tape::kVector], size_t{a.n_heads} * kDim, shares);
  const auto gains_of = [&](int i) {
    const uint64_t address = stage.weights[i].address;
    return address == 0 ? std::vector<float>{} : read<float>(address, kDim);
  };
  const std::vector<float> q_gains = gains_of(tape::kQNorm), k_gains = gains_of(tape::kKNorm);
  const std::vector<double> frequencies = read<double>(stage.weights[tape::kRope].address, kDim / 2);
  // [keys | values][token][128] of a kv head, from its blocks.
  const auto rows_of = [&](size_t head, size_t side) {
    std::vector<uint16_t> rows;
    for (size_t t = 0; t < n; t += tape::kBlockTokens) {
      const uint64_t block = static_cast<uint64_t>(table[t / tape::kBlockTokens]) * stage.cache.block_bytes;
      const std::vector<uint16_t> tile =
          read<uint16_t>(stage.cache.address + block + head * tape::kHeadBytes + side * tape::kHeadBytes / 2,
                         tape::kBlockTokens * kDim);
      rows.insert(rows.end(), tile.begin(), tile.end());
    }
    return rows;
  };
  for (size_t kv = 0; kv < a.n_kv_heads; ++kv) {
    const std::vector<uint16_t> keys = rows_of(kv, 0), values = rows_of(kv, 1);
    const Head key = norm_and_rotate(&qkv[(a.n_heads + kv) * kDim], k_gains, frequencies, position, a);
    for (int d = 0; d < kDim; ++d) {
      compare("appended", bf16_to_float(keys[(n - 1) * kDim + d]), key[d].value, key[d].slack, shares);
      compare("appended", bf16_to_float(values[(n - 1) * kDim + d]), qkv[(a.n_heads + a.n_kv_heads + kv) * kDim + d],
              0.0, shares);
    }
    for (size_t head = kv * group; head < (kv + 1) * group; ++head) {
      const Head query = norm_and_rotate(&qkv[head * kDim], q_gains, frequencies, position, a);
      std::vector<double> weights;
      double worst = 0.0, largest = -INFINITY, total = 0.0;
      const double scale = a.scale_log2 / std::numbers::log2e;
      for (size_t t = 0; t < n; ++t) {
        double score = 0.0, error = 0.0;
        for (int d = 0; d < kDim; ++d) {
          const double k = bf16_to_float(keys[t * kDim + d]), p = query[d].value * k;
          score += p;
          error += query[d].slack * std::fabs(k) + kDim * kUlpF32 * std::fabs(p);
        }
        weights.push_back(score * scale);
        worst = std::max(worst, error * scale);
        largest = std::max(largest, weights.back());
      }
      for (double& w : weights) total += w = std::exp(w - largest);
      for (int d = 0; d < kDim; ++d) {
        double out = 0.0, size = 0.0;
        for (size_t t = 0; t < n; ++t) {
          const double p = weights[t] / total * bf16_to_float(values[t * kDim + d]);
          out += p;
          size += std::fabs(p);
        }
        // Weights are rounded to bf16 before they meet the values; a wrong score moves its weight and the line.
        const double bound = size * (2 * worst + kHalfUlpBf16 + 256 * kUlpF32);
        compare("attended", attended[head * kDim + d], out, with_rounding(out, bound), shares);
      }
    }
  }
}

}  // namespace arc::test
