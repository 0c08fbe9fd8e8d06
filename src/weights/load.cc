#include "weights/load.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <set>
#include <span>

#include "fmt/format.h"

#include "base/check.h"
#include "base/error.h"

namespace arc {
namespace {

constexpr float kFp4Values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

// One matrix [out, in] inside a checkpoint tensor.
struct Source {
  Tensor tensor;  // which keeps the data alive
  WeightFormat format;
  const std::byte* data = nullptr;
  int64_t row_stride = 0, col_stride = 1;  // in elements
  WeightScales scales;
  std::vector<float> scale_values = {};  // [out / scales.rows, scales_per_row], both rounded up
  int64_t scales_per_row = 0;

  const std::byte* at(int64_t row, int64_t col) const {
    return data + bytes_of(format, row * row_stride + col * col_stride);
  }

  // `count` must be whole blocks.
  static int64_t bytes_of(const WeightFormat& format, int64_t count) { return format_bytes(format, 1, count); }

  // Columns [col, col + count) of a row.
  void read(int64_t row, int64_t col, int64_t count, float* out) const {
    if (scales) return read_scaled(row, col, count, out);
    if (format.code != BlockCode::none) {
      ARC_CHECK(col_stride == 1) << "blocks lie along rows";
      return decode_run(format.code, data, row * row_stride + col, count, out);
    }
    if (col_stride == 1) return to_float(format.element, at(row, col), out, static_cast<size_t>(count));
    for (int64_t c = 0; c < count; ++c) to_float(format.element, at(row, col + c), out + c, 1);
  }

 private:
  void read_scaled(int64_t row, int64_t col, int64_t count, float* out) const {
    const float* scale = &scale_values[row / scales.rows * scales_per_row];
    for (int64_t c = col; c < col + count; ++c) {
      const int64_t element = row * row_stride + c * col_stride;
      if (scales.kind == WeightScales::Kind::mxfp4) {
        const auto pair = static_cast<unsigned>(data[element / 2]);
        out[c - col] = kFp4Values[element % 2 == 0 ? pair & 15 : pair >> 4];
      } else {
        to_float(format.element, data + element, &out[c - col], 1);
      }
      out[c - col] *= scale[c / scales.cols];
    }
  }
};

// Scales of matrix `index`, as floats.
void open_scales(const WeightPart& part, const Checkpoint& checkpoint, int64_t index, Source& source) {
  const Tensor tensor = checkpoint.load(part.scales.tensor);
  const int64_t rows = (part.source_out + part.scales.rows - 1) / part.scales.rows;
  source.scales_per_row = (part.source_in + part.scales.cols - 1) / part.scales.cols;
  const int64_t count = rows * source.scales_per_row;
  const bool powers = part.scales.kind == WeightScales::Kind::mxfp4;
  if (tensor.numel() < (index + 1) * count || (powers ? tensor.dtype() != DType::u8 : !is_floating(tensor.dtype()))) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("tensor {} does not hold {} x {} scales", part.scales.tensor, rows, source.scales_per_row));
  }
  source.scale_values.resize(static_cast<size_t>(count));
  to_float(tensor.dtype(), tensor.data() + index * count * static_cast<int64_t>(dtype_size(tensor.dtype())),
           source.scale_values.data(), source.scale_values.size());
  for (float& scale : source.scale_values) {
    if (powers) scale = std::ldexp(1.0f, static_cast<int>(scale) - 127);
  }
}

Source open_part(const WeightPart& part, const Checkpoint& checkpoint) {
  const Tensor tensor = checkpoint.load(part.tensor);
  const TensorEntry& entry = *checkpoint.find(part.tensor);
  const int64_t elements = part.source_out * part.source_in;
  const int64_t size = part.scales.kind == WeightScales::Kind::mxfp4 ? elements / 2 : elements;
  const int64_t index = std::max(part.stack_index, 0);
  const bool whole = part.stack_index < 0;
  if (whole ? entry.shape.numel() != size : entry.shape.numel() < (index + 1) * size) {
    throw Error(ErrorCode::invalid_argument, fmt::format("tensor {} has shape {} where {} x {} is needed", part.tensor,
                                                         entry.shape.to_string(), part.source_out, part.source_in));
  }
  const WeightFormat format =
      entry.code != BlockCode::none ? WeightFormat::blocks(entry.code) : WeightFormat::plain(entry.dtype);
  Source source{.tensor = tensor,
                .format = format,
                .data = tensor.data() + Source::bytes_of(format, index * size),
                .row_stride = part.stored_transposed ? 1 : part.source_in,
                .col_stride = part.stored_transposed ? part.source_out : 1,
                .scales = part.scales};
  if (part.scales) open_scales(part, checkpoint, index, source);
  return source;
}

void store(const WeightFormat& format, const float* values, int64_t count, std::byte* out) {
  if (format.code != BlockCode::none) return encode_blocks(format.code, values, out, count);
  from_float(format.element, values, out, static_cast<size_t>(count));
}

