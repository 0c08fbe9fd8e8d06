#include "quant/weight_format.h"

#include "fmt/format.h"

namespace arc {
namespace {

int64_t aux_bytes(const AuxFormat& aux, const BlockShape& block, int64_t out, int64_t in) {
  const int64_t size = static_cast<int64_t>(dtype_size(aux.dtype));
  switch (aux.granularity) {
    case AuxFormat::Granularity::absent:
      return 0;
    case AuxFormat::Granularity::per_tensor:
      return size;
    case AuxFormat::Granularity::per_row:
      return size * out;
    case AuxFormat::Granularity::per_block:
      break;
  }
  return size * ((out + block.rows - 1) / block.rows) * ((in + block.cols - 1) / block.cols);
}

}  // namespace

std::string to_string(const WeightFormat& format) {
  if (format.code != BlockCode::none) return std::string(block_code_info(format.code).name);
  std::string text(dtype_name(format.element));
  if (format.scale.granularity == AuxFormat::Granularity::per_block) {
    text += fmt::format(" + {} scale per block {}x{}", dtype_name(format.scale.dtype), format.block.rows,
                        format.block.cols);
  }
  return text;
}

int64_t format_bytes(const WeightFormat& format, int64_t out, int64_t in) {
  if (format.code != BlockCode::none) {
    const BlockCodeInfo& info = block_code_info(format.code);
    return out * ((in + info.elements - 1) / info.elements) * info.bytes;
  }
  return (out * in * format.bits + 7) / 8 + aux_bytes(format.scale, format.block, out, in) +
         aux_bytes(format.zero, format.block, out, in);
}

}  // namespace arc
