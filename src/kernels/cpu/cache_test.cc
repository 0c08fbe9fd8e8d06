// Append and attend over every kind of cache, on tables of shuffled blocks whose bytes are NaN until they are written:
// kernels against the reference within a bound, and the same bits in whatever steps the sequences come.
#include <cmath>
#include <functional>
#include <memory>
#include <random>

#include "gtest/gtest.h"

#include "kernels/cpu/team_call.h"
#include "kernels/ref/ref.h"
#include "quant/turbo.h"

namespace arc::cpu {
namespace {

constexpr double kUnit = 0x1p-24;
constexpr std::byte kPoison{0xff};  // NaN as f16, bf16 and f32

KvPolicy tiled(int k_bits, int v_bits, DType raw) {
  const auto side = [](int bits) {
    return KvPolicy::Side{.codec = KvPolicy::Codec::turbo, .bits = static_cast<uint8_t>(bits)};
  };
  return {.k = side(k_bits), .v = side(v_bits), .raw = raw, .seed = 3};
}

KvPolicy by_trellis(KvPolicy policy) {
  for (KvPolicy::Side* side : {&policy.k, &policy.v}) {
    if (side->bits != kUniformBits) side->codec = KvPolicy::Codec::trellis;
  }
  return policy;
}

KvPolicy with_open(KvPolicy policy, int recent, bool int8) {
  policy.recent = static_cast<uint16_t>(recent);
  policy.open_int8 = int8;
  return policy;
}

KvPolicy coded(KvPolicy::Codec codec) {
  return {.k = {.codec = codec, .bits = 8}, .v = {.codec = codec, .bits = 8}};
}

struct CacheCase {
  KvPolicy policy;
  int heads = 4, kv_heads = 2, dim = 64;
  int window = 0;
  float softcap = 0.0f;
  bool sinks = false, latent = false;
};

// A step: so many tokens of each sequence.
using Step = std::vector<int>;
using Kernel = std::function<void(const Args&, const Operands&)>;

class Sequences {
 public:
  Sequences(const CacheCase& c, std::vector<int> lengths, unsigned seed)
      : case_(c), lengths_(std::move(lengths)), random_(seed), done_(lengths_.size()) {
    for (const int length : lengths_) {
      first_row_.push_back(n_rows_);
      n_rows_ += length;
      stride_ = std::max(stride_, length / kTileTokens + 2);
    }
    const auto v_dim = static_cast<int64_t>(c.latent ? 0 : c.dim);
    q_ = normal(n_rows_ * c.heads * c.dim);
    k_ = normal(n_rows_ * c.kv_heads * c.dim);
    v_ = normal(n_rows_ * c.kv_heads * v_dim);
    sinks_ = normal(c.heads);
    v_cols_ = c.latent ? c.dim / 2 : c.dim;
    if (c.policy.tiled()) {
      k_turbo_ = std::make_unique<TurboCodec>(KvRole::key, c.dim, c.policy.k, c.policy.seed);
      v_turbo_ = std::make_unique<TurboCodec>(KvRole::value, c.dim, c.policy.v, c.policy.seed);
    }
    const int n_blocks = static_cast<int>(lengths_.size()) * stride_ + 1;
    make(groups_[0], c.policy, n_blocks);
    make(groups_[1], c.policy.open_policy(), n_blocks);
  }

  // All of it in one step.
  std::vector<float> whole(const Kernel& kernel) { return run(kernel, {lengths_}); }

  // All that whole() or in_steps() has packed, sequence by sequence.
  std::vector<std::byte> packed() const {
    std::vector<std::byte> bytes;
    const Group& group = groups_[0];
    for (size_t s = 0; s < lengths_.size(); ++s) {
      for (int tile = 0; (tile + 1) * kTileTokens <= lengths_[s]; ++tile) {
        const std::byte* block =
            group.view.data +
            group.table[s * static_cast<size_t>(stride_) + static_cast<size_t>(tile)] * group.view.block_bytes;
        bytes.insert(bytes.end(), block, block + group.view.block_bytes);
      }
    }
    return bytes;
  }