// The part's rows in the order they are wanted: `take(i, row)` for the i-th.
template <typename Take>
void each_row(const WeightPart& part, const Take& take) {
  int64_t i = 0;
  for (const RowRange& range : part.rows) {
    for (int32_t r = 0; r < range.count; ++r, ++i) {
      const int64_t row = range.begin + static_cast<int64_t>(r) * range.stride;
      ARC_CHECK(row < part.source_out) << part.tensor;
      take(i, row);
    }
  }
}

// The part's block goes to rows of matrix `part.index` of `out` [count, rows, cols]; turned blocks fill columns.
void place(const WeightPart& part, const Source& source, const WeightFormat& format, int64_t out_rows, int64_t out_cols,
           std::byte* out) {
  const int64_t row_bytes = Source::bytes_of(format, out_cols);
  std::byte* matrix = out + part.index * out_rows * row_bytes;
  if (part.turn) {
    int64_t n = 0;
    for (const RowRange& range : part.rows) n += range.count;
    std::vector<float> row_values(part.cols), turned(part.cols * n);
    each_row(part, [&](int64_t i, int64_t row) {
      source.read(row, part.col_begin, part.cols, row_values.data());
      for (int64_t c = 0; c < part.cols; ++c) turned[c * n + i] = row_values[c];
    });
    for (int64_t c = 0; c < part.cols; ++c) {
      store(format, &turned[c * n], n, matrix + c * row_bytes + Source::bytes_of(format, part.row));
    }
    return;
  }
  const bool same = source.format == format && source.col_stride == 1 && !source.scales;
  std::vector<float> values(same ? 0 : part.cols);
  each_row(part, [&](int64_t i, int64_t row) {
    std::byte* target = matrix + (part.row + i) * row_bytes;
    if (same) {
      std::memcpy(target, source.at(row, part.col_begin), static_cast<size_t>(Source::bytes_of(format, part.cols)));
    } else {
      source.read(row, part.col_begin, part.cols, values.data());
      store(format, values.data(), part.cols, target);
    }
  });
}

// Whether the weight is exactly one whole tensor, stored as the kernels want it.
bool is_mappable(const WeightSlot& weight, const TensorEntry& tensor) {
  if (weight.role != WeightSlot::Role::matrix || weight.parts.size() != 1 || weight.count != 1) return false;
  const WeightPart& part = weight.parts.front();
  return !part.stored_transposed && !part.turn && part.stack_index < 0 && part.rows.size() == 1 &&
         part.rows[0].stride == 1 && part.rows[0].begin == 0 && part.rows[0].count == part.source_out &&
         part.cols == part.source_in && tensor.dtype == weight.format.element && tensor.code == weight.format.code &&
         tensor.shape.numel() == weight.out * weight.in;
}

Linear load_constant(const WeightSlot& weight) {
  Linear linear{
      .format = weight.format, .out = weight.out, .in = weight.in, .data = Tensor::zeros({weight.in}, DType::f64)};
  std::ranges::copy(weight.values, linear.data.as<double>());
  return linear;
}

void finish_vector(const WeightSlot& weight, float* values) {
  for (float& value : std::span(values, static_cast<size_t>(weight.in))) {
    if (weight.negative_exp) value = std::log(-value);
    value = (value + weight.add) * weight.scale;
  }
}

// Elements of a row, or its bytes where they are blocks.
int64_t width_of(const WeightFormat& format, int64_t cols) {
  return format.code != BlockCode::none ? Source::bytes_of(format, cols) : cols;
}

// Rows of all parts, gathered and converted.
Tensor gather(const WeightSlot& weight, const std::vector<WeightPart>& parts, const WeightFormat& format, int64_t cols,
              const Checkpoint& checkpoint) {
  const int64_t rows = weight.role == WeightSlot::Role::vector ? weight.in : weight.out;
  const Tensor data = Tensor::zeros({weight.count, rows, width_of(format, cols)}, format.element);
  for (const WeightPart& part : parts) place(part, open_part(part, checkpoint), format, rows, cols, data.data());
  return data;
}

std::string scaled_name(const WeightScales& scales) {
  return scales.kind == WeightScales::Kind::mxfp4 ? "MXFP4"
                                                  : fmt::format("FP8 in blocks of {}x{}", scales.rows, scales.cols);
}

// Blocks that had to change their code, for the report.
void note_conversions(const WeightSlot& weight, const Checkpoint& checkpoint, LoadedWeights& totals) {
  if (weight.role != WeightSlot::Role::matrix) return;
  std::set<BlockCode> codes;
  std::set<std::string> scaled;
  for (const WeightPart& part : weight.parts) {
    codes.insert(checkpoint.find(part.tensor)->code);
    if (part.scales) scaled.insert(scaled_name(part.scales));
  }
  for (const std::string& name : scaled) ++totals.converted[fmt::format("{} to {}", name, to_string(weight.format))];
  codes.erase(BlockCode::none);
  codes.erase(weight.format.code);
  for (BlockCode code : codes) {
    ++totals.converted[fmt::format("{} to {}", block_code_info(code).name, to_string(weight.format))];
  }
}

