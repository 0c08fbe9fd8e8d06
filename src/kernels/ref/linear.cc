// Products of weights with token rows, and the embedding look-up.
#include <algorithm>
#include <cstddef>

#include "kernels/ref/ref.h"

namespace arc::ref {
namespace {

constexpr int64_t kChunk = 512;  // columns decoded at a time
constexpr int kLanes = 8;        // partial sums of a dot product: column c goes to lane c % kLanes
constexpr int64_t kTokens = 16;  // rows of x that share one decoding of a weight row

// Columns [begin, begin + count) of row `row` of matrix `index`.
void decode(const MatrixView& w, int64_t index, int64_t row, int64_t begin, int64_t count, float* out) {
  if (w.format.code != BlockCode::none) {
    const int64_t row_bytes = format_bytes(w.format, 1, w.in);
    return decode_run(w.format.code, static_cast<const std::byte*>(w.data) + (index * w.out + row) * row_bytes, begin,
                      count, out);
  }
  const int64_t element = (index * w.out + row) * w.in + begin;
  to_float(w.format.element, static_cast<const std::byte*>(w.data) + element * dtype_size(w.format.element), out,
           count);
}

// y[t][r] = dot(W[index][r], x[t]) + bias for n rows of x, x_stride and y_stride floats apart. n <= kTokens.
void product(const MatrixView& w, int64_t index, const float* x, int64_t x_stride, float* y, int64_t y_stride,
             int64_t n) {
  float chunk[kChunk];
  double lanes[kTokens][kLanes];
  for (int64_t r = 0; r < w.out; ++r) {
    std::fill_n(&lanes[0][0], n * kLanes, 0.0);
    for (int64_t begin = 0; begin < w.in; begin += kChunk) {
      const int64_t count = std::min(kChunk, w.in - begin);
      decode(w, index, r, begin, count, chunk);
      for (int64_t t = 0; t < n; ++t) {
        const float* row = x + t * x_stride + begin;
        double* sums = lanes[t];
        int64_t c = 0;
        for (; c + kLanes <= count; c += kLanes) {
          for (int i = 0; i < kLanes; ++i) sums[i] += static_cast<double>(chunk[c + i]) * row[c + i];
        }
        for (; c < count; ++c) sums[c % kLanes] += static_cast<double>(chunk[c]) * row[c];
      }
    }
    for (int64_t t = 0; t < n; ++t) {
      double sum = 0.0;
      for (int i = 0; i < kLanes; ++i) sum += lanes[t][i];
      if (w.bias != nullptr) sum += w.bias[index * w.out + r];
      y[t * y_stride + r] = static_cast<float>(sum);
    }
  }
}

}  // namespace

void run(const EmbedArgs& a, const Operands& o) noexcept {
  const MatrixView& table = o.weights[0];
  for (int32_t t = 0; t < o.step->n_tokens; ++t) {
    float* row = o.writes[0].row<float>(t);
    decode(table, 0, o.step->tokens[t], 0, table.in, row);
    for (int64_t c = 0; c < table.in; ++c) row[c] *= a.scale;
  }
}

void run(const LinearArgs&, const Operands& o) noexcept {
  const TensorView& x = o.reads[0];
  const TensorView& y = o.writes[0];
  for (int64_t t = 0; t < x.rows; t += kTokens) {
    product(o.weights[0], 0, x.row<float>(t), x.row_stride, y.row<float>(t), y.row_stride,
            std::min(kTokens, x.rows - t));
  }
}

void run(const HeadLinearArgs& a, const Operands& o) noexcept {
  for (int64_t t = 0; t < o.reads[0].rows; ++t) {
    for (int32_t h = 0; h < a.heads; ++h) {
      product(o.weights[0], h, o.reads[0].row<float>(t) + h * a.in_stride, 0,
              o.writes[0].row<float>(t) + h * a.out_stride, 0, 1);
    }
  }
}

void run(const ExpertLinearArgs& a, const Operands& o) noexcept {
  const MatrixView& w = o.weights[0];
  for (int64_t t = 0; t < o.reads[0].rows; ++t) {
    const int32_t* ids = o.reads[1].row<int32_t>(t);
    for (int32_t j = 0; j < a.top_k; ++j) {
      const float* x = o.reads[0].row<float>(t) + (a.own_input ? j * w.in : 0);
      float* y = o.writes[0].row<float>(t) + j * w.out;
      const int64_t expert = ids[j] - a.first;
      if (expert >= 0 && expert < w.count) {
        product(w, expert, x, 0, y, 0, 1);
      } else {
        std::fill_n(y, w.out, 0.0f);
      }
    }
  }
}

}  // namespace arc::ref
