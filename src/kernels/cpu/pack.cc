#include "kernels/cpu/pack.h"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>

#include "base/check.h"

namespace arc::cpu {
namespace {

constexpr int64_t kRows = kPanelRows;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kPieceBytes = size_t{64} << 20;  // untouched memory costs nothing

int64_t blocks_of(const BlockCodeInfo& info, int64_t in) {
  return (in + info.elements - 1) / info.elements;
}

uint8_t byte_of(const std::byte* p, int64_t i) {
  return std::to_integer<uint8_t>(p[i]);
}

// The codes of one block of the source, without their scales: unsigned, 8 bits at most.
void read_codes(BlockCode code, const std::byte* block, uint8_t* out) {
  switch (code) {
    case BlockCode::q8_0:
      for (int k = 0; k < 32; ++k) out[k] = static_cast<uint8_t>(byte_of(block, 2 + k) + 128);
      return;
    case BlockCode::q4_0:
      for (int k = 0; k < 32; ++k) out[k] = (byte_of(block, 2 + k % 16) >> (k / 16 * 4)) & 15;
      return;
    case BlockCode::q4_k:
    case BlockCode::q5_k: {
      const std::byte* high = block + 16;
      const std::byte* low = code == BlockCode::q5_k ? high + 32 : high;
      for (int k = 0; k < 256; ++k) {
        out[k] = (byte_of(low, k / 64 * 32 + k % 32) >> (k / 32 % 2 * 4)) & 15;
        if (code == BlockCode::q5_k) out[k] |= ((byte_of(high, k % 32) >> (k / 32)) & 1) << 4;
      }
      return;
    }
    case BlockCode::q6_k:
      for (int k = 0; k < 256; ++k) {
        const int half = k / 128, quarter = k % 128 / 32, l = k % 32;
        out[k] = (byte_of(block, half * 64 + quarter % 2 * 32 + l) >> (quarter / 2 * 4)) & 15;
        out[k] |= ((byte_of(block, 128 + half * 32 + l) >> (2 * quarter)) & 3) << 4;
      }
      return;
    default:
      ARC_CHECK(false) << block_code_info(code).name;
  }
}

// Writes code `c` of column `k` (of a run of 32) and row `row` into the run's zeroed bytes.
void write_code(BlockCode code, int64_t k, int64_t row, uint8_t c, std::byte* run) {
  const auto put = [&](int64_t group, int value) {
    run[group * 64 + row * 4 + k % 4] |= static_cast<std::byte>(value);
  };
  if (code == BlockCode::q8_0) return put(k / 4, c);
  put(k % 16 / 4, (c & 15) << (k / 16 * 4));
  if (code == BlockCode::q5_k) put(4, (c >> 4) << (k / 4));
  if (code == BlockCode::q6_k) put(4 + k / 16, (c >> 4) << (k % 16 / 4 * 2));
}

uint8_t read_code(BlockCode code, int64_t k, int64_t row, const std::byte* run) {
  const auto get = [&](int64_t group) { return byte_of(run, group * 64 + row * 4 + k % 4); };
  if (code == BlockCode::q8_0) return get(k / 4);
  uint8_t c = (get(k % 16 / 4) >> (k / 16 * 4)) & 15;
  if (code == BlockCode::q5_k) c |= ((get(4) >> (k / 4)) & 1) << 4;
  if (code == BlockCode::q6_k) c |= ((get(4 + k / 16) >> (k % 16 / 4 * 2)) & 3) << 4;
  return c;
}

// Bytes of a block's scales, of 16 rows; the codes follow.
int64_t scale_bytes(BlockCode code) {
  switch (code) {
    case BlockCode::q4_k:
    case BlockCode::q5_k:
      return 16 * kRows;
    case BlockCode::q6_k:
      return 18 * kRows;
    default:
      return 2 * kRows;
  }
}

void pack_scales(BlockCode code, const std::byte* block, int64_t row, std::byte* out) {
  const auto copy = [&](int64_t from, int64_t bytes, int64_t to) {
    std::memcpy(out + to * kRows + row * bytes, block + from, static_cast<size_t>(bytes));
  };
  if (code == BlockCode::q6_k) {
    copy(208, 2, 0);
    for (int s = 0; s < 16; ++s) copy(192 + s, 1, 2 + s);
    return;
  }
  copy(0, 2, 0);
  if (code == BlockCode::q8_0 || code == BlockCode::q4_0) return;
  copy(2, 2, 2);
  for (int w = 0; w < 3; ++w) copy(4 + 4 * w, 4, 4 + 4 * w);
}

// Scale and minimum of each run of 32 columns (of 16: q6_k) of a packed block: value = scale * code - minimum.
struct RowScales {
  float scale[16], minimum[16];
};

float half_at(const std::byte* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return f16_to_float(bits);
}

RowScales read_scales(BlockCode code, const std::byte* block, int64_t row) {
  RowScales out{};
  const float d = half_at(block + 2 * row);
  if (code == BlockCode::q8_0 || code == BlockCode::q4_0) {
    out.scale[0] = d;
    out.minimum[0] = d * (code == BlockCode::q8_0 ? 128.0f : 8.0f);
  } else if (code == BlockCode::q6_k) {
    for (int s = 0; s < 16; ++s) {
      out.scale[s] = d * static_cast<float>(static_cast<int8_t>(block[(2 + s) * kRows + row]));
      out.minimum[s] = 32.0f * out.scale[s];
    }
  } else {
    const float dmin = half_at(block + 2 * kRows + 2 * row);
    const auto at = [&](int i) { return byte_of(block, (4 + i / 4 * 4) * kRows + 4 * row + i % 4); };
    for (int s = 0; s < 8; ++s) {
      const int i = s % 4, scale = s < 4 ? at(i) & 63 : (at(8 + i) & 15) | (at(i) >> 6) << 4;
      const int minimum = s < 4 ? at(4 + i) & 63 : at(8 + i) >> 4 | (at(4 + i) >> 6) << 4;
      out.scale[s] = d * static_cast<float>(scale);
      out.minimum[s] = dmin * static_cast<float>(minimum);
    }
  }
  return out;
}

int64_t run_bytes(BlockCode code) {
  const BlockCodeInfo& info = block_code_info(code);
  return (info.bytes * kRows - scale_bytes(code)) / (info.elements / 32);
}

void pack_block(BlockCode code, const std::byte* block, int64_t row, std::byte* out) {
  uint8_t codes[256];
  read_codes(code, block, codes);
  pack_scales(code, block, row, out);
  for (int k = 0; k < block_code_info(code).elements; ++k) {
    write_code(code, k % 32, row, codes[k], out + scale_bytes(code) + k / 32 * run_bytes(code));
  }
}

// Row `row` of a panel, from `source`'s row.
void pack_row(const WeightFormat& format, int64_t in, const std::byte* source, int64_t row, std::byte* panel) {
  if (format.code != BlockCode::none) {
    const BlockCodeInfo& info = block_code_info(format.code);
    for (int64_t b = 0; b < blocks_of(info, in); ++b) {
      pack_block(format.code, source + b * info.bytes, row, panel + b * info.bytes * kRows);
    }
    return;
  }
  const auto size = static_cast<int64_t>(dtype_size(format.element));
  const int64_t together = format.element == DType::bf16 ? 2 : 1;
  for (int64_t k = 0; k < in; ++k) {
    const int64_t to = (k / together * kRows + row) * together + k % together;
    std::memcpy(panel + to * size, source + k * size, static_cast<size_t>(size));
  }
}

int64_t panels_of(int64_t out) {
  return (out + kRows - 1) / kRows;
}

}  // namespace

bool can_pack(const WeightFormat& format) {
  if (format.code != BlockCode::none) return block_code_info(format.code).runs_packed;
  return (format.element == DType::f32 || format.element == DType::f16 || format.element == DType::bf16) &&
         format.scale.granularity == AuxFormat::Granularity::absent;
}

int64_t panel_bytes(const WeightFormat& format, int64_t in) {
  if (format.code != BlockCode::none) return format_bytes(format, kRows, in);
  const int64_t padded = format.element == DType::bf16 ? (in + 1) / 2 * 2 : in;
  return padded * kRows * static_cast<int64_t>(dtype_size(format.element));
}

Tensor PackedMemory::take(int64_t size_bytes) {
  const size_t size = (static_cast<size_t>(size_bytes) + 63) / 64 * 64;
  if (piece_ == nullptr || size > piece_->size_bytes() - used_) {
    piece_ = Storage::allocate(std::max(size, kPieceBytes) + kHugePage);
    const auto address = reinterpret_cast<uintptr_t>(piece_->data());
    used_ = (kHugePage - address % kHugePage) % kHugePage;
    ::madvise(piece_->data() + used_, piece_->size_bytes() - used_, MADV_HUGEPAGE);  // a wish: may fail
  }
  const Tensor taken(piece_, used_, {size_bytes}, DType::packed);
  used_ += size;
  return taken;
}

Tensor pack(const MatrixView& source, PackedMemory& memory) {
  ARC_CHECK(can_pack(source.format) && source.format.pack == PackId::plain) << to_string(source.format);
  const int64_t panel = panel_bytes(source.format, source.in), panels = panels_of(source.out);
  const int64_t row_bytes = format_bytes(source.format, 1, source.in);
  const Tensor packed = memory.take(source.count * panels * panel);
  const auto* from = static_cast<const std::byte*>(source.data);
  for (int64_t m = 0; m < source.count; ++m) {
    for (int64_t r = 0; r < source.out; ++r) {
      pack_row(source.format, source.in, from + (m * source.out + r) * row_bytes, r % kRows,
               packed.data() + (m * panels + r / kRows) * panel);
    }
  }
  return packed;
}

void unpack_row(const MatrixView& w, int64_t index, int64_t row, float* out) {
  const int64_t bytes = panel_bytes(w.format, w.in), r = row % kRows;
  const auto* panel = static_cast<const std::byte*>(w.data) + (index * panels_of(w.out) + row / kRows) * bytes;
  if (w.format.code == BlockCode::none) {
    const auto size = static_cast<int64_t>(dtype_size(w.format.element));
    const int64_t together = w.format.element == DType::bf16 ? 2 : 1;
    for (int64_t k = 0; k < w.in; ++k) {
      const int64_t at = (k / together * kRows + r) * together + k % together;
      to_float(w.format.element, panel + at * size, out + k, 1);
    }
    return;
  }
  const BlockCode code = w.format.code;
  const BlockCodeInfo& info = block_code_info(code);
  const int64_t run = run_bytes(code), shared = code == BlockCode::q6_k ? 16 : 32;
  for (int64_t begin = 0; begin < w.in; begin += info.elements, panel += info.bytes * kRows) {
    const RowScales scales = read_scales(code, panel, r);
    for (int64_t k = 0; k < std::min<int64_t>(info.elements, w.in - begin); ++k) {
      const uint8_t c = read_code(code, k % 32, r, panel + scale_bytes(code) + k / 32 * run);
      out[begin + k] = scales.scale[k / shared] * static_cast<float>(c) - scales.minimum[k / shared];
    }
  }
}

int64_t expert_list_bytes(int64_t experts, int64_t pairs) {
  const int64_t entries = 1 + experts + experts + (experts + 1) + pairs;
  return (entries * 4 + 63) / 64 * 64;
}

int64_t product_scratch_bytes(const Args& args, const MatrixView* weights, int64_t rows) {
  constexpr int64_t padding = 4;  // of a group of rows to tiles (generic/products.inl)
  const auto activations = [&](int64_t n) {
    const MatrixView& w = weights[0];
    const int64_t blocks = blocks_of(block_code_info(w.format.code), w.in);
    if (w.format.code == BlockCode::none) return 4 * n * ((w.in + 1) / 2 * 2);
    return 4 * n * blocks * (block_code_info(w.format.code).elements == 32 ? 10 : 85);
  };
  if (std::holds_alternative<LinearArgs>(args)) return activations(rows + padding);
  if (const auto* heads = std::get_if<HeadLinearArgs>(&args)) return activations(heads->heads * (rows + padding));
  if (const auto* experts = std::get_if<ExpertLinearArgs>(&args)) {
    const int64_t pairs = rows * experts->top_k;
    return expert_list_bytes(weights[0].count, pairs) + activations(2 * pairs);
  }
  return 0;
}

}  // namespace arc::cpu
