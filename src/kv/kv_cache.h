// The cache's bookkeeping as one object: a pool per group on the device and in swap space, and the prefix index.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "kv/block_pool.h"
#include "kv/block_table.h"
#include "kv/cache_geometry.h"
#include "kv/prefix_index.h"

namespace arc {

// Told when content becomes findable in this cache, and when it no longer is. For routers that send a request to where
// its prefix lies.
class KvObserver {
 public:
  virtual ~KvObserver() = default;
  // `parent` is zero for a first tile. `tokens` are valid during the call only.
  virtual void stored(int group, const Hash128& hash, const Hash128& parent, std::span<const int32_t> tokens) = 0;
  virtual void removed(int group, const Hash128& hash) = 0;
};

struct KvCacheOptions {
  bool prefix_cache = true;
  uint64_t hash_seed = 0;          // should be random per process
  KvObserver* observer = nullptr;  // outlives the cache
};

struct BlockRef {
  int group = 0;
  int32_t block = kNoBlock;
};

using PinId = uint64_t;

// One thread at a time. Blocks are numbers; no byte of any block is touched here.
class KvCache {
 public:
  // Throws Error(invalid_argument) for an impossible geometry.
  KvCache(CacheGeometry geometry, KvCacheOptions options);

  const CacheGeometry& geometry() const { return geometry_; }
  int n_groups() const { return static_cast<int>(geometry_.groups.size()); }
  const CacheGroup& group(int g) const { return geometry_.groups[g]; }
  bool is_state(int g) const { return group(g).kind == CacheGroup::Kind::state; }
  int32_t tile_tokens() const { return tile_tokens_; }

  // ---- blocks of a group

  const BlockPool& pool(int g) const { return pools_[g]; }
  int32_t n_available(int g) const { return pools_[g].n_available(); }
  // A block with one reference; the prefix cache gives up its oldest content for it. kNoBlock when none is left.
  int32_t take(int g);
  void retain(int g, int32_t block) { pools_[g].retain(block); }
  void release(int g, int32_t block) { pools_[g].release(block); }
  // Releases the table's entries from the last to the first, down to `n_left`; late tiles are thus evicted first.
  void shrink(int g, BlockTable& table, size_t n_left);

  // ---- swap space

  const BlockPool& swap_pool(int g) const { return swap_pools_[g]; }
  int32_t take_swap(int g) { return swap_pools_[g].take(); }
  void release_swap(int g, BlockTable& table);

  // ---- prefix reuse

  // The longest stored prefix of at most `max_tokens` positions that every group can serve: all tiles of full and
  // latent groups, the tiles inside the window of sliding groups, a state at exactly its end. Fills the (empty) tables,
  // with a reference on each block; returns the number of positions, a multiple of the tile. Extends `chain`.
  int32_t adopt_prefix(const PrefixContent& content, int32_t max_tokens, std::vector<Hash128>& chain,
                       std::span<BlockTable> tables);

  // Makes tiles [first_tile, n_tiles) findable; their tokens are final and their blocks full. Where an equal tile is
  // stored already the table is pointed at it instead.
  void publish(const PrefixContent& content, int32_t first_tile, int32_t n_tiles, std::vector<Hash128>& chain,
               std::span<BlockTable> tables);
  // Stores the table's state as that after `n_tiles` tiles, unless one is stored.
  void publish_state(int g, const PrefixContent& content, int32_t n_tiles, std::vector<Hash128>& chain,
                     const BlockTable& table);

  bool published(int g, int32_t block) const { return nodes_[g][block] != nullptr; }
  void unpublish(int g, int32_t block);
  const PrefixIndex& index() const { return index_; }

  // ---- blocks held from outside

  // Keeps published blocks from eviction until unpin().
  PinId pin(std::span<const BlockRef> blocks);
  void unpin(PinId id);
  const std::unordered_map<PinId, std::vector<BlockRef>>& pins() const { return pins_; }

  // A tile whose content comes from another process: takes a block in every group that keeps full tiles, findable but
  // not served before remote_arrived(). False when blocks are short or the tile is known. The parent is tile - 1.
  bool expect_remote(const PrefixContent& content, int32_t tile, std::vector<Hash128>& chain, PinId* pin);
  // Ends the wait: the tile is cached like any other, or forgotten.
  void remote_arrived(PinId pin, bool success);

 private:
  bool serves(int g, int32_t n_tiles) const;
  bool readable(int g, const PrefixNode& node) const;
  void attach(int g, PrefixNode& node, int32_t block);

  CacheGeometry geometry_;
  KvCacheOptions options_;
  int32_t tile_tokens_;
  std::vector<BlockPool> pools_, swap_pools_;
  PrefixIndex index_;
  std::vector<std::vector<PrefixNode*>> nodes_;  // per group and block: where it is published
  std::vector<PrefixNode*> path_;                // of the lookup in progress
  std::unordered_map<PinId, std::vector<BlockRef>> pins_;
  PinId next_pin_ = 1;
};

}  // namespace arc
