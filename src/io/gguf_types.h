// ggml's tensor types by number: those that Arc reads, and the names of the others for messages.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string_view>

#include "base/dtype.h"
#include "quant/block_code.h"

namespace arc {

struct GgmlType {
  uint32_t number = 0;
  std::string_view name;
  DType dtype = DType::packed;  // packed without a code: Arc cannot read it
  BlockCode code = BlockCode::none;
};

constexpr GgmlType kGgmlTypes[] = {
    {0, "F32", DType::f32},
    {1, "F16", DType::f16},
    {2, "Q4_0", DType::packed, BlockCode::q4_0},
    {3, "Q4_1", DType::packed, BlockCode::q4_1},
    {4, "Q4_2"},
    {5, "Q4_3"},
    {6, "Q5_0", DType::packed, BlockCode::q5_0},
    {7, "Q5_1", DType::packed, BlockCode::q5_1},
    {8, "Q8_0", DType::packed, BlockCode::q8_0},
    {9, "Q8_1"},
    {10, "Q2_K", DType::packed, BlockCode::q2_k},
    {11, "Q3_K", DType::packed, BlockCode::q3_k},
    {12, "Q4_K", DType::packed, BlockCode::q4_k},
    {13, "Q5_K", DType::packed, BlockCode::q5_k},
    {14, "Q6_K", DType::packed, BlockCode::q6_k},
    {15, "Q8_K"},
    {16, "IQ2_XXS"},
    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},
    {19, "IQ1_S"},
    {20, "IQ4_NL", DType::packed, BlockCode::iq4_nl},
    {21, "IQ3_S"},
    {22, "IQ2_S"},
    {23, "IQ4_XS", DType::packed, BlockCode::iq4_xs},
    {24, "I8", DType::i8},
    {25, "I16", DType::i16},
    {26, "I32", DType::i32},
    {27, "I64", DType::i64},
    {28, "F64", DType::f64},
    {29, "IQ1_M"},
    {30, "BF16", DType::bf16},
    {31, "Q4_0_4_4"},
    {32, "Q4_0_4_8"},
    {33, "Q4_0_8_8"},
    {34, "TQ1_0"},
    {35, "TQ2_0"},
    {36, "IQ4_NL_4_4"},
    {37, "IQ4_NL_4_8"},
    {38, "IQ4_NL_8_8"},
    {39, "MXFP4", DType::packed, BlockCode::mxfp4},
    {40, "NVFP4"},
    {41, "Q1_0"},
    {42, "Q2_0"},
};

// Null for a number that ggml has not given out.
constexpr const GgmlType* find_ggml_type(uint32_t number) {
  const auto* type = std::ranges::find(kGgmlTypes, number, &GgmlType::number);
  return type == std::end(kGgmlTypes) ? nullptr : type;
}

}  // namespace arc
