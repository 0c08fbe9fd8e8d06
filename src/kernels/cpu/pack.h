// The order of bytes in which the CPU kernels read a weight: panels of 16 rows side by side, so that one activation
// feeds 16 rows. One packed copy serves decoding and prefill, on every instruction set.
//
// A panel holds its rows' columns in order; rows past the matrix are zeros. Plain types: f32 and f16 [in][16 rows],
// bf16 [in / 2][16 rows][2]. Block codes, per block of the source (f16 and byte fields are the source's own):
//   q8_0  f16 d[16]; 8 groups [16 rows][4] of code + 128
//   q4_0  f16 d[16]; nibbles
//   q4_k  f16 d[16], dmin[16]; u32 scales[3][16]; 8 x nibbles
//   q5_k  the same; 8 x (nibbles, then [16 rows][4] fifth bits: bit b of byte i is column 4 b + i)
//   q6_k  f16 d[16]; i8 scales[16][16 rows]; 8 x (nibbles, then 2 x [16 rows][4] of upper two bits: bits 2 b of byte i
//         of the first are column 4 b + i, of the second 16 + 4 b + i)
// nibbles: 32 columns as 4 groups [16 rows][4]; byte i of group g is column 4 g + i (low) and 16 + 4 g + i (high).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/api/kernel.h"
#include "tensor/tensor.h"

namespace arc::cpu {

constexpr int64_t kPanelRows = 16;

// f32, f16, bf16, and the codes that run packed (quant/block_code.h).
bool can_pack(const WeightFormat& format);

// Bytes of one panel of `in` columns.
int64_t panel_bytes(const WeightFormat& format, int64_t in);

// Where packed weights lie, one after the other: large pieces, so that the system can give huge pages.
class PackedMemory {
 public:
  Tensor take(int64_t size_bytes);

 private:
  std::shared_ptr<Storage> piece_;
  size_t used_ = 0;  // bytes of the piece
};

// The bytes of all matrices of `source` (PackId::plain, can_pack) as panels. Their format is the source's with
// PackId::panels; the bias is not touched.
Tensor pack(const MatrixView& source, PackedMemory& memory);

// Row `row` of matrix `index` of a packed weight as floats [in]: what the kernels multiply with.
void unpack_row(const MatrixView& packed, int64_t index, int64_t row, float* out);

// Bytes of the lists that sort (token, choice) pairs by expert.
int64_t expert_list_bytes(int64_t experts, int64_t pairs);

// Bytes that Operands::scratch must have for an operation on packed weights with up to `rows` rows; 0 if it needs none.
int64_t product_scratch_bytes(const Args& args, const MatrixView* weights, int64_t rows);

}  // namespace arc::cpu
