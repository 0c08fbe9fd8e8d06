#include "quant/block_code.h"

#include <algorithm>

#include "base/check.h"
#include "quant/codecs.h"

namespace arc {
namespace {

using Decode = void (*)(const uint8_t* block, float* out);
using Encode = void (*)(const float* in, uint8_t* block);

struct Codec {
  BlockCodeInfo info;
  Decode decode = nullptr;
  Encode encode = nullptr;
};

// In the order of BlockCode.
constexpr Codec kCodecs[] = {
    {{.name = "plain", .elements = 1, .bytes = 0}},
    {{.name = "Q4_0", .elements = 32, .bytes = 18, .runs_packed = true}, quant::decode_q4_0, quant::encode_q4_0},
    {{.name = "Q4_1", .elements = 32, .bytes = 20}, quant::decode_q4_1},
    {{.name = "Q5_0", .elements = 32, .bytes = 22}, quant::decode_q5_0},
    {{.name = "Q5_1", .elements = 32, .bytes = 24}, quant::decode_q5_1},
    {{.name = "Q8_0", .elements = 32, .bytes = 34, .runs_packed = true}, quant::decode_q8_0, quant::encode_q8_0},
    {{.name = "Q2_K", .elements = 256, .bytes = 84}, quant::decode_q2_k},
    {{.name = "Q3_K", .elements = 256, .bytes = 110}, quant::decode_q3_k},
    {{.name = "Q4_K", .elements = 256, .bytes = 144, .runs_packed = true}, quant::decode_q4_k, quant::encode_q4_k},
    {{.name = "Q5_K", .elements = 256, .bytes = 176, .runs_packed = true}, quant::decode_q5_k, quant::encode_q5_k},
    {{.name = "Q6_K", .elements = 256, .bytes = 210, .runs_packed = true}, quant::decode_q6_k, quant::encode_q6_k},
    {{.name = "IQ4_NL", .elements = 32, .bytes = 18}, quant::decode_iq4_nl},
    {{.name = "IQ4_XS", .elements = 256, .bytes = 136}, quant::decode_iq4_xs},
    {{.name = "MXFP4", .elements = 32, .bytes = 17}, quant::decode_mxfp4},
};

const Codec& codec(BlockCode code) {
  return kCodecs[static_cast<size_t>(code)];
}

}  // namespace

const BlockCodeInfo& block_code_info(BlockCode code) {
  return codec(code).info;
}

void decode_blocks(BlockCode code, const std::byte* source, float* out, int64_t count) {
  const Codec& c = codec(code);
  ARC_CHECK(c.decode != nullptr && count % c.info.elements == 0) << c.info.name << ", " << count;
  const auto* block = reinterpret_cast<const uint8_t*>(source);
  for (int64_t i = 0; i < count; i += c.info.elements, block += c.info.bytes) c.decode(block, out + i);
}

void encode_blocks(BlockCode code, const float* source, std::byte* out, int64_t count) {
  const Codec& c = codec(code);
  ARC_CHECK(c.encode != nullptr && count % c.info.elements == 0) << c.info.name << ", " << count;
  auto* block = reinterpret_cast<uint8_t*>(out);
  for (int64_t i = 0; i < count; i += c.info.elements, block += c.info.bytes) c.encode(source + i, block);
}

void decode_run(BlockCode code, const std::byte* row, int64_t begin, int64_t count, float* out) {
  const BlockCodeInfo& info = block_code_info(code);
  float block[kMaxBlockElements];
  while (count > 0) {
    const int64_t skip = begin % info.elements, here = std::min(count, info.elements - skip);
    const std::byte* source = row + begin / info.elements * info.bytes;
    if (here == info.elements) {
      decode_blocks(code, source, out, here);
    } else {
      decode_blocks(code, source, block, info.elements);
      std::copy_n(block + skip, here, out);
    }
    begin += here;
    out += here;
    count -= here;
  }
}

}  // namespace arc
