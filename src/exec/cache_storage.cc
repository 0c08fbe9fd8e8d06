#include "exec/cache_storage.h"

#include "tensor/device_memory.h"

namespace arc {

CacheStorage::CacheStorage(const std::vector<CacheNeeds>& groups, const CacheCapacity& capacity, Device device)
    : groups_(groups) {
  for (size_t g = 0; g < groups.size(); ++g) {
    const KvPolicy& policy = groups[g].policy;
    if (policy.tiled()) {
      k_turbo_[g] = std::make_unique<TurboCodec>(KvRole::key, groups[g].k_dim, policy.k, policy.seed);
      v_turbo_[g] = std::make_unique<TurboCodec>(KvRole::value, groups[g].v_dim, policy.v, policy.seed);
    }
    device_.push_back(allocate(groups[g], capacity.blocks[g], device));
    swap_.push_back(allocate(groups[g], capacity.swap_blocks[g], {}));
  }
}

CacheStorage::Slab CacheStorage::allocate(const CacheNeeds& needs, int64_t n_blocks, Device device) {
  return {.storage = Storage::allocate(static_cast<size_t>(needs.bytes_per_block() * n_blocks), device),
          .n_blocks = n_blocks,
          .layer_block_bytes = needs.layer_block_bytes(),
          .n_layers = static_cast<int64_t>(needs.layers.size())};
}

void CacheStorage::move(const Slab& from, int64_t source, const Slab& to, int64_t target) noexcept {
  for (int64_t l = 0; l < from.n_layers; ++l) {
    copy_bytes(to.at(l, target), to.storage->device(), from.at(l, source), from.storage->device(),
               static_cast<size_t>(from.layer_block_bytes));
  }
}

void CacheStorage::copy(const StepCopy& c) noexcept {
  move(device_[c.group], c.from, device_[c.group], c.to);
}
void CacheStorage::swap_out(const StepCopy& c) noexcept {
  move(device_[c.group], c.from, swap_[c.group], c.to);
}
void CacheStorage::swap_in(const StepCopy& c) noexcept {
  move(swap_[c.group], c.from, device_[c.group], c.to);
}

KvView CacheStorage::kv(int group, int layer) const {
  const CacheNeeds& needs = groups_[group];
  const KvLayout at = kv_layout(needs.policy, needs.k_dim, needs.v_dim);
  return {.policy = needs.policy,
          .data = device_[group].at(layer, 0),
          .block_bytes = needs.layer_block_bytes(),
          .head_bytes = at.head_bytes,
          .v_offset_bytes = at.v_offset,
          .tokens_per_block = needs.policy.tile_tokens,
          .k_scales_bytes = at.k_scales,
          .v_scales_bytes = at.v_scales,
          .k_turbo = k_turbo_[group].get(),
          .v_turbo = v_turbo_[group].get()};
}

StateView CacheStorage::state(int group, int layer) const {
  return {.data = device_[group].at(layer, 0), .slot_bytes = groups_[group].state_bytes};
}

}  // namespace arc
