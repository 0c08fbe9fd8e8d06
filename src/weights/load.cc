#include "weights/load.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "fmt/format.h"

#include "base/check.h"
#include "base/error.h"

namespace arc {
namespace {

// One matrix [out, in] inside a checkpoint tensor.
struct Source {
  DType dtype = DType::f32;
  const std::byte* data = nullptr;
  int64_t row_stride = 0, col_stride = 1;  // in elements

  const std::byte* at(int64_t row, int64_t col) const {
    return data + (row * row_stride + col * col_stride) * dtype_size(dtype);
  }
};

Source open_part(const WeightPart& part, const Checkpoint& checkpoint) {
  const Tensor tensor = checkpoint.load(part.tensor);
  const int64_t index = std::max(part.stack_index, 0), size = part.source_out * part.source_in;
  const bool whole = part.stack_index < 0;
  if (whole ? tensor.numel() != size : tensor.numel() < (index + 1) * size) {
    throw Error(ErrorCode::invalid_argument, fmt::format("tensor {} has shape {} where {} x {} is needed", part.tensor,
                                                         tensor.shape().to_string(), part.source_out, part.source_in));
  }
  return {.dtype = tensor.dtype(),
          .data = tensor.data() + index * size * static_cast<int64_t>(dtype_size(tensor.dtype())),
          .row_stride = part.stored_transposed ? 1 : part.source_in,
          .col_stride = part.stored_transposed ? part.source_out : 1};
}

// Copies `count` elements, converting where the types differ. Strides count elements.
void copy_run(const Source& source, int64_t row, int64_t col, int64_t count, DType dtype, std::byte* out,
              int64_t out_stride) {
  const size_t size = dtype_size(dtype);
  if (source.dtype == dtype && source.col_stride == 1 && out_stride == 1) {
    std::memcpy(out, source.at(row, col), static_cast<size_t>(count) * size);
    return;
  }
  for (int64_t c = 0; c < count; ++c) {
    float value = 0.0f;
    to_float(source.dtype, source.at(row, col + c), &value, 1);
    from_float(dtype, &value, out + c * out_stride * static_cast<int64_t>(size), 1);
  }
}

// The part's block goes to rows of matrix `part.index` of `out` [count, rows, cols]; turned blocks fill columns.
void place(const WeightPart& part, const Source& source, DType dtype, int64_t out_rows, int64_t out_cols,
           std::byte* out) {
  const auto size = static_cast<int64_t>(dtype_size(dtype));
  std::byte* matrix = out + part.index * out_rows * out_cols * size;
  int64_t i = part.row;
  for (const RowRange& range : part.rows) {
    for (int32_t r = 0; r < range.count; ++r, ++i) {
      const int64_t row = range.begin + static_cast<int64_t>(r) * range.stride;
      ARC_CHECK(row < part.source_out) << part.tensor;
      std::byte* target = matrix + (part.turn ? i : i * out_cols) * size;
      copy_run(source, row, part.col_begin, part.cols, dtype, target, part.turn ? out_cols : 1);
    }
  }
}

// Whether the weight is exactly one whole tensor, stored as the kernels want it.
bool is_mappable(const WeightSlot& weight, const TensorEntry& tensor) {
  if (weight.role != WeightSlot::Role::matrix || weight.parts.size() != 1 || weight.count != 1) return false;
  const WeightPart& part = weight.parts.front();
  return !part.stored_transposed && !part.turn && part.stack_index < 0 && part.rows.size() == 1 &&
         part.rows[0].stride == 1 && part.rows[0].begin == 0 && part.rows[0].count == part.source_out &&
         part.cols == part.source_in && tensor.dtype == weight.format.element &&
         tensor.shape.numel() == weight.out * weight.in;
}

Linear load_constant(const WeightSlot& weight) {
  Linear linear{
      .format = weight.format, .out = weight.out, .in = weight.in, .data = Tensor::zeros({weight.in}, DType::f64)};
  std::ranges::copy(weight.values, linear.data.as<double>());
  return linear;
}

Linear load_weight(const WeightSlot& weight, const Checkpoint& checkpoint, LoadedWeights& totals) {
  if (weight.role == WeightSlot::Role::constant) return load_constant(weight);
  Linear linear{.format = weight.format, .count = weight.count, .out = weight.out, .in = weight.in};
  const TensorEntry* whole = checkpoint.find(weight.parts.front().tensor);
  if (whole != nullptr && is_mappable(weight, *whole)) {
    linear.data = checkpoint.load(whole->name);
    totals.mapped_bytes += static_cast<int64_t>(whole->size_bytes);
  } else {
    // A vector's elements are the rows of an [n, 1] matrix.
    const bool vector = weight.role == WeightSlot::Role::vector;
    const int64_t rows = vector ? weight.in : weight.out, cols = vector ? 1 : weight.in;
    linear.data = Tensor::zeros({weight.count, weight.out, weight.in}, weight.format.element);
    for (const WeightPart& part : weight.parts)
      place(part, open_part(part, checkpoint), weight.format.element, rows, cols, linear.data.data());
    if (weight.add != 0.0f) {
      for (int64_t i = 0; i < weight.in; ++i) linear.data.as<float>()[i] += weight.add;
    }
    totals.copied_bytes += static_cast<int64_t>(linear.data.size_bytes());
    for (const WeightPart& part : weight.parts) checkpoint.release(part.tensor);
  }
  if (!weight.bias_parts.empty()) {
    const int64_t rows = weight.role == WeightSlot::Role::vector ? weight.in : weight.out;
    linear.bias = Tensor::zeros({weight.count, rows}, DType::f32);
    for (const WeightPart& part : weight.bias_parts)
      place(part, open_part(part, checkpoint), DType::f32, rows, 1, linear.bias.data());
  }
  return linear;
}

}  // namespace

MatrixView Linear::view() const {
  return {.format = format,
          .count = count,
          .out = out,
          .in = in,
          .data = data.data(),
          .bias = bias.defined() ? bias.as<float>() : nullptr};
}

LoadedWeights load_weights(const Plan& plan, const Checkpoint& checkpoint, const LoadProgress& progress,
                           const PackWeight& pack) {
  LoadedWeights loaded;
  std::set<std::string, std::less<>> used;
  int64_t total = 0, done = 0;
  for (const WeightSlot& weight : plan.weights) total += weight_bytes(weight);
  for (const WeightSlot& weight : plan.weights) {
    const Scope scope(weight.name);
    loaded.weights.push_back(load_weight(weight, checkpoint, loaded));
    if (pack) pack(static_cast<WeightId>(loaded.weights.size() - 1), loaded.weights.back());
    for (const WeightPart& part : weight.parts) used.insert(part.tensor);
    for (const WeightPart& part : weight.bias_parts) used.insert(part.tensor);
    done += weight_bytes(weight);
    if (progress) progress(static_cast<double>(done) / static_cast<double>(std::max<int64_t>(total, 1)));
  }
  for (const TensorEntry& tensor : checkpoint.tensors()) {
    if (!used.contains(tensor.name)) loaded.unused.push_back(tensor.name);
  }
  return loaded;
}

}  // namespace arc
