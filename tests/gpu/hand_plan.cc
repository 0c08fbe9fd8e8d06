#include "gpu/hand_plan.h"

#include <algorithm>
#include <cmath>

namespace arc::test {

HandPlan::HandPlan(int32_t width, float scale, const WeightFormat& format) {
  plan_.arch = "made by hand";
  plan_.max_positions = 1 << 16;
  plan_.dim = width;
  input_ = buffer("input", width);
  plan_.residual = input_.buffer;
  stage(EmbedArgs{.scale = 1.5f}, {matrix(format, 1, kVocab, width, scale)}, {}, {input_});
}

BufferRef HandPlan::buffer(const std::string& name, int32_t cols, DType dtype) {
  plan_.buffers.push_back({.name = name, .dtype = dtype, .cols = cols});
  return {.buffer = static_cast<BufferId>(plan_.buffers.size() - 1), .cols = cols};
}

Tensor HandPlan::normals(const WeightFormat& format, int64_t count, int64_t out, int64_t in, float mean, float spread) {
  std::normal_distribution<float> normal(mean, spread);
  std::vector<float> values(static_cast<size_t>(count * out * in));
  for (float& v : values) v = normal(random_);
  if (format.code == BlockCode::none) {
    Tensor data = Tensor::zeros({count, out, in}, format.element);
    from_float(format.element, values.data(), data.data(), values.size());
    return data;
  }
  Tensor data = Tensor::zeros({count, out, format_bytes(format, 1, in)}, format.element);
  encode_blocks(format.code, values.data(), data.data(), count * out * in);
  return data;
}

WeightId HandPlan::add(WeightSlot::Role role, Linear weight) {
  plan_.weights.push_back(
      {.role = role, .format = weight.format, .count = weight.count, .out = weight.out, .in = weight.in});
  weights_.weights.push_back(std::move(weight));
  return static_cast<WeightId>(weights_.weights.size() - 1);
}

WeightId HandPlan::matrix(const WeightFormat& format, int64_t count, int64_t out, int64_t in, float scale, bool bias) {
  Linear weight{.format = format, .count = count, .out = out, .in = in};
  weight.data = normals(format, count, out, in, 0.0f, scale);
  if (bias) weight.bias = normals(WeightFormat::plain(DType::f32), 1, count, out, 0.0f, 1.0f);
  return add(WeightSlot::Role::matrix, std::move(weight));
}

WeightId HandPlan::vector(int64_t n, float mean, float spread, bool bias) {
  const WeightFormat f32 = WeightFormat::plain(DType::f32);
  Linear weight{.format = f32, .in = n, .data = normals(f32, 1, 1, n, mean, spread)};
  if (bias) weight.bias = normals(f32, 1, 1, n, 0.0f, 1.0f);
  return add(WeightSlot::Role::vector, std::move(weight));
}

WeightId HandPlan::frequencies(int32_t dims, double base) {
  Linear weight{
      .format = WeightFormat::plain(DType::f64), .in = dims / 2, .data = Tensor::zeros({dims / 2}, DType::f64)};
  for (int32_t i = 0; i < dims / 2; ++i) weight.data.as<double>()[i] = std::pow(base, -2.0 * i / dims);
  return add(WeightSlot::Role::constant, std::move(weight));
}

int32_t HandPlan::cache(CacheNeeds needs) {
  needs.layers = {0};
  plan_.groups.push_back(std::move(needs));
  return static_cast<int32_t>(plan_.groups.size() - 1);
}

void HandPlan::stage(const Args& args, std::initializer_list<WeightId> weights, std::initializer_list<BufferRef> reads,
                     std::initializer_list<BufferRef> writes) {
  Stage& stage = plan_.stages.emplace_back();
  stage.args = args;
  std::ranges::copy(weights, stage.weights);
  std::ranges::copy(reads, stage.reads);
  std::ranges::copy(writes, stage.writes);
}

HandMade HandPlan::finish(BufferRef result) {
  const BufferRef logits = buffer("logits", result.cols);
  plan_.buffers.back().rows = Buffer::Rows::head_rows;
  stage(GatherArgs{}, {}, {result}, {logits});
  plan_.logits = logits.buffer;
  plan_.vocab = result.cols;
  const auto with_kernels = [plan = plan_](const KernelTable& kernels) {
    Plan bound = plan;
    for (Stage& stage : bound.stages) stage.launch = kernels[stage.args.index()];
    return bound;
  };
  return {.plan = with_kernels, .weights = weights_};
}

std::vector<int32_t> hand_tokens(int n) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) tokens[static_cast<size_t>(i)] = (i * 31 + i / 7) % HandPlan::kVocab;
  return tokens;
}

}  // namespace arc::test
