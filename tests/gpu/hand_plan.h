// Plans of a few stages made by hand, at sizes that tiny models do not have. The embedding of random rows gives the
// stages their input.
#pragma once

#include <random>
#include <string>

#include "parity/tiny_model.h"

namespace arc::test {

class HandPlan {
 public:
  static constexpr int kVocab = 97;  // rows of the table of inputs

  // Rows of `width` normal numbers times `scale`; the table is stored in `format`.
  explicit HandPlan(int32_t width, float scale = 1.0f, const WeightFormat& format = WeightFormat::plain(DType::f32));

  BufferRef input() const { return input_; }
  BufferRef buffer(const std::string& name, int32_t cols, DType dtype = DType::f32);
  static BufferRef slice(BufferRef whole, int32_t col, int32_t cols) {
    return {.buffer = whole.buffer, .col = whole.col + col, .cols = cols};
  }
  // `count` matrices of normal numbers times `scale`.
  WeightId matrix(const WeightFormat& format, int64_t count, int64_t out, int64_t in, float scale, bool bias = false);
  // f32, normal around `mean`; with a bias of the same length where a norm wants one.
  WeightId vector(int64_t n, float mean, float spread, bool bias = false);
  WeightId frequencies(int32_t dims, double base);
  int32_t cache(CacheNeeds needs);

  void stage(const Args& args, std::initializer_list<WeightId> weights, std::initializer_list<BufferRef> reads,
             std::initializer_list<BufferRef> writes);
  // Ends the plan; `logits` are the rows of `result`.
  HandMade finish(BufferRef result);

 private:
  Tensor normals(const WeightFormat& format, int64_t count, int64_t out, int64_t in, float mean, float spread);
  WeightId add(WeightSlot::Role role, Linear weight);

  std::mt19937 random_{5};
  Plan plan_;
  LoadedWeights weights_;
  BufferRef input_;
};

// Tokens for such a plan.
std::vector<int32_t> hand_tokens(int n);

}  // namespace arc::test
