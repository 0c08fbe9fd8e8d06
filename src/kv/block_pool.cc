#include "kv/block_pool.h"

#include "base/check.h"

namespace arc {

BlockPool::BlockPool(int32_t n_blocks, int32_t n_reserved) : blocks_(n_blocks) {
  for (int32_t b = 0; b < n_blocks; ++b) {
    if (b < n_reserved) {
      blocks_[b].references = 1;
    } else {
      append(free_, b);
    }
  }
}

int32_t BlockPool::take() {
  List& list = free_.first != kNoBlock ? free_ : cached_;
  const int32_t block = list.first;
  if (block == kNoBlock) return kNoBlock;
  remove(list, block);
  blocks_[block].references = 1;
  blocks_[block].keep = false;
  return block;
}

void BlockPool::retain(int32_t block) {
  Block& b = blocks_[block];
  if (b.references == 0) {
    ARC_CHECK(b.keep) << "block " << block << " is free";
    remove(cached_, block);
  }
  ++b.references;
}

void BlockPool::release(int32_t block) {
  Block& b = blocks_[block];
  ARC_CHECK(b.references > 0) << "block " << block << " is not held";
  if (--b.references == 0) append(list_of(b), block);
}

void BlockPool::set_keep(int32_t block, bool keep) {
  Block& b = blocks_[block];
  if (b.keep == keep) return;
  if (b.references == 0) remove(list_of(b), block);
  b.keep = keep;
  if (b.references == 0) append(list_of(b), block);
}

void BlockPool::append(List& list, int32_t block) {
  blocks_[block].previous = list.last;
  blocks_[block].next = kNoBlock;
  (list.last == kNoBlock ? list.first : blocks_[list.last].next) = block;
  list.last = block;
  ++n_available_;
}

void BlockPool::remove(List& list, int32_t block) {
  const Block& b = blocks_[block];
  (b.previous == kNoBlock ? list.first : blocks_[b.previous].next) = b.next;
  (b.next == kNoBlock ? list.last : blocks_[b.next].previous) = b.previous;
  --n_available_;
}

}  // namespace arc