// An earlier weight of the same numbers, as a tied head is; null when there is none or it is packed already.
const Linear* find_same(const Plan& plan, const WeightSlot& weight, const LoadedWeights& loaded) {
  if (weight.role != WeightSlot::Role::matrix) return nullptr;
  for (size_t i = 0; i < loaded.weights.size(); ++i) {
    const WeightSlot& other = plan.weights[i];
    if (other.role == weight.role && other.format == weight.format && other.parts == weight.parts &&
        other.bias_parts == weight.bias_parts && loaded.weights[i].format == weight.format) {
      return &loaded.weights[i];
    }
  }
  return nullptr;
}

// Where the bytes of a matrix lie, if all of them lie in the checkpoint as they are wanted; else nothing.
std::vector<HostPiece> stored_pieces(const WeightSlot& weight, std::span<const Source> sources) {
  std::vector<HostPiece> pieces;
  const int64_t row_bytes = Source::bytes_of(weight.format, weight.in);
  for (size_t i = 0; i < sources.size(); ++i) {
    const WeightPart& part = weight.parts[i];
    const Source& source = sources[i];
    const bool whole_rows = part.col_begin == 0 && part.cols == weight.in && part.source_in == weight.in;
    if (part.turn || part.stored_transposed || source.scales || source.format != weight.format || !whole_rows)
      return {};
    int64_t row = part.index * weight.out + part.row;
    for (const RowRange& range : part.rows) {
      if (range.stride != 1 && range.count > 1) return {};
      ARC_CHECK(range.begin + range.count <= part.source_out) << part.tensor;
      pieces.push_back({.at = static_cast<size_t>(row * row_bytes),
                        .bytes = {source.at(range.begin, 0), static_cast<size_t>(range.count * row_bytes)}});
      row += range.count;
    }
  }
  return pieces;
}

// Undefined where the weight has to be changed on its way.
Tensor placed(const WeightSlot& weight, const Checkpoint& checkpoint, const PlaceWeight& place) {
  if (!place || weight.role != WeightSlot::Role::matrix) return {};
  std::vector<Source> sources;
  for (const WeightPart& part : weight.parts) sources.push_back(open_part(part, checkpoint));
  const std::vector<HostPiece> pieces = stored_pieces(weight, sources);
  if (pieces.empty()) return {};
  return place({weight.count, weight.out, width_of(weight.format, weight.in)}, weight.format.element, pieces);
}

Linear load_weight(const WeightSlot& weight, const Checkpoint& checkpoint, const PlaceWeight& place,
                   LoadedWeights& totals) {
  if (weight.role == WeightSlot::Role::constant) return load_constant(weight);
  const bool vector = weight.role == WeightSlot::Role::vector;
  Linear linear{.format = weight.format, .count = weight.count, .out = weight.out, .in = weight.in};
  const TensorEntry* whole = checkpoint.find(weight.parts.front().tensor);
  linear.data = placed(weight, checkpoint, place);
  if (linear.data.defined()) {
    totals.placed_bytes += static_cast<int64_t>(linear.data.size_bytes());
    for (const WeightPart& part : weight.parts) checkpoint.release(part.tensor);
  } else if (whole != nullptr && is_mappable(weight, *whole)) {
    linear.data = checkpoint.load(whole->name);
    totals.mapped_bytes += static_cast<int64_t>(whole->size_bytes);
  } else {
    // A vector's elements are the rows of an [n, 1] matrix.
    linear.data = gather(weight, weight.parts, weight.format, vector ? 1 : weight.in, checkpoint);
    if (vector) finish_vector(weight, linear.data.as<float>());
    note_conversions(weight, checkpoint, totals);
    totals.copied_bytes += static_cast<int64_t>(linear.data.size_bytes());
    for (const WeightPart& part : weight.parts) checkpoint.release(part.tensor);
  }
  if (!weight.bias_parts.empty()) {
    linear.bias = gather(weight, weight.bias_parts, WeightFormat::plain(DType::f32), 1, checkpoint);
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
                           const PackWeight& pack, const PlaceWeight& place) {
  LoadedWeights loaded;
  const auto start = std::chrono::steady_clock::now();
  std::set<std::string, std::less<>> used;
  int64_t total = 0, done = 0;
  for (const WeightSlot& weight : plan.weights) total += weight_bytes(weight);
  for (const WeightSlot& weight : plan.weights) {
    const Scope scope(weight.name);
    const Linear* same = find_same(plan, weight, loaded);
    loaded.weights.push_back(same != nullptr ? Linear(*same) : load_weight(weight, checkpoint, place, loaded));
    if (pack) pack(static_cast<WeightId>(loaded.weights.size() - 1), loaded.weights.back());
    for (const WeightPart& part : weight.parts) {
      used.insert(part.tensor);
      if (part.scales) used.insert(part.scales.tensor);
    }
    for (const WeightPart& part : weight.bias_parts) used.insert(part.tensor);
    done += weight_bytes(weight);
    if (progress) progress(static_cast<double>(done) / static_cast<double>(std::max<int64_t>(total, 1)));
  }
  for (const TensorEntry& tensor : checkpoint.tensors()) {
    if (!used.contains(tensor.name)) loaded.unused.push_back(tensor.name);
  }
  loaded.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return loaded;
}

}  // namespace arc
