// Products of every instruction set against the reference under a derived bound, and the promise of same bits.
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

#include "kernels/cpu/isa.h"
#include "kernels/cpu/pack.h"
#include "kernels/cpu/team.h"
#include "kernels/cpu/team_state.h"
#include "kernels/ref/ref.h"

namespace arc::cpu {
namespace {

const WeightFormat kFormats[] = {
    WeightFormat::plain(DType::f32),       WeightFormat::plain(DType::f16),       WeightFormat::plain(DType::bf16),
    WeightFormat::blocks(BlockCode::q8_0), WeightFormat::blocks(BlockCode::q4_0), WeightFormat::blocks(BlockCode::q4_k),
    WeightFormat::blocks(BlockCode::q5_k), WeightFormat::blocks(BlockCode::q6_k),
};

std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    if (isa_supported(isa)) all.push_back(isa);
  }
  return all;
}

std::vector<float> random_values(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

// `count` random matrices in a format, packed, and the same values as floats.
struct Weights {
  std::vector<float> values, bias;
  std::vector<std::byte> bytes;
  Tensor packed;
  MatrixView view, exact;  // packed; f32 in checkpoint order

  Weights(const WeightFormat& format, int64_t count, int64_t out, int64_t in, bool with_bias = false) {
    const BlockCodeInfo& info = block_code_info(format.code);
    const int64_t padded = (in + info.elements - 1) / info.elements * info.elements;
    const int64_t row_bytes = format_bytes(format, 1, in);
    values.resize(count * out * in);
    bytes.resize(count * out * row_bytes);
    for (int64_t r = 0; r < count * out; ++r) {
      std::vector<float> row = random_values(padded, static_cast<uint32_t>(r + in));
      std::byte* target = bytes.data() + r * row_bytes;
      if (format.code == BlockCode::none) {
        from_float(format.element, row.data(), target, in);
        to_float(format.element, target, row.data(), in);
      } else {
        encode_blocks(format.code, row.data(), target, padded);
        decode_blocks(format.code, target, row.data(), padded);
      }
      std::copy_n(row.begin(), in, values.begin() + r * in);
    }
    if (with_bias) bias = random_values(count * out, 7);
    const MatrixView source{.format = format, .count = count, .out = out, .in = in, .data = bytes.data()};
    PackedMemory memory;
    packed = pack(source, memory);
    view = exact = source;
    view.format.pack = PackId::panels;
    view.data = packed.data();
    exact.format = WeightFormat::plain(DType::f32);
    exact.data = values.data();
    if (with_bias) view.bias = exact.bias = bias.data();
  }
};

TensorView view_of(std::vector<float>& values, int64_t cols) {
  const auto rows = static_cast<int64_t>(values.size()) / cols;
  return {.data = values.data(), .dtype = DType::f32, .rows = rows, .cols = cols, .row_stride = cols};
}

// Runs a kernel with `threads` threads, as an executor does.
void launch(Isa isa, const Args& args, Operands operands, int64_t rows, int threads = 1) {
  std::vector<std::byte> scratch(product_scratch_bytes(args, operands.weights, rows) + 64);
  const auto address = reinterpret_cast<uintptr_t>(scratch.data());
  operands.scratch = scratch.data() + (64 - address % 64) % 64;
  const auto state = std::make_unique<TeamState>();
  std::vector<std::thread> team;
  for (int t = 0; t < threads; ++t) {
    team.emplace_back([&, t] {
      Operands mine = operands;
      mine.team = {.thread = t, .threads = threads, .state = state.get()};
      kernels(isa)[args.index()](args, mine);
      sync(mine.team);
    });
  }
  for (std::thread& thread : team) thread.join();
}

std::vector<float> linear(Isa isa, const Weights& w, std::vector<float> x, int threads = 1) {
  const auto rows = static_cast<int64_t>(x.size()) / w.view.in;
  std::vector<float> y(rows * w.view.out, NAN);
  const TensorView read = view_of(x, w.view.in), write = view_of(y, w.view.out);
  launch(isa, LinearArgs{}, {.weights = &w.view, .reads = &read, .writes = &write}, rows, threads);
  return y;
}

// Activations that no format rounds: integers up to 127, which every run of 32 reaches.
std::vector<float> grid_values(size_t n, int64_t in) {
  std::vector<float> values = random_values(n, 11);
  for (size_t i = 0; i < n; ++i) {
    const auto column = static_cast<int64_t>(i) % in;
    values[i] = column % 32 == 0 ? 127.0f : std::fmin(std::fmax(std::round(values[i] * 40.0f), -127.0f), 127.0f);
  }
  return values;
}

// How far one sum may be from the exact one: rounding of the activations, then of the sum.
//   Values on the grid: no rounding of activations.
//   f32, f16 and bf16 without BF16 products: a chain of `in` fused steps (scalar: two roundings each).
//   BF16 products: activations are rounded to 8 bits; two roundings for two columns.
//   Block codes: an activation is off by half a step, 1/127 of its block's largest. Integers are exact; scaling and
//   adding a run of 32 takes at most 4 roundings. A weight may be the difference of scale * code and a minimum, neither
//   larger than three times the block's largest weight (the encoder uses its whole range).
double bound(Isa isa, const WeightFormat& format, const float* w, const float* x, int64_t in, bool on_grid) {
  const double u = 0x1p-24;
  double products = 0.0, activations = 0.0;
  if (format.code == BlockCode::none) {
    for (int64_t k = 0; k < in; ++k) products += std::fabs(static_cast<double>(w[k]) * x[k]);
    const bool rounded = format.element == DType::bf16 && isa == Isa::avx512_bf16;
    if (rounded) activations = products * 0x1p-8 / 2 * 1.01;
    return (on_grid ? 0.0 : activations) + products * u * 2.0 * static_cast<double>(in + 2);
  }
  const int64_t block = block_code_info(format.code).elements;
  for (int64_t begin = 0; begin < in; begin += block) {
    double x_most = 0.0, w_most = 0.0, w_sum = 0.0, x_sum = 0.0;
    for (int64_t k = begin; k < std::min(begin + block, in); ++k) {
      x_most = std::fmax(x_most, std::fabs(x[k]));
      w_most = std::fmax(w_most, std::fabs(w[k]));
      w_sum += std::fabs(w[k]);
      x_sum += std::fabs(x[k]);
    }
    activations += w_sum * x_most / 127.0 * 0.5001;
    products += 6.0 * w_most * (x_sum + x_most);
  }
  return (on_grid ? 0.0 : activations) + products * u * (4.0 * static_cast<double>(in / 32) + 16.0);
}

// The largest share of the bound that any element of y reaches.
double worst_share(Isa isa, const Weights& w, int64_t matrix, const float* x, const float* y, const float* wanted,
                   bool on_grid = false) {
  double worst = 0.0;
  for (int64_t r = 0; r < w.view.out; ++r) {
    const float* row = w.values.data() + (matrix * w.view.out + r) * w.view.in;
    const double limit = bound(isa, w.view.format, row, x, w.view.in, on_grid) + std::fabs(wanted[r]) * 0x1p-22;
    const double error = std::fabs(static_cast<double>(y[r]) - wanted[r]);
    worst = std::fmax(worst, std::isnan(error) ? INFINITY : error / limit);
  }
  return worst;
}

std::string name_of(const testing::TestParamInfo<Isa>& info) {
  return std::string(isa_name(info.param));
}

class Products : public testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Cpu, Products, testing::ValuesIn(isas()), name_of);

