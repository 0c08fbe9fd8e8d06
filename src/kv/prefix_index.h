// Finds stored blocks by the content of the whole prefix that ends with them.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "kv/cache_geometry.h"
#include "kv/hash128.h"

namespace arc {

// Positions of a prompt that hold injected embeddings; `hash` names the whole item (an image, a clip).
struct MediaSpan {
  int32_t first_position = 0, n_positions = 0;
  Hash128 hash{};
};

// All that decides what a prefix's cache holds. `scope` separates what must not be shared: adapter, cache salt.
struct PrefixContent {
  std::span<const int32_t> tokens;
  std::span<const MediaSpan> media;
  std::span<const int32_t> scope;
};

// One sealed tile after one certain prefix. Lives while it has a block in some group, or a child.
struct PrefixNode {
  Hash128 hash{};                // of (parent's hash, content)
  PrefixNode* parent = nullptr;  // null for a first tile
  int32_t n_children = 0;
  std::vector<int32_t> content;                  // the tile's tokens, then its extra keys
  std::array<int32_t, kMaxCacheGroups> block{};  // per group, or kNoBlock

  bool used() const;
};

class PrefixIndex {
 public:
  // `seed` should differ from process to process, so that nobody outside can aim at collisions.
  PrefixIndex(int32_t tile_tokens, uint64_t seed) : tile_tokens_(tile_tokens), seed_(seed) {}

  // Appends to `chain` the hashes of tiles chain.size() to n_tiles - 1, all of which must be filled.
  void extend_chain(const PrefixContent& content, int32_t n_tiles, std::vector<Hash128>& chain);

  // The node of `tile` below `parent` (the node of the tile before it), or null. Content is compared, not only hashes.
  PrefixNode* find(const PrefixContent& content, std::span<const Hash128> chain, int32_t tile,
                   const PrefixNode* parent);

  // The node of `tile`, made with its ancestors if need be. Null if another prefix has the same hash.
  PrefixNode* ensure(const PrefixContent& content, std::span<const Hash128> chain, int32_t tile);

  // Takes the group's block away from the node, and removes nodes that nothing needs any more.
  void detach(PrefixNode& node, int group);

  std::span<const int32_t> tokens(const PrefixNode& node) const {
    return std::span(node.content).first(static_cast<size_t>(tile_tokens_));
  }
  const std::unordered_map<Hash128, PrefixNode, Hash128Hasher>& nodes() const { return nodes_; }

 private:
  const std::vector<int32_t>& tile_content(const PrefixContent& content, int32_t tile);

  int32_t tile_tokens_;
  uint64_t seed_;
  std::unordered_map<Hash128, PrefixNode, Hash128Hasher> nodes_;
  std::vector<int32_t> scratch_;
};

}  // namespace arc
