#include "engine/key_reads.h"

#include <algorithm>

namespace arc {

KeyReads key_reads(const std::vector<CacheNeeds>& groups, int32_t begin, int32_t end) {
  KeyReads reads;
  for (const CacheNeeds& group : groups) {
    if (group.kind == CacheKind::state || group.kind == CacheKind::open) continue;
    const auto n_layers = static_cast<int64_t>(group.layers.size());
    for (int32_t p = begin; p < end; ++p) {
      const int32_t first = group.window > 0 ? std::max(p - group.window + 1, 0) : 0;
      const int32_t tile = p / kTileTokens - group.policy.recent;
      const int32_t coded_end = group.policy.is_raw() ? 0 : group.policy.tiled() ? tile * kTileTokens : p + 1;
      reads.all += n_layers * (p + 1 - first);
      reads.coded += n_layers * std::max(coded_end - first, 0);
    }
  }
  return reads;
}

}  // namespace arc
