#include "kernels/cpu/op_scratch.h"

#include <cmath>

#include "quant/turbo.h"

namespace arc::cpu {

static_assert(kMaxTiledDim == kMaxTurboDim);

AttendScratch attend_scratch(const AttendArgs& a) {
  const auto padded = [](int64_t n) { return (n + 15) / 16 * 16; };
  AttendScratch s{.k = padded(a.k_dim), .v = padded(a.v_dim)};
  s.keys = s.queries + kRowTile * s.k;
  s.values = s.keys + kTileTokens * s.k;
  s.scores = s.values + kTileTokens * s.v;
  s.packed = s.scores + kRowTile * kTileTokens;
  s.key_stride = (a.k_dim + 31) / 32 * int64_t{32};
  s.packed_row = a.open_group < 0 ? 0 : 2 * s.key_stride / static_cast<int64_t>(sizeof(float)) + 32;
  s.sums = s.packed + kRowTile * s.packed_row;
  s.totals = s.sums + kRowTile * (s.v + 16);
  s.size = s.totals + kRowTile * (s.v + 16);
  return s;
}

int64_t op_scratch_bytes(const Args& args, int32_t threads) {
  if (const auto* attend = std::get_if<AttendArgs>(&args)) {
    return (attend_scratch(*attend).size * threads + kPartialFloats) * static_cast<int64_t>(sizeof(float));
  }
  if (const auto* route = std::get_if<RouteArgs>(&args)) {
    return int64_t{3} * route->experts * threads * static_cast<int64_t>(sizeof(double));
  }
  return 0;
}

void rope_row(const double* frequencies, int32_t pairs, double factor, int32_t position, float* row) {
  for (int32_t i = 0; i < pairs; ++i) {
    const double angle = position * frequencies[i];
    row[i] = static_cast<float>(std::cos(angle) * factor);
    row[pairs + i] = static_cast<float>(std::sin(angle) * factor);
  }
}

}  // namespace arc::cpu