TEST(Pack, HoldsTheSameValuesAndHardlyMoreBytes) {
  for (const WeightFormat& format : kFormats) {
    for (const int64_t in : {1, 31, 256, 300}) {
      const Weights w(format, 2, 19, in);
      std::vector<float> row(in);
      for (int64_t r = 0; r < 2 * 19; ++r) {
        unpack_row(w.view, r / 19, r % 19, row.data());
        for (int64_t k = 0; k < in; ++k) {
          const float wanted = w.values[r * in + k];
          ASSERT_NEAR(row[k], wanted, 1e-5f * (std::fabs(wanted) + 4.0f)) << to_string(format) << " " << r << " " << k;
        }
      }
    }
    EXPECT_EQ(panel_bytes(format, 512), format_bytes(format, 16, 512));
  }
}

// The largest share of the bound over one batch.
double linear_share(Isa isa, const Weights& w, std::vector<float> x, bool on_grid) {
  const int64_t out = w.view.out, in = w.view.in, rows = static_cast<int64_t>(x.size()) / in;
  std::vector<float> wanted(rows * out);
  const std::vector<float> y = linear(isa, w, x);
  const TensorView read = view_of(x, in), write = view_of(wanted, out);
  ref::run(LinearArgs{}, {.weights = &w.exact, .reads = &read, .writes = &write});
  double worst = 0.0;
  for (int64_t t = 0; t < rows; ++t) {
    worst = std::fmax(worst, worst_share(isa, w, 0, &x[t * in], &y[t * out], &wanted[t * out], on_grid));
  }
  return worst;
}

