#include "kv/kv_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace arc {
namespace {

using Kind = CacheGroup::Kind;

CacheGeometry checked(CacheGeometry geometry) {
  check_geometry(geometry);
  return geometry;
}

}  // namespace

KvCache::KvCache(CacheGeometry geometry, KvCacheOptions options)
    : geometry_(checked(std::move(geometry))),
      options_(options),
      tile_tokens_(geometry_.tile_tokens()),
      index_(tile_tokens_, options.hash_seed) {
  for (const CacheGroup& group : geometry_.groups) {
    pools_.emplace_back(group.n_blocks);
    swap_pools_.emplace_back(group.n_swap_blocks, 0);
    nodes_.emplace_back(group.n_blocks, nullptr);
  }
}

// ---- blocks --------------------------------------------------------------------------------------------------------

int32_t KvCache::take(int g) {
  const int32_t block = pools_[g].take();
  if (block != kNoBlock && published(g, block)) unpublish(g, block);
  return block;
}

void KvCache::shrink(int g, BlockTable& table, size_t n_left) {
  while (table.blocks.size() > n_left) {
    release(g, table.blocks.back());
    table.blocks.pop_back();
  }
}

void KvCache::release_swap(int g, BlockTable& table) {
  for (const int32_t block : table.blocks) swap_pools_[g].release(block);
  table.blocks.clear();
  table.first = 0;
}

// ---- prefix reuse --------------------------------------------------------------------------------------------------

bool KvCache::readable(int g, const PrefixNode& node) const {
  return node.block[g] != kNoBlock && !pools_[g].waiting_for_remote(node.block[g]);
}

// Whether the group can continue after the first `n_tiles` nodes of path_. The walk has seen to full and latent groups.
bool KvCache::serves(int g, int32_t n_tiles) const {
  if (is_state(g)) {
    return n_tiles * tile_tokens_ % group(g).tokens_per_block == 0 && readable(g, *path_[n_tiles - 1]);
  }
  if (group(g).kind != Kind::sliding) return true;
  for (int32_t t = first_needed_block(group(g), n_tiles * tile_tokens_); t < n_tiles; ++t) {
    if (!readable(g, *path_[t])) return false;
  }
  return true;
}

int32_t KvCache::adopt_prefix(const PrefixContent& content, int32_t max_tokens, std::vector<Hash128>& chain,
                              std::span<BlockTable> tables) {
  if (!options_.prefix_cache) return 0;
  const auto every_group = [this](auto&& condition) {
    for (int g = 0; g < n_groups(); ++g) {
      if (!condition(g)) return false;
    }
    return true;
  };
  path_.clear();
  for (int32_t t = 0; t < max_tokens / tile_tokens_; ++t) {
    index_.extend_chain(content, t + 1, chain);
    PrefixNode* node = index_.find(content, chain, t, path_.empty() ? nullptr : path_.back());
    const auto unbroken = [&](int g) { return is_state(g) || group(g).kind == Kind::sliding || readable(g, *node); };
    if (!node || !every_group(unbroken)) break;
    path_.push_back(node);
  }
  int32_t n_tiles = static_cast<int32_t>(path_.size());
  while (n_tiles > 0 && !every_group([&](int g) { return serves(g, n_tiles); })) --n_tiles;
  if (n_tiles == 0) return 0;
  for (int g = 0; g < n_groups(); ++g) {
    const int32_t begin = is_state(g) ? n_tiles - 1 : first_needed_block(group(g), n_tiles * tile_tokens_);
    tables[g].first = is_state(g) ? 0 : begin;
    for (int32_t t = begin; t < n_tiles; ++t) {
      retain(g, path_[t]->block[g]);
      tables[g].blocks.push_back(path_[t]->block[g]);
    }
  }
  return n_tiles * tile_tokens_;
}

void KvCache::attach(int g, PrefixNode& node, int32_t block) {
  node.block[g] = block;
  nodes_[g][block] = &node;
  pools_[g].set_keep(block, true);
  if (options_.observer) {
    options_.observer->stored(g, node.hash, node.parent ? node.parent->hash : Hash128{}, index_.tokens(node));
  }
}

