#include "gpu/tape_oracle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <thread>

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

// A number in the form in which attention sees it, and how far off f32 sums before it may leave it.
struct Near {
  double value = 0.0, slack = 0.0;
};
using Head = std::array<Near, kDim>;

// Rounded to bf16: nothing, or a step to the neighbour.
Near to_bf16(double v, double spread) {
  return {rounded(v), std::fabs(rounded(v + spread) - rounded(v - spread))};
}

// q or k of one head after norm and rotation by position; without gains there is no norm.
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
    head[d] = {normed[d] * c + partner * s, 24 * kUlpF32 * (std::fabs(normed[d]) + std::fabs(partner))};
  }
  return head;
}

// Gate and up of experts; down follows their choice.
bool chooses_experts(const tape::TapeStage& stage) {
  return stage.op == tape::Op::product && stage.reads[tape::kScores].address != 0 &&
         stage.product.epilogue == tape::Epilogue::silu_mul;
}

double length(const Head& head) {
  double square = 0.0;
  for (const Near& x : head) square += x.value * x.value;
  return std::sqrt(square);
}

// A turn moves any error to any coordinate, and rounds in each of its eight steps.
void turn(const Rotation& rotation, Head& head) {
  double values[kDim], square = 0.0;
  for (int d = 0; d < kDim; ++d) {
    values[d] = head[d].value;
    square += head[d].slack * head[d].slack;
  }
  rotation.apply(values);
  const double slack = std::sqrt(square) + 8 * kUlpF32 * length(head);
  for (int d = 0; d < kDim; ++d) head[d] = {values[d], slack};
}

// The row of a cache that a step has written; `head`: key or value as they came.
void compare_row(tape::CacheForm form, const Rotation* rotation, Head head, const float* got, Shares& shares) {
  if (rotation != nullptr) turn(*rotation, head);
  for (int d = 0; d < kDim; ++d) {
    if (form == tape::CacheForm::bf16) {
      const Near near = to_bf16(head[d].value, head[d].slack);
      compare("appended", got[d], near.value, near.slack, shares);
      continue;
    }
    // A step is the 127th part of the largest of 32 coordinates, in f16: half of it, and what that takes from the
    // largest.
    double largest = 0.0;
    for (int i = d / 32 * 32; i < d / 32 * 32 + 32; ++i)
      largest = std::max(largest, std::fabs(head[i].value) + head[i].slack);
    compare("appended", got[d], head[d].value, largest / 127 * (0.5 + 0.07) + head[d].slack, shares);
  }
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
  // Per slice a lane's four sums take 8 products of matrices each, which cut their 16 terms at one place: 4 units each.
  // Then come 7 additions, and one per slice.
  const double n_additions = 40.0 + static_cast<double>(n_in / stage.product.columns + 1 + stage.experts.top_k);
  const size_t n_out = stage.product.n_out;
  Sums sums{.values = std::vector<double>(n_out), .bounds = std::vector<double>(n_out)};
  const size_t n_threads = std::max(1u, std::thread::hardware_concurrency());
  const auto rows = [&](size_t first) {
    for (size_t row = first; row < n_out; row += n_threads) {
      double sum = 0.0, size = 0.0;
      for (size_t c = 0; c < n_in; ++c) {
        const double p = double{bf16_to_float(weights[weight_at(stage, row, c)])} * x[c];
        sum += p;
        size += std::fabs(p);
      }
      sums.values[row] = sum;
      sums.bounds[row] = n_additions * kUlpF32 * size;
    }
  };
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < n_threads; ++i) threads.emplace_back(rows, i);
  threads.clear();
  return sums;
}

TapeOracle::TapeOracle(const Plan& plan, const CudaExecutor& executor, const LoadedWeights& host)
    : plan_(plan), executor_(executor), host_(host) {
  for (size_t g = 0; g < plan.groups.size(); ++g) {
    const KvPolicy& policy = plan.groups[g].policy;
    if (!policy.tiled()) continue;
    codecs_[g][0] = std::make_unique<TurboCodec>(KvRole::key, kDim, policy.k, policy.seed);
    codecs_[g][1] = std::make_unique<TurboCodec>(KvRole::value, kDim, policy.v, policy.seed);
  }
}

