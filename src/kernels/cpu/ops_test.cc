// Operations of generic/*.inl that need more than a plan's stages to be believed: the functions behind activations over
// their whole range, and attention against the reference at lengths that cross tiles, splits and windows.
#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "gtest/gtest.h"

#include "kernels/cpu/team_call.h"
#include "kernels/ref/ref.h"

namespace arc::cpu {
namespace {

constexpr double kUnit = 0x1p-24;

class Ops : public testing::TestWithParam<Isa> {
 protected:
  // Calls the kernel on `threads` threads.
  static void call(const Args& args, const Operands& o, int threads = 1) { call_team(GetParam(), args, o, threads); }

  static TensorView view(std::vector<float>& values, int64_t rows) {
    const auto cols = static_cast<int64_t>(values.size()) / rows;
    return {.data = values.data(), .rows = rows, .cols = cols, .row_stride = cols};
  }
};

// Negative, positive, tiny, huge.
std::vector<float> arguments() {
  std::vector<float> x;
  for (int i = -20000; i <= 20000; ++i) x.push_back(static_cast<float>(i) * 0.0047f);
  for (float tiny = 1.0f; tiny > 1e-30f; tiny *= 0.37f) x.insert(x.end(), {tiny, -tiny});
  x.insert(x.end(), {0.0f, 300.0f, -300.0f, 1e30f, -1e30f});
  return x;
}

TEST_P(Ops, SigmoidErrsByFourUnits) {
  std::vector<float> g = arguments(), ones(g.size(), 1.0f), y(g.size());
  const TensorView reads[2] = {view(ones, 1), view(g, 1)}, write = view(y, 1);
  call(GateArgs{}, {.reads = reads, .writes = &write});
  for (size_t i = 0; i < g.size(); ++i) {
    const double expected = 1.0 / (1.0 + std::exp(-static_cast<double>(g[i])));
    EXPECT_LE(std::fabs(y[i] - expected), (g[i] > -87 ? 4 * kUnit * expected : 0x1p-120)) << g[i];
  }
}

TEST_P(Ops, TanhErrsByFiveUnits) {
  std::vector<float> x = arguments(), y = x;
  const TensorView write = view(y, 1);
  call(SoftcapArgs{.cap = 1.0f}, {.writes = &write});
  for (size_t i = 0; i < x.size(); ++i) {
    const double expected = std::tanh(static_cast<double>(x[i]));
    EXPECT_LE(std::fabs(y[i] - expected), 5 * kUnit * std::fabs(expected)) << x[i];
  }
}

TEST_P(Ops, ActivationsErrByAFewUnitsOfTheGate) {
  for (const Act act : {Act::silu, Act::gelu, Act::gelu_tanh, Act::relu, Act::clamped_swiglu}) {
    std::vector<float> gate = arguments();
    const auto n = static_cast<int32_t>(gate.size());
    std::vector<float> x = gate, y(gate.size()), expected(gate.size());
    x.resize(2 * gate.size(), 1.25f);
    const ActArgs args{.act = act, .hidden = n, .alpha = 1.702f, .limit = 7.0f};
    const TensorView read = view(x, 1), write = view(y, 1), ref_write = view(expected, 1);
    call(args, {.reads = &read, .writes = &write});
    ref::run(args, Operands{.reads = &read, .writes = &ref_write});
    for (size_t i = 0; i < y.size(); ++i) {
      if (std::fabs(gate[i]) > 1e10f && act == Act::gelu_tanh) continue;  // its cube overflows
      EXPECT_LE(std::fabs(y[i] - expected[i]), 8 * kUnit * std::fabs(gate[i] * 2.25))
          << static_cast<int>(act) << gate[i];
    }
  }
}

TEST_P(Ops, NothingIsMadeOfNaN) {
  std::vector<float> x(33, std::nanf("")), y = x;
  const TensorView write = view(y, 1);
  call(SoftcapArgs{.cap = 1.0f}, {.writes = &write});
  for (float v : y) EXPECT_TRUE(std::isnan(v));
}

// One key cache, several sequences of different lengths in one step.
struct AttendCase {
  AttendArgs args;
  DType dtype;
  std::vector<int> lengths, new_tokens;  // of each sequence
};

class Attention {
 public:
  Attention(const AttendCase& c, unsigned seed) : case_(c), random_(seed) {
    const AttendArgs& a = c.args;
    const int64_t element = static_cast<int64_t>(dtype_size(c.dtype));
    stride_ = 1 + *std::ranges::max_element(c.lengths) / kTileTokens;
    kv_.policy = KvPolicy::raw_of(c.dtype);
    kv_.tokens_per_block = kTileTokens;
    kv_.v_offset_bytes = kTileTokens * a.k_dim * element;
    kv_.head_bytes = kv_.v_offset_bytes + (a.v_in_k ? 0 : kTileTokens * a.v_dim * element);
    kv_.block_bytes = kv_.head_bytes * a.kv_heads;
    const auto n_blocks = static_cast<int64_t>(c.lengths.size()) * stride_ + 1;
    cache_.resize(static_cast<size_t>(n_blocks * kv_.block_bytes));
    kv_.data = cache_.data();
    const std::vector<float> values = normal(cache_.size() / static_cast<size_t>(element));
    from_float(c.dtype, values.data(), cache_.data(), values.size());
    // Blocks in a shuffled order; entries past the end stay the dummy block.
    for (size_t b = 1; b < static_cast<size_t>(n_blocks); ++b) table_.push_back(static_cast<int32_t>(b));
    std::ranges::shuffle(table_, random_);
    q_start_.push_back(0);
    for (size_t s = 0; s < c.lengths.size(); ++s) {
      for (int p = c.lengths[s] - c.new_tokens[s]; p < c.lengths[s]; ++p) positions_.push_back(p);
      q_start_.push_back(static_cast<int32_t>(positions_.size()));
      seq_lens_.push_back(c.lengths[s]);
    }
    q_ = normal(positions_.size() * static_cast<size_t>(a.heads * a.k_dim));
    sinks_ = normal(static_cast<size_t>(a.heads));
    weight_.data = sinks_.data();
  }