  // In steps of up to `most` tokens of each sequence; some rest.
  std::vector<float> in_steps(const Kernel& kernel, int most) {
    std::vector<Step> steps;
    std::vector<int> left = lengths_;
    while (std::ranges::any_of(left, [](int n) { return n > 0; })) {
      Step& step = steps.emplace_back();
      for (int& n : left) {
        step.push_back(std::min<int>(n, random_() % 4 == 0 ? 0 : 1 + static_cast<int>(random_() % most)));
        n -= step.back();
      }
    }
    return run(kernel, steps);
  }

 private:
  struct Group {
    KvView view;
    std::unique_ptr<std::byte[]> bytes;  // exactly as large as need be, for the address sanitizer
    size_t size = 0;
    std::vector<int32_t> free, table;
    std::vector<int64_t> slots;
  };

  void make(Group& group, const KvPolicy& policy, int n_blocks) {
    const KvLayout at = kv_layout(policy, case_.dim, case_.latent ? 0 : case_.dim);
    group.view = {.policy = policy,
                  .block_bytes = at.head_bytes * case_.kv_heads,
                  .head_bytes = at.head_bytes,
                  .v_offset_bytes = at.v_offset,
                  .tokens_per_block = kTileTokens,
                  .k_scales_bytes = at.k_scales,
                  .v_scales_bytes = at.v_scales};
    if (policy.tiled()) {
      group.view.k_turbo = k_turbo_.get();
      group.view.v_turbo = v_turbo_.get();
    }
    group.size = static_cast<size_t>(n_blocks * group.view.block_bytes);
    group.bytes = std::make_unique<std::byte[]>(group.size);
    group.view.data = group.bytes.get();
  }

  void reset() {
    std::ranges::fill(done_, 0);
    for (Group& group : groups_) {
      std::fill_n(group.bytes.get(), group.size, kPoison);
      group.table.assign(lengths_.size() * static_cast<size_t>(stride_), 0);
      group.free.clear();
      for (size_t b = 1; b < group.size / static_cast<size_t>(group.view.block_bytes); ++b) {
        group.free.push_back(static_cast<int32_t>(b));
      }
      std::ranges::shuffle(group.free, random_);
    }
  }

  // Blocks for positions [begin, end) of a sequence; open ones that they do not read are given back, poisoned.
  void reserve(size_t sequence, int begin, int end) {
    for (Group& group : groups_) {
      int32_t* table = group.table.data() + sequence * static_cast<size_t>(stride_);
      for (int tile = 0; &group == &groups_[1] && tile < begin / kTileTokens - case_.policy.recent; ++tile) {
        if (table[tile] == 0) continue;
        std::fill_n(group.view.data + table[tile] * group.view.block_bytes, group.view.block_bytes, kPoison);
        group.free.insert(group.free.begin(), std::exchange(table[tile], 0));
      }
      for (int tile = begin / kTileTokens; tile * kTileTokens < end; ++tile) {
        if (table[tile] != 0) continue;
        table[tile] = group.free.back();
        group.free.pop_back();
      }
      for (int p = begin; p < end; ++p) {
        group.slots.push_back(int64_t{table[p / kTileTokens]} * kTileTokens + p % kTileTokens);
      }
    }
  }

  std::vector<float> run(const Kernel& kernel, const std::vector<Step>& steps) {
    reset();
    std::vector<float> out(static_cast<size_t>(n_rows_ * case_.heads * v_cols_));
    for (const Step& step : steps) run_step(kernel, step, out);
    return out;
  }