void KvCache::unpublish(int g, int32_t block) {
  PrefixNode& node = *std::exchange(nodes_[g][block], nullptr);
  if (options_.observer) options_.observer->removed(g, node.hash);
  pools_[g].set_keep(block, false);
  index_.detach(node, g);
}

void KvCache::publish(const PrefixContent& content, int32_t first_tile, int32_t n_tiles, std::vector<Hash128>& chain,
                      std::span<BlockTable> tables) {
  if (!options_.prefix_cache) return;
  index_.extend_chain(content, n_tiles, chain);
  for (int32_t t = first_tile; t < n_tiles; ++t) {
    for (int g = 0; g < n_groups(); ++g) {
      if (is_state(g) || !outlives_tile(group(g)) || t < tables[g].first) continue;
      PrefixNode* node = index_.ensure(content, chain, t);
      if (!node) return;
      int32_t& block = tables[g].at(t);
      const int32_t stored = node->block[g];
      if (stored == kNoBlock) {
        attach(g, *node, block);
      } else if (stored != block && readable(g, *node)) {
        retain(g, stored);
        release(g, block);
        block = stored;
      }
    }
  }
}

void KvCache::publish_state(int g, const PrefixContent& content, int32_t n_tiles, std::vector<Hash128>& chain,
                            const BlockTable& table) {
  if (!options_.prefix_cache) return;
  ARC_CHECK(!published(g, table.blocks[0])) << "a stored state was written to";
  index_.extend_chain(content, n_tiles, chain);
  PrefixNode* node = index_.ensure(content, chain, n_tiles - 1);
  if (node && node->block[g] == kNoBlock) attach(g, *node, table.blocks[0]);
}

// ---- blocks held from outside --------------------------------------------------------------------------------------

PinId KvCache::pin(std::span<const BlockRef> blocks) {
  for (const BlockRef& ref : blocks) {
    ARC_CHECK(published(ref.group, ref.block)) << "only published blocks can be pinned";
    retain(ref.group, ref.block);
  }
  pins_[next_pin_].assign(blocks.begin(), blocks.end());
  return next_pin_++;
}

void KvCache::unpin(PinId id) {
  const auto it = pins_.find(id);
  ARC_CHECK(it != pins_.end()) << "pin " << id << " is unknown";
  for (const BlockRef& ref : it->second) release(ref.group, ref.block);
  pins_.erase(it);
}

bool KvCache::expect_remote(const PrefixContent& content, int32_t tile, std::vector<Hash128>& chain, PinId* pin) {
  index_.extend_chain(content, tile + 1, chain);
  const auto takes_part = [this](int g) { return !is_state(g) && outlives_tile(group(g)); };
  for (int g = 0; g < n_groups(); ++g) {
    if (takes_part(g) && n_available(g) == 0) return false;
  }
  std::vector<BlockRef> blocks;
  for (int g = 0; g < n_groups(); ++g) {
    if (takes_part(g)) blocks.push_back({.group = g, .block = take(g)});
  }
  if (blocks.empty()) return false;
  PrefixNode* node = index_.ensure(content, chain, tile);
  if (!node || std::any_of(node->block.begin(), node->block.end(), [](int32_t b) { return b != kNoBlock; })) {
    for (const BlockRef& ref : blocks) release(ref.group, ref.block);
    return false;
  }
  for (const BlockRef& ref : blocks) {
    pools_[ref.group].set_waiting_for_remote(ref.block, true);
    attach(ref.group, *node, ref.block);
  }
  pins_[next_pin_] = std::move(blocks);
  *pin = next_pin_++;
  return true;
}

void KvCache::remote_arrived(PinId id, bool success) {
  const auto it = pins_.find(id);
  ARC_CHECK(it != pins_.end()) << "pin " << id << " is unknown";
  for (const BlockRef& ref : it->second) {
    pools_[ref.group].set_waiting_for_remote(ref.block, false);
    if (!success) unpublish(ref.group, ref.block);
  }
  unpin(id);
}

}  // namespace arc