  // Only tokens [begin, end) of the step when `end` is positive: one sequence.
  std::vector<float> run(const std::function<void(const Args&, const Operands&)>& kernel, size_t sequence = SIZE_MAX,
                         int begin = 0, int end = 0) {
    const AttendArgs& a = case_.args;
    const bool part = sequence != SIZE_MAX;
    const int first = part ? begin : 0, n = part ? end - begin : static_cast<int>(positions_.size());
    const std::vector<int32_t> one_start = {0, n}, one_len = {part ? positions_[static_cast<size_t>(end) - 1] + 1 : 0};
    StepInputs step{.n_seqs = part ? 1 : static_cast<int32_t>(seq_lens_.size()),
                    .n_tokens = n,
                    .positions = positions_.data() + first,
                    .q_start = part ? one_start.data() : q_start_.data(),
                    .seq_lens = part ? one_len.data() : seq_lens_.data()};
    step.groups[0] = {.block_table = table_.data() + (part ? static_cast<int64_t>(sequence) * stride_ : 0),
                      .table_stride = static_cast<int32_t>(stride_)};
    std::vector<float> out(static_cast<size_t>(n * a.heads * a.v_dim));
    const int64_t q_cols = a.heads * a.k_dim, out_cols = a.heads * a.v_dim;
    const TensorView read{.data = q_.data() + first * q_cols, .rows = n, .cols = q_cols, .row_stride = q_cols};
    const TensorView write{.data = out.data(), .rows = n, .cols = out_cols, .row_stride = out_cols};
    kernel(a, {.weights = &weight_, .reads = &read, .writes = &write, .step = &step, .kv = kv_});
    return out;
  }
  const std::vector<int32_t>& q_start() const { return q_start_; }

 private:
  std::vector<float> normal(size_t n) {
    std::normal_distribution<float> distribution;
    std::vector<float> out(n);
    for (float& v : out) v = distribution(random_);
    return out;
  }

