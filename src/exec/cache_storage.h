// The cache's bytes on a device, one slab per group, and one on the host for swapped blocks.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "exec/executor.h"
#include "kernels/api/kernel.h"
#include "quant/turbo.h"

namespace arc {

class CacheStorage {
 public:
  // Throws Error(resource) when the memory is not there.
  CacheStorage(const std::vector<CacheNeeds>& groups, const CacheCapacity& capacity, Device device = {});

  KvView kv(int group, int layer) const;
  StateView state(int group, int layer) const;
  int64_t n_blocks(int group) const { return device_[static_cast<size_t>(group)].n_blocks; }

  void copy(const StepCopy& copy) noexcept;
  void swap_out(const StepCopy& copy) noexcept;
  void swap_in(const StepCopy& copy) noexcept;

 private:
  // Layer-major: all blocks of a layer lie together.
  struct Slab {
    std::shared_ptr<Storage> storage;
    int64_t n_blocks = 0, layer_block_bytes = 0, n_layers = 0;
    std::byte* at(int64_t layer, int64_t block) const {
      return storage->data() + (layer * n_blocks + block) * layer_block_bytes;
    }
  };
  static Slab allocate(const CacheNeeds& needs, int64_t n_blocks, Device device);
  static void move(const Slab& from, int64_t source, const Slab& to, int64_t target) noexcept;

  std::vector<CacheNeeds> groups_;
  std::array<std::unique_ptr<TurboCodec>, kMaxCacheGroups> k_turbo_, v_turbo_;  // of tiled groups
  std::vector<Slab> device_, swap_;
};

}  // namespace arc
