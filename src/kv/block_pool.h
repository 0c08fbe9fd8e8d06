// The blocks of one cache group: who holds them, which are free, and which are kept because they may be wanted again.
#pragma once

#include <cstdint>
#include <vector>

#include "kv/cache_geometry.h"

namespace arc {

// A block is *held* (references > 0), *cached* (no reference, content worth keeping, evicted least recently used
// first) or *free*. Knows nothing of content. All operations take constant time.
class BlockPool {
 public:
  // Blocks 0 to n_reserved - 1 are held for ever and never handed out.
  explicit BlockPool(int32_t n_blocks, int32_t n_reserved = 1);

  int32_t size() const { return static_cast<int32_t>(blocks_.size()); }
  // Blocks that take() can still hand out: free and cached.
  int32_t n_available() const { return n_available_; }

  // Hands out a block with one reference: a free one, else the cached one released longest ago, which then is no longer
  // worth keeping. kNoBlock when none is available.
  int32_t take();

  // Adds a reference; a cached block is revived by it.
  void retain(int32_t block);
  // Drops a reference; after the last the block is cached if its content is worth keeping, else free.
  void release(int32_t block);

  int32_t references(int32_t block) const { return blocks_[block].references; }

  // Says whether the content outlives the last reference.
  void set_keep(int32_t block, bool keep);
  bool keep(int32_t block) const { return blocks_[block].keep; }

  // The content is still on its way from another process; the block must not be read.
  void set_waiting_for_remote(int32_t block, bool waiting) { blocks_[block].waiting_for_remote = waiting; }
  bool waiting_for_remote(int32_t block) const { return blocks_[block].waiting_for_remote; }

 private:
  struct Block {
    int32_t references = 0;
    bool keep = false, waiting_for_remote = false;
    int32_t previous = kNoBlock, next = kNoBlock;  // in the list of free or of cached blocks
  };
  struct List {
    int32_t first = kNoBlock, last = kNoBlock;
  };

  void append(List& list, int32_t block);
  void remove(List& list, int32_t block);
  List& list_of(const Block& block) { return block.keep ? cached_ : free_; }

  std::vector<Block> blocks_;
  List free_, cached_;
  int32_t n_available_ = 0;
};

}  // namespace arc