  AttendCase case_;
  std::mt19937 random_;
  int64_t stride_ = 0;
  KvView kv_;
  MatrixView weight_;
  std::vector<std::byte> cache_;
  std::vector<int32_t> table_, positions_, q_start_, seq_lens_;
  std::vector<float> q_, sinks_;
};

std::vector<AttendCase> attend_cases() {
  const AttendArgs gqa{.heads = 6, .kv_heads = 2, .k_dim = 32, .v_dim = 32, .scale = 0.17f};
  AttendArgs window = gqa, capped = gqa, latent = gqa, odd = gqa, odd_latent = gqa;
  window.window = 100;
  window.sinks = true;
  capped.softcap = 5.0f;
  capped.heads = 2;
  latent = {.heads = 40, .kv_heads = 1, .k_dim = 48, .v_dim = 32, .v_in_k = true, .scale = 0.2f};
  odd = {.heads = 4, .kv_heads = 2, .k_dim = 20, .v_dim = 12, .scale = 0.25f};
  odd_latent = {.heads = 3, .kv_heads = 1, .k_dim = 20, .v_dim = 12, .v_in_k = true, .scale = 0.25f};
  const std::vector<int> lengths = {1, 64, 65, 560, 1100, 130}, one_each(6, 1), some = {1, 20, 3, 34, 1, 70};
  return {{gqa, DType::bf16, lengths, some},        {gqa, DType::f32, lengths, one_each},
          {gqa, DType::f16, lengths, some},         {window, DType::bf16, lengths, one_each},
          {window, DType::f32, lengths, some},      {capped, DType::bf16, lengths, some},
          {latent, DType::bf16, lengths, one_each}, {latent, DType::f32, lengths, some},
          {odd, DType::bf16, lengths, some},        {odd_latent, DType::f32, lengths, some},
          {odd_latent, DType::f16, lengths, some}};
}

// Scores are below 30 here and values below 6: the bound of tests/parity/stage_bounds.cc with these numbers.
TEST_P(Ops, AttentionEqualsTheReferenceWithinItsBound) {
  for (const AttendCase& c : attend_cases()) {
    Attention attention(c, 1);
    const auto kernel = [&](const Args& args, const Operands& o) { call(args, o, 3); };
    const std::vector<float> got = attention.run(kernel);
    const std::vector<float> expected =
        attention.run([](const Args& args, const Operands& o) { ref::run(std::get<AttendArgs>(args), o); });
    const double weight = 30 * (static_cast<double>(c.args.k_dim) / 16 + 12) * kUnit + 40 * kUnit;
    const double bound = 6 * (2 * weight + (1100 + 64) * kUnit);
    double worst = 0.0;
    for (size_t i = 0; i < got.size(); ++i)
      worst = std::max(worst, std::fabs(static_cast<double>(got[i]) - expected[i]));
    EXPECT_LE(worst, bound);
  }
}

// Whole prompts, chunks of any size and single tokens, in company and alone, on one thread and three.
TEST_P(Ops, AttentionGivesTheSameBitsHoweverItIsAsked) {
  for (const AttendCase& c : attend_cases()) {
    Attention attention(c, 2);
    const auto one = [&](const Args& args, const Operands& o) { call(args, o, 1); };
    const auto three = [&](const Args& args, const Operands& o) { call(args, o, 3); };
    const std::vector<float> together = attention.run(one);
    EXPECT_EQ(attention.run(three), together);
    const auto row = static_cast<size_t>(c.args.heads * c.args.v_dim);
    for (size_t s = 0; s < c.lengths.size(); ++s) {
      const int begin = attention.q_start()[s], end = attention.q_start()[s + 1];
      for (int chunk : {1, 7, end - begin}) {
        for (int t = begin; t < end; t += chunk) {
          const int to = std::min(t + chunk, end);
          const std::vector<float> alone = attention.run(three, s, t, to);
          EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + static_cast<ptrdiff_t>(row) * t))
              << "sequence " << s << ", tokens " << t << " to " << to;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Ops, testing::ValuesIn(usable_isas()),
                         [](const auto& info) { return std::string(isa_name(info.param)); });

}  // namespace
}  // namespace arc::cpu
