// Codes of numbers in blocks: how a run of elements of one row is coded in bytes, as ggml's tensor types define it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace arc {

// `none`: elements of a plain dtype.
enum class BlockCode : uint8_t {
  none,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
  mxfp4,
};

struct BlockCodeInfo {
  std::string_view name;     // as in "Q4_K"
  int32_t elements = 0;      // of a block, along the row
  int32_t bytes = 0;         // of a block
  bool runs_packed = false;  // kernels read it as it is; any other code is turned into q8_0 at load
};

inline constexpr int kMaxBlockElements = 256;

const BlockCodeInfo& block_code_info(BlockCode code);

// Elements of whole blocks to float; `count` is a multiple of the block's elements. Source: ggml's published layouts.
void decode_blocks(BlockCode code, const std::byte* source, float* out, int64_t count);

// Elements [begin, begin + count) of a row that starts at `row`; the range may cut blocks.
void decode_run(BlockCode code, const std::byte* row, int64_t begin, int64_t count, float* out);

// Floats to blocks, by ggml's reference rounding. Only q8_0, q4_0, q4_k, q5_k and q6_k can be written.
void encode_blocks(BlockCode code, const float* source, std::byte* out, int64_t count);

}  // namespace arc
