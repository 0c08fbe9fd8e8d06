#include "quant/block_code.h"

namespace arc {
namespace {

constexpr BlockCodeInfo kInfos[] = {
    {.name = "plain", .elements = 1, .bytes = 0},
    {.name = "Q4_0", .elements = 32, .bytes = 18, .runs_packed = true},
    {.name = "Q4_1", .elements = 32, .bytes = 20},
    {.name = "Q5_0", .elements = 32, .bytes = 22},
    {.name = "Q5_1", .elements = 32, .bytes = 24},
    {.name = "Q8_0", .elements = 32, .bytes = 34, .runs_packed = true},
    {.name = "Q2_K", .elements = 256, .bytes = 84},
    {.name = "Q3_K", .elements = 256, .bytes = 110},
    {.name = "Q4_K", .elements = 256, .bytes = 144, .runs_packed = true},
    {.name = "Q5_K", .elements = 256, .bytes = 176, .runs_packed = true},
    {.name = "Q6_K", .elements = 256, .bytes = 210, .runs_packed = true},
    {.name = "IQ4_NL", .elements = 32, .bytes = 18},
    {.name = "IQ4_XS", .elements = 256, .bytes = 136},
    {.name = "MXFP4", .elements = 32, .bytes = 17},
};

}  // namespace

const BlockCodeInfo& block_code_info(BlockCode code) {
  return kInfos[static_cast<size_t>(code)];
}

}  // namespace arc