  void run_step(const Kernel& kernel, const Step& step, std::vector<float>& out) {
    const CacheCase& c = case_;
    std::vector<int32_t> positions, q_start = {0}, seq_lens, rows;
    for (Group& group : groups_) group.slots.clear();
    for (size_t s = 0; s < step.size(); ++s) {
      const int begin = done_[s], end = begin + step[s];
      reserve(s, begin, end);
      for (int p = begin; p < end; ++p) {
        positions.push_back(p);
        rows.push_back(first_row_[s] + p);
      }
      q_start.push_back(static_cast<int32_t>(rows.size()));
      seq_lens.push_back(end);
      done_[s] = end;
    }
    if (rows.empty()) return;
    std::vector<float> q = gather(q_, rows), k = gather(k_, rows), v = gather(v_, rows);
    std::vector<float> y(rows.size() * static_cast<size_t>(c.heads * v_cols_), std::nanf(""));
    StepInputs inputs{.n_seqs = static_cast<int32_t>(step.size()),
                      .n_tokens = static_cast<int32_t>(rows.size()),
                      .positions = positions.data(),
                      .q_start = q_start.data(),
                      .seq_lens = seq_lens.data()};
    for (int g = 0; g < 2; ++g) {
      inputs.groups[g] = {
          .block_table = groups_[g].table.data(), .table_stride = stride_, .slots = groups_[g].slots.data()};
    }
    const MatrixView sinks{.data = sinks_.data()};
    const TensorView keys[2] = {view(k, rows), view(v, rows)}, queries = view(q, rows), answers = view(y, rows);
    Operands o{.weights = &sinks, .reads = keys, .step = &inputs, .kv = groups_[0].view, .open = groups_[1].view};
    const int32_t open_group = c.policy.tiled() ? 1 : -1, append_v = c.latent ? 0 : c.dim;
    kernel(AppendArgs{.open_group = open_group, .kv_heads = c.kv_heads, .k_dim = c.dim, .v_dim = append_v}, o);
    o.reads = &queries;
    o.writes = &answers;
    kernel(AttendArgs{.open_group = open_group,
                      .heads = c.heads,
                      .kv_heads = c.kv_heads,
                      .k_dim = c.dim,
                      .v_dim = static_cast<int32_t>(v_cols_),
                      .v_in_k = c.latent,
                      .sinks = c.sinks,
                      .window = c.window,
                      .scale = 1.0f / std::sqrt(static_cast<float>(c.dim)),
                      .softcap = c.softcap},
           o);
    const size_t cols = y.size() / rows.size();
    for (size_t i = 0; i < rows.size(); ++i) {
      std::copy_n(y.begin() + static_cast<ptrdiff_t>(i * cols), cols,
                  out.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(rows[i]) * cols));
    }
  }

  static TensorView view(std::vector<float>& values, const std::vector<int32_t>& rows) {
    const auto n = static_cast<int64_t>(rows.size()), cols = static_cast<int64_t>(values.size()) / n;
    return {.data = values.data(), .rows = n, .cols = cols, .row_stride = cols};
  }
  std::vector<float> gather(const std::vector<float>& from, const std::vector<int32_t>& rows) const {
    const auto cols = static_cast<ptrdiff_t>(from.size()) / n_rows_;
    std::vector<float> out;
    for (const int32_t row : rows) out.insert(out.end(), from.begin() + row * cols, from.begin() + (row + 1) * cols);
    return out;
  }
  std::vector<float> normal(int64_t n) {
    std::normal_distribution<float> distribution;
    std::vector<float> out(static_cast<size_t>(n));
    for (float& x : out) x = distribution(random_);
    return out;
  }