TEST_P(Products, LinearIsWithinTheBound) {
  for (const WeightFormat& format : kFormats) {
    double worst[2] = {};
    for (const auto& [out, in, rows] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1},
                                        {16, 32, 2},
                                        {33, 256, 15},
                                        {50, 300, 3},
                                        {17, 47, 29},
                                        {40, 1024, 5},
                                        {7, 2816, 1}}) {
      const Weights w(format, 1, out, in, out % 2 == 1);
      for (const bool on_grid : {false, true}) {
        const size_t n = rows * in;
        const double share = linear_share(GetParam(), w, on_grid ? grid_values(n, in) : random_values(n, 3), on_grid);
        ASSERT_LE(share, 1.0) << to_string(format) << " " << out << " x " << in << ", " << rows << " rows" << on_grid;
        worst[on_grid] = std::fmax(worst[on_grid], share);
      }
    }
    std::printf("  %-12s %-5s %.3f of the bound, activations on a grid %.3f\n",
                std::string(isa_name(GetParam())).c_str(), to_string(format).c_str(), worst[0], worst[1]);
  }
}

TEST_P(Products, RowsHaveTheSameBitsAloneInEveryBatchAndForEveryTeam) {
  constexpr int64_t kIn = 512, kOut = 50;
  for (const WeightFormat& format : kFormats) {
    const Weights w(format, 1, kOut, kIn, true);
    const std::vector<float> x = random_values(70 * kIn, 5);
    std::vector<float> alone;
    for (int64_t t = 0; t < 70; ++t) {
      const std::vector<float> y = linear(GetParam(), w, {x.begin() + t * kIn, x.begin() + (t + 1) * kIn});
      alone.insert(alone.end(), y.begin(), y.end());
    }
    for (int64_t n = 1; n <= 70; ++n) {
      const int64_t first = (70 - n) / 2;
      const std::vector<float> y =
          linear(GetParam(), w, {x.begin() + first * kIn, x.begin() + (first + n) * kIn}, 1 + n % 3);
      ASSERT_EQ(std::memcmp(y.data(), &alone[first * kOut], y.size() * sizeof(float)), 0)
          << to_string(format) << ", " << n << " rows, " << 1 + n % 3 << " threads";
    }
  }
}

TEST_P(Products, HeadsMultiplyTheirOwnColumns) {
  constexpr int64_t kHeads = 3, kIn = 40, kOut = 20, kRows = 14;
  for (const WeightFormat& format : kFormats) {
    const Weights w(format, kHeads, kOut, kIn);
    std::vector<float> x = random_values(kRows * 150, 3), y(kRows * 70, NAN), wanted(kRows * 70, NAN);
    const TensorView read = view_of(x, 150), write = view_of(y, 70), write_ref = view_of(wanted, 70);
    const HeadLinearArgs args{.heads = kHeads, .in_stride = 50, .out_stride = 23};
    launch(GetParam(), args, {.weights = &w.view, .reads = &read, .writes = &write}, kRows, 2);
    ref::run(args, {.weights = &w.exact, .reads = &read, .writes = &write_ref});
    for (int64_t i = 0; i < kRows * kHeads; ++i) {
      const int64_t t = i / kHeads, h = i % kHeads, at = t * 70 + h * 23;
      EXPECT_LE(worst_share(GetParam(), w, h, &x[t * 150 + h * 50], &y[at], &wanted[at]), 1.0) << to_string(format);
    }
  }
}

