#include "engine/cache_sizing.h"

#include <algorithm>
#include <unistd.h>

#include "fmt/format.h"

#include "base/error.h"

namespace arc {
namespace {

// Positions between states that are kept for reuse; a multiple of the tile.
constexpr int32_t kCheckpointTokens = 8 * kTileTokens;
// States kept for reuse per running sequence.
constexpr int32_t kCheckpointsPerSequence = 2;

CacheGroup::Kind kind_of(CacheKind kind) {
  switch (kind) {
    case CacheKind::full:
      return CacheGroup::Kind::full;
    case CacheKind::sliding:
    case CacheKind::open:
      return CacheGroup::Kind::sliding;
    case CacheKind::latent:
      return CacheGroup::Kind::latent;
    case CacheKind::state:
      break;
  }
  return CacheGroup::Kind::state;
}

// Blocks for `tiles` tiles of context shared by all sequences.
int64_t blocks_for(const CacheNeeds& needs, int64_t tiles, const CacheRequest& request) {
  const int64_t seqs = request.max_seqs;
  switch (needs.kind) {
    case CacheKind::full:
    case CacheKind::latent:
      return tiles;
    case CacheKind::sliding: {
      // Blocks behind the window are freed after each step.
      const int64_t reach = needs.window + request.max_batched_tokens;
      return std::min(tiles, seqs * (reach / kTileTokens + 2));
    }
    case CacheKind::open:
      // Those that each sequence reads, and those that a step fills. Chunks get shorter where that is not enough. Where
      // full tiles are read, some more are kept for reuse.
      return std::min(tiles, seqs * (1 + needs.window / kTileTokens * (1 + kCheckpointsPerSequence)) +
                                 request.max_batched_tokens / kTileTokens + 1);
    case CacheKind::state:
      break;
  }
  return seqs * (1 + kCheckpointsPerSequence);
}

int64_t bytes_for(const std::vector<CacheNeeds>& groups, int64_t tiles, const CacheRequest& request) {
  int64_t bytes = 0;
  for (const CacheNeeds& needs : groups) bytes += (1 + blocks_for(needs, tiles, request)) * needs.bytes_per_block();
  return bytes;
}

// The most tiles up to `wanted` that `memory` holds.
int64_t tiles_within(const std::vector<CacheNeeds>& groups, int64_t memory, int64_t wanted,
                     const CacheRequest& request) {
  int64_t low = 0, high = wanted;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (bytes_for(groups, middle, request) <= memory) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace

int64_t tokens_within(const std::vector<CacheNeeds>& groups, const CacheRequest& request) {
  const int64_t wanted = blocks_for_tokens(request.max_seq_len, kTileTokens) * request.max_seqs;
  return tiles_within(groups, request.memory_bytes, wanted, request) * kTileTokens;
}

CachePlan size_cache(const std::vector<CacheNeeds>& groups, const CacheRequest& request) {
  const int64_t tiles = tokens_within(groups, request) / kTileTokens;
  if (tiles < 1) {
    throw Error(ErrorCode::resource,
                fmt::format("the cache needs at least {} bytes and may take {}; raise --kv-memory or lower --max-seqs",
                            bytes_for(groups, 1, request), request.memory_bytes));
  }
  const int64_t swap_tiles = tiles_within(groups, request.swap_bytes, tiles, request);
  CachePlan plan{.n_tokens = tiles * kTileTokens,
                 .max_seq_len = static_cast<int32_t>(std::min<int64_t>(request.max_seq_len, tiles * kTileTokens)),
                 .memory_bytes = bytes_for(groups, tiles, request),
                 .swap_bytes = swap_tiles > 0 ? bytes_for(groups, swap_tiles, request) : 0};
  for (size_t g = 0; g < groups.size(); ++g) {
    const CacheNeeds& needs = groups[g];
    const auto blocks = static_cast<int32_t>(1 + blocks_for(needs, tiles, request));
    const auto swap_blocks = static_cast<int32_t>(swap_tiles > 0 ? blocks_for(needs, swap_tiles, request) : 0);
    plan.capacity.blocks[g] = blocks;
    plan.capacity.swap_blocks[g] = swap_blocks;
    plan.geometry.groups.push_back(
        {.kind = kind_of(needs.kind),
         .tokens_per_block = needs.kind == CacheKind::state ? kCheckpointTokens : kTileTokens,
         .window = needs.window,
         .bytes_per_block = needs.bytes_per_block(),
         .n_blocks = blocks,
         .n_swap_blocks = swap_blocks});
  }
  return plan;
}

int64_t default_cache_bytes() {
  return static_cast<int64_t>(::sysconf(_SC_AVPHYS_PAGES)) * ::sysconf(_SC_PAGESIZE) / 4;
}

}  // namespace arc