void TapeOracle::check(size_t index, int32_t token, int position, const std::vector<std::vector<int32_t>>& tables,
                       Shares& shares) {
  const tape::TapeStage& stage = tape().stages[index];
  tables_ = tables;
  if (index == 1) check_embed(token, shares);
  if (stage.op == tape::Op::product) check_product(stage, shares);
  if (stage.op == tape::Op::attend) check_attend(stage, position, shares);
}

std::set<int32_t> TapeOracle::chosen_at(size_t index) {
  const tape::TapeStage& stage = tape().stages[index];
  if (!chooses_experts(stage)) return {};
  Shares shares;
  choose_experts(stage, shares);
  std::set<int32_t> ids;
  for (const Chosen& chosen : chosen_) ids.insert(static_cast<int32_t>(chosen.id));
  return ids;
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
  if (chooses_experts(stage)) choose_experts(stage, shares);
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

// ---- attention

// A head's part of a block, on the host.
struct TapeOracle::Tile {
  std::vector<std::byte> bytes;
  KvView view;

  KvTile side(KvRole role) const { return kv_tile(view, 0, 0, kDim, role); }
  void load(KvRole role, std::vector<float>& rows) const {
    const size_t before = rows.size();
    rows.resize(before + tape::kBlockTokens * kDim);
    load_rows(side(role), 0, tape::kBlockTokens, rows.data() + before, kDim);
  }
};

// What a kv head's queries read, as it is stored.
struct TapeOracle::Cached {
  std::vector<float> keys, values;  // [token][128]
  std::vector<float> factors;       // of values: [token][4], what a number of a byte is worth
  std::vector<int> tile;            // of a token: tokens whose weights are rounded together
};

KvView TapeOracle::form_of(int group) const {
  const KvPolicy& policy = plan_.groups[static_cast<size_t>(group)].policy;
  const KvLayout at = kv_layout(policy, kDim, kDim);
  return {.policy = policy,
          .block_bytes = at.head_bytes,
          .head_bytes = at.head_bytes,
          .v_offset_bytes = at.v_offset,
          .tokens_per_block = static_cast<int32_t>(tape::kBlockTokens),
          .k_scales_bytes = at.k_scales,
          .v_scales_bytes = at.v_scales,
          .k_turbo = codecs_[group][0].get(),
          .v_turbo = codecs_[group][1].get()};
}

TapeOracle::Tile TapeOracle::tile(int group, const tape::IndexedRef& cache, int32_t block, size_t head) const {
  Tile tile{.bytes = {}, .view = form_of(group)};
  const auto head_bytes = static_cast<uint64_t>(tile.view.head_bytes);
  tile.bytes =
      read<std::byte>(cache.address + static_cast<uint64_t>(block) * cache.block_bytes + head * head_bytes, head_bytes);
  tile.view.data = tile.bytes.data();
  return tile;
}

TapeOracle::Cached TapeOracle::cached(const tape::TapeStage& stage, int position, size_t head, Shares& shares) const {
  const tape::AttendArgs& a = stage.attend;
  const int own = position / static_cast<int>(tape::kBlockTokens), n = position + 1;
  const int n_packed = a.form == tape::CacheForm::packed ? std::max(0, own - static_cast<int>(a.n_recent)) : 0;
  Cached out;
  for (int t = 0; t <= own; ++t) {
    const bool packed = t < n_packed;
    const int group = packed ? a.packed_group : a.group;
    const Tile there = tile(group, packed ? stage.packed : stage.cache, tables_[group][t], head);
    there.load(KvRole::key, out.keys);
    there.load(KvRole::value, out.values);
    const uint16_t* scales = there.side(KvRole::value).scales;
    for (int i = 0; i < static_cast<int>(tape::kBlockTokens); ++i) {
      for (int set = 0; set < kDim / 32; ++set) {
        const bool row = a.form == tape::CacheForm::bf16;
        out.factors.push_back(row ? 1.0f
                                  : f16_to_float(packed ? scales[norm_place(i)] : scales[i * (kDim / 32) + set]));
      }
      out.tile.push_back(packed ? 2 * t : 2 * t + i / static_cast<int>(tape::kGranuleTokens));
    }
    if (t == own && a.form == tape::CacheForm::packed && n % static_cast<int>(tape::kBlockTokens) == 0)
      check_sealed(stage, there, static_cast<size_t>(t), head, shares);
  }
  out.keys.resize(static_cast<size_t>(n) * kDim);
  out.values.resize(static_cast<size_t>(n) * kDim);
  return out;
}

// A tile that this step filled: the bytes that quant/ makes of its rows.
void TapeOracle::check_sealed(const tape::TapeStage& stage, const Tile& open, size_t index, size_t head,
                              Shares& shares) const {
  const int group = stage.attend.packed_group;
  const Tile got = tile(group, stage.packed, tables_[group][index], head);
  Tile expected = got;
  std::ranges::fill(expected.bytes, std::byte{0});
  expected.view.data = expected.bytes.data();
  for (const KvRole role : {KvRole::key, KvRole::value}) seal(open.side(role), expected.side(role));
  const bool same = got.bytes == expected.bytes;
  shares["sealed"] = std::max(shares["sealed"], same ? 0.0 : std::numeric_limits<double>::infinity());
}

void TapeOracle::check_attend(const tape::TapeStage& stage, int position, Shares& shares) {
  const tape::AttendArgs& a = stage.attend;
  const bool bytes = a.form != tape::CacheForm::bf16, turned = a.form == tape::CacheForm::packed;
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
  const Rotation* rotation = turned ? &codecs_[a.packed_group][0]->rotation() : nullptr;
  for (size_t kv = 0; kv < a.n_kv_heads; ++kv) {
    const Cached context = cached(stage, position, kv, shares);
    const Head key = norm_and_rotate(&qkv[(a.n_heads + kv) * kDim], k_gains, frequencies, position, a);
    Head value;
    for (int d = 0; d < kDim; ++d) value[d].value = qkv[(a.n_heads + a.n_kv_heads + kv) * kDim + d];
    compare_row(a.form, rotation, key, &context.keys[(n - 1) * kDim], shares);
    compare_row(a.form, rotation, value, &context.values[(n - 1) * kDim], shares);
    for (size_t head = kv * group; head < (kv + 1) * group; ++head) {
      Head query = norm_and_rotate(&qkv[head * kDim], q_gains, frequencies, position, a);
      double largest_query = 0.0;
      if (turned) turn(*rotation, query);
      for (Near& x : query) {
        if (!bytes) x = to_bf16(x.value, x.slack);
        largest_query = std::max(largest_query, std::fabs(x.value));
      }
      // Of bytes: whole numbers of the 32639th part of the largest.
      for (Near& x : query) x.slack += bytes ? largest_query / 65278 : 0.0;
      std::vector<double> weights;
      double worst = 0.0, largest = -INFINITY, total = 0.0;
      const double scale = a.scale_log2 / std::numbers::log2e;
      for (size_t t = 0; t < n; ++t) {
        double score = 0.0, error = 0.0;
        for (int d = 0; d < kDim; ++d) {
          const double k = context.keys[t * kDim + d], p = query[d].value * k;
          score += p;
          error += query[d].slack * std::fabs(k) + kDim * kUlpF32 * std::fabs(p);
        }
        weights.push_back(score * scale);
        worst = std::max(worst, error * scale);
        largest = std::max(largest, weights.back());
      }
      for (double& w : weights) total += w = std::exp(w - largest);
      Head out;
      for (int d = 0; d < kDim; ++d) {
        double size = 0.0, rounding = 0.0;
        for (size_t begin = 0, end = 0; begin < n; begin = end) {
          // Of bytes: a tile's weights are whole numbers of the 65535th part of the largest.
          double most = 0.0, numbers = 0.0;
          for (end = begin; end < n && context.tile[end] == context.tile[begin]; ++end) {
            const double w = weights[end] / total, v = context.values[end * kDim + d];
            const double factor = context.factors[end * (kDim / 32) + d / 32];
            out[d].value += w * v;
            size += w * std::fabs(v);
            most = std::max(most, w * factor);
            numbers += factor == 0.0 ? 0.0 : std::fabs(v) / factor;
          }
          rounding += 0.5 / 65535 * most * numbers;
        }
        // Of bf16: weights are rounded before they meet the values. A wrong score moves its weight and the line.
        out[d].slack = size * (2 * worst + (bytes ? 0.0 : kHalfUlpBf16) + 256 * kUlpF32) + (bytes ? rounding : 0.0);
      }
      if (turned) turn(*rotation, out);
      for (int d = 0; d < kDim; ++d)
        compare("attended", attended[head * kDim + d], out[d].value, with_rounding(out[d].value, out[d].slack), shares);
    }
  }
}

}  // namespace arc::test
