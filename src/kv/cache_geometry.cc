#include "kv/cache_geometry.h"

#include <algorithm>

#include "fmt/format.h"

#include "base/error.h"

namespace arc {
namespace {

using Kind = CacheGroup::Kind;

void require(bool condition, size_t group, const char* rule) {
  if (!condition) throw Error(ErrorCode::invalid_argument, fmt::format("cache group {}: {}", group, rule));
}

}  // namespace

int32_t CacheGeometry::tile_tokens() const {
  int32_t tile = 0;
  for (const CacheGroup& group : groups) tile = tile ? std::min(tile, group.tokens_per_block) : group.tokens_per_block;
  return tile ? tile : CacheGroup{}.tokens_per_block;
}

int32_t CacheGeometry::checkpoint_tokens() const {
  for (const CacheGroup& group : groups) {
    if (group.kind == Kind::state) return group.tokens_per_block;
  }
  return 0;
}

void check_geometry(const CacheGeometry& geometry) {
  if (geometry.groups.size() > kMaxCacheGroups) {
    throw Error(ErrorCode::invalid_argument, fmt::format("the model needs {} cache groups; at most {} are supported",
                                                         geometry.groups.size(), kMaxCacheGroups));
  }
  const int32_t tile = geometry.tile_tokens();
  const int32_t checkpoint = geometry.checkpoint_tokens();
  for (size_t g = 0; g < geometry.groups.size(); ++g) {
    const CacheGroup& group = geometry.groups[g];
    require(group.tokens_per_block > 0, g, "a block must hold at least one token");
    require(group.n_blocks >= 2, g, "needs at least 2 blocks, of which block 0 is reserved");
    require(group.n_swap_blocks >= 0, g, "the number of swap blocks is negative");
    require((group.kind == Kind::sliding) == (group.window > 0), g,
            "a window belongs to sliding groups, and only them");
    if (group.kind == Kind::state) {
      require(group.tokens_per_block == checkpoint, g, "all state groups need one checkpoint distance");
      require(checkpoint % tile == 0, g, "the checkpoint distance must be a multiple of the tile");
    } else {
      require(group.tokens_per_block == tile, g, "all groups must have the same tokens per block");
    }
  }
}

int32_t first_needed_block(const CacheGroup& group, int32_t n_computed) {
  if (group.kind != Kind::sliding) return 0;
  return std::max(0, n_computed - group.window + 1) / group.tokens_per_block;
}

}  // namespace arc
