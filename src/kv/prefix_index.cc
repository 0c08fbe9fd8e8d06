#include "kv/prefix_index.h"

#include <algorithm>

namespace arc {
namespace {

void append_hash(std::vector<int32_t>& out, const Hash128& hash) {
  for (const uint64_t half : {hash.low, hash.high}) {
    out.push_back(static_cast<int32_t>(half));
    out.push_back(static_cast<int32_t>(half >> 32));
  }
}

}  // namespace

bool PrefixNode::used() const {
  return n_children > 0 || std::any_of(block.begin(), block.end(), [](int32_t b) { return b != kNoBlock; });
}

const std::vector<int32_t>& PrefixIndex::tile_content(const PrefixContent& content, int32_t tile) {
  const int32_t begin = tile * tile_tokens_, end = begin + tile_tokens_;
  scratch_.assign(content.tokens.begin() + begin, content.tokens.begin() + end);
  for (const MediaSpan& span : content.media) {
    if (span.first_position >= end || span.first_position + span.n_positions <= begin) continue;
    scratch_.push_back(span.first_position - begin);
    append_hash(scratch_, span.hash);
  }
  if (tile == 0) scratch_.insert(scratch_.end(), content.scope.begin(), content.scope.end());
  return scratch_;
}

void PrefixIndex::extend_chain(const PrefixContent& content, int32_t n_tiles, std::vector<Hash128>& chain) {
  while (static_cast<int32_t>(chain.size()) < n_tiles) {
    const Hash128 parent = chain.empty() ? Hash128{} : chain.back();
    tile_content(content, static_cast<int32_t>(chain.size()));
    append_hash(scratch_, parent);
    chain.push_back(hash128(scratch_, seed_));
  }
}

PrefixNode* PrefixIndex::find(const PrefixContent& content, std::span<const Hash128> chain, int32_t tile,
                              const PrefixNode* parent) {
  const auto it = nodes_.find(chain[tile]);
  if (it == nodes_.end() || it->second.parent != parent || it->second.content != tile_content(content, tile)) {
    return nullptr;
  }
  return &it->second;
}

PrefixNode* PrefixIndex::ensure(const PrefixContent& content, std::span<const Hash128> chain, int32_t tile) {
  int32_t t = tile;
  while (t >= 0 && !nodes_.contains(chain[t])) --t;
  PrefixNode* node = t < 0 ? nullptr : &nodes_.at(chain[t]);
  if (node && node->content != tile_content(content, t)) return nullptr;
  while (++t <= tile) {
    PrefixNode& child = nodes_[chain[t]];
    child = {.hash = chain[t], .parent = node, .content = tile_content(content, t)};
    child.block.fill(kNoBlock);
    if (node) ++node->n_children;
    node = &child;
  }
  return node;
}

void PrefixIndex::detach(PrefixNode& first, int group) {
  first.block[group] = kNoBlock;
  for (PrefixNode* node = &first; node && !node->used();) {
    PrefixNode* parent = node->parent;
    if (parent) --parent->n_children;
    nodes_.erase(Hash128(node->hash));
    node = parent;
  }
}

}  // namespace arc