TEST_P(Products, ExpertsServeTheTokensThatChoseThem) {
  constexpr int64_t kExperts = 6, kIn = 64, kOut = 21, kRows = 30, kChoices = 2;
  for (const bool own_input : {false, true}) {
    for (const WeightFormat& format : kFormats) {
      const Weights w(format, kExperts, kOut, kIn, true);
      const int64_t cols = own_input ? kChoices * kIn : kIn;
      std::vector<float> x = random_values(kRows * cols, 3), y(kRows * kChoices * kOut, NAN), wanted = y;
      std::vector<int32_t> ids(kRows * kChoices);
      // Numbers 3 .. 10, of which this shard has 4 .. 9: uneven groups, one expert without tokens.
      for (size_t i = 0; i < ids.size(); ++i) ids[i] = i % 3 == 0 ? 5 : static_cast<int32_t>(3 + i * i % 8);
      const TensorView reads[2] = {
          view_of(x, cols),
          {.data = ids.data(), .dtype = DType::i32, .rows = kRows, .cols = kChoices, .row_stride = kChoices}};
      const TensorView write = view_of(y, kChoices * kOut), write_ref = view_of(wanted, kChoices * kOut);
      const ExpertLinearArgs args{.top_k = kChoices, .first = 4, .own_input = own_input};
      launch(GetParam(), args, {.weights = &w.view, .reads = reads, .writes = &write}, kRows, 2);
      ref::run(args, {.weights = &w.exact, .reads = reads, .writes = &write_ref});
      for (int64_t i = 0; i < kRows * kChoices; ++i) {
        const int64_t expert = ids[i] - 4;
        const float* row = &x[i / kChoices * cols + (own_input ? i % kChoices * kIn : 0)];
        if (expert < 0 || expert >= kExperts) {
          for (int64_t c = 0; c < kOut; ++c) EXPECT_EQ(y[i * kOut + c], 0.0f);
        } else {
          EXPECT_LE(worst_share(GetParam(), w, expert, row, &y[i * kOut], &wanted[i * kOut]), 1.0) << to_string(format);
        }
      }
    }
  }
}

TEST_P(Products, WhatIsNotFiniteStaysSo) {
  for (const WeightFormat& format : kFormats) {
    const Weights w(format, 1, 20, 256);
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      std::vector<float> x = random_values(2 * 256, 3);
      x[100] = bad;
      const std::vector<float> y = linear(GetParam(), w, x);
      for (int64_t r = 0; r < 20; ++r) {
        const bool zero_weight = w.values[r * 256 + 100] == 0.0f && std::isinf(bad);
        EXPECT_TRUE(!std::isfinite(y[r]) || zero_weight) << to_string(format) << " " << bad;
        EXPECT_TRUE(std::isfinite(y[20 + r]));
      }
    }
  }
}

TEST_P(Products, EmbedLooksUpRows) {
  for (const WeightFormat& format : kFormats) {
    const Weights w(format, 1, 40, 256);
    const std::vector<int32_t> tokens = {0, 17, 39, 17};
    const StepInputs step{.n_tokens = 4, .tokens = tokens.data()};
    std::vector<float> y(4 * 256), row(256);
    const TensorView write = view_of(y, 256);
    launch(GetParam(), EmbedArgs{.scale = 2.0f}, {.weights = &w.view, .writes = &write, .step = &step}, 4);
    for (size_t t = 0; t < tokens.size(); ++t) {
      unpack_row(w.view, 0, tokens[t], row.data());
      for (int64_t c = 0; c < 256; ++c) EXPECT_EQ(y[t * 256 + c], 2.0f * row[c]);
    }
  }
}

}  // namespace
}  // namespace arc::cpu
