// How one matrix of weights is stored, as a value. A format is data, not a class of layer.
#pragma once

#include <cstdint>
#include <string>

#include "base/dtype.h"
#include "quant/block_code.h"

namespace arc {

// Scales or zero points that go with packed elements.
struct AuxFormat {
  enum class Granularity : uint8_t { absent, per_tensor, per_row, per_block };
  Granularity granularity = Granularity::absent;
  DType dtype = DType::f32;
  bool operator==(const AuxFormat&) const = default;
};

// Elements that share one scale: `rows` x `cols` of the matrix.
struct BlockShape {
  int32_t rows = 1;
  int32_t cols = 1;
  bool operator==(const BlockShape&) const = default;
};

// Which bytes hold which element.
enum class PackId : uint8_t {
  plain,   // row-major elements of a plain dtype, or row-major blocks in the checkpoint's order
  panels,  // 16 rows side by side, as the CPU kernels read them (kernels/cpu/pack.h)
};

// Describes a matrix [out, in] completely.
struct WeightFormat {
  DType element = DType::f32;  // `packed` with a block code
  BlockCode code = BlockCode::none;
  int32_t bits = 32;  // of a plain element
  BlockShape block;
  AuxFormat scale, zero;
  PackId pack = PackId::plain;
  bool operator==(const WeightFormat&) const = default;

  static WeightFormat plain(DType dtype) {
    return {.element = dtype, .bits = static_cast<int32_t>(8 * dtype_size(dtype))};
  }
  static WeightFormat blocks(BlockCode code) { return {.element = DType::packed, .code = code, .bits = 0}; }
};

// "bf16", "f8e4m3 + f32 scale per block 128x128", ...
std::string to_string(const WeightFormat& format);

// Bytes of a matrix of `out` rows and `in` columns, scales and zeros included.
int64_t format_bytes(const WeightFormat& format, int64_t out, int64_t in);

}  // namespace arc