  CacheCase case_;
  std::vector<int> lengths_;
  std::mt19937 random_;
  std::vector<int> done_;
  std::vector<int32_t> first_row_;
  int32_t n_rows_ = 0;
  int stride_ = 0, v_cols_ = 0;
  std::vector<float> q_, k_, v_, sinks_;
  std::unique_ptr<TurboCodec> k_turbo_, v_turbo_;
  Group groups_[2];  // packed or whatever the policy says; open
};

std::vector<CacheCase> cache_cases() {
  const KvPolicy turbo = tiled(4, 3, DType::bf16);
  std::vector<CacheCase> cases = {
      {.policy = turbo},
      {.policy = turbo, .heads = 10, .kv_heads = 2, .dim = 128},
      {.policy = turbo, .window = 100, .sinks = true},
      {.policy = turbo, .heads = 3, .kv_heads = 1, .dim = 80, .softcap = 5.0f},
      {.policy = tiled(8, 3, DType::f16)},
      {.policy = tiled(3, 2, DType::f32), .dim = 72},
      {.policy = tiled(2, 1, DType::bf16), .dim = 112},
      {.policy = tiled(1, 4, DType::bf16), .dim = 96},
      {.policy = tiled(8, 8, DType::bf16), .heads = 2, .kv_heads = 1, .dim = 192},
      {.policy = tiled(4, 3, DType::bf16), .heads = 1, .kv_heads = 1, .dim = 576},
      {.policy = with_open(turbo, 1, false), .dim = 128},
      {.policy = with_open(turbo, 0, true), .dim = 128},
      {.policy = with_open(turbo, 1, true), .window = 100, .softcap = 5.0f},
      {.policy = with_open(tiled(3, 2, DType::f32), 1, true), .heads = 10, .dim = 72},
      {.policy = by_trellis(turbo), .dim = 128},
      {.policy = by_trellis(tiled(3, 2, DType::bf16)), .window = 100, .sinks = true},
      {.policy = by_trellis(tiled(2, 4, DType::f32)), .heads = 3, .kv_heads = 1, .dim = 80, .softcap = 5.0f},
      {.policy = by_trellis(tiled(8, 3, DType::f16)), .dim = 72},
      {.policy = with_open(by_trellis(tiled(3, 3, DType::bf16)), 1, true), .heads = 10, .dim = 112},
      {.policy = by_trellis(tiled(4, 2, DType::bf16)), .heads = 1, .kv_heads = 1, .dim = 576},
      {.policy = by_trellis(tiled(3, 4, DType::bf16)), .heads = 2, .kv_heads = 1, .dim = 256},
  };
  for (const auto codec : {KvPolicy::Codec::int8_block, KvPolicy::Codec::f8e4m3, KvPolicy::Codec::raw}) {
    cases.push_back({.policy = coded(codec), .dim = 40});
    cases.push_back({.policy = coded(codec), .heads = 8, .dim = 64, .window = 100});
    cases.push_back({.policy = coded(codec), .heads = 5, .kv_heads = 1, .dim = 72, .latent = true});
  }
  return cases;
}

const std::vector<int> kLengths = {140, 1, 65};

void reference(const Args& args, const Operands& o) {
  ref::kernels()[args.index()](args, o);
}

class Cache : public testing::TestWithParam<Isa> {};

// Scores are at most the product of two lengths over sqrt(dim); the rest as in tests/parity/stage_bounds.cc, of packed
// tiles with 16 bits for queries and weights.
TEST_P(Cache, EqualsTheReferenceWithinItsBound) {
  for (const CacheCase& c : cache_cases()) {
    Sequences sequences(c, kLengths, 1);
    const std::vector<float> expected = sequences.whole(reference);
    const std::vector<std::byte> packed = sequences.packed();
    const std::vector<float> got =
        sequences.whole([](const Args& args, const Operands& o) { call_team(GetParam(), args, o, 3); });
    EXPECT_TRUE(!c.policy.tiled() || sequences.packed() == packed) << c.dim;
    const double root = std::sqrt(c.dim), longest = 1.5 * root;
    const double query = c.policy.tiled() ? root / 65278 : 0.0, rounded = c.policy.tiled() ? 32.0 / 65535 : 0.0;
    const double weight = 1.5 * longest * ((c.dim / 16.0 + 32) * kUnit + query) + 16 * kUnit;
    const double bound = (2 * weight + (264 * root + 16) * kUnit + rounded) * longest;
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_LE(std::fabs(static_cast<double>(got[i]) - expected[i]), bound)
          << "head " << c.dim << ", " << int{c.policy.k.bits} << " and " << int{c.policy.v.bits} << " bits, element "
          << i;
    }
  }
}

TEST_P(Cache, GivesTheSameBitsInWhateverStepsSequencesCome) {
  unsigned seed = 2;
  for (const CacheCase& c : cache_cases()) {
    Sequences sequences(c, kLengths, seed++);
    const auto kernel = [&](int threads) {
      return [=](const Args& args, const Operands& o) { call_team(GetParam(), args, o, threads); };
    };
    const std::vector<float> whole = sequences.whole(kernel(1));
    for (const int most : {3, 70}) {
      EXPECT_EQ(sequences.in_steps(kernel(most == 70 ? 3 : 1), most), whole)
          << "head " << c.dim << ", " << int{c.policy.k.bits} << " bits, steps of up to " << most;
    }
  }
}

TEST(ReferenceCache, GivesTheSameBitsInWhateverStepsSequencesCome) {
  unsigned seed = 3;
  for (const CacheCase& c : cache_cases()) {
    Sequences sequences(c, kLengths, seed++);
    const std::vector<float> whole = sequences.whole(reference);
    EXPECT_EQ(sequences.in_steps(reference, 20), whole) << c.dim;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Cache, testing::ValuesIn(usable_isas()),
                         [](const auto& info) { return std::string(isa_name(info.param)); });

}  // namespace
}  // namespace arc::cpu
