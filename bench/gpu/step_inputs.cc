#include "gpu/step_inputs.h"

#include <algorithm>

namespace arc::bench {

BenchStep::BenchStep(const Plan& plan, const StepShape& shape, OpenTiles open_tiles)
    : n_groups_(plan.groups.size()), sampling_(static_cast<size_t>(shape.batch), SamplingRow{.temperature = 0.0f}) {
  for (int s = 0; s < shape.batch; ++s) {
    for (int i = 0; i < shape.tokens; ++i) {
      tokens_.push_back(1000 + 7 * s + i);
      positions_.push_back(shape.start + i);
    }
    q_start_.push_back(static_cast<int32_t>(tokens_.size()));
    seq_lens_.push_back(shape.start + shape.tokens);
    rows_.push_back(q_start_.back() - 1);
  }
  const auto block = [&](bool open, int s, int tile) {
    if (!open) return 1 + s * shape.tiles() + tile;
    if (open_tiles == OpenTiles::ring) return 1 + s * kOpenRing + tile % kOpenRing;
    return 1 + std::max(0, kOpenRing + tile - shape.start / kTileTokens);
  };
  inputs_ = {.n_seqs = shape.batch,
             .n_tokens = static_cast<int32_t>(tokens_.size()),
             .n_rows = shape.batch,
             .n_prompts = shape.tokens > 1 ? shape.batch : 0,
             .tokens = tokens_.data(),
             .positions = positions_.data(),
             .q_start = q_start_.data(),
             .seq_lens = seq_lens_.data()};
  inputs_.rows = rows_.data();
  inputs_.sampling = sampling_.data();
  for (size_t g = 0; g < n_groups_; ++g) {
    Group& group = groups_[g];
    group.table.resize(static_cast<size_t>(shape.batch) * kMaxTiles);
    group.slots.resize(tokens_.size());
    for (int s = 0; s < shape.batch; ++s) {
      for (int i = 0; i < shape.tiles(); ++i)
        group.table[static_cast<size_t>(s * kMaxTiles + i)] = block(plan.groups[g].kind == CacheKind::open, s, i);
    }
    inputs_.groups[g] = {.block_table = group.table.data(), .table_stride = kMaxTiles, .slots = group.slots.data()};
  }
  set_slots();
}

void BenchStep::set_slots() {
  for (size_t g = 0; g < n_groups_; ++g) {
    size_t sequence = 0;
    for (size_t t = 0; t < tokens_.size(); ++t) {
      if (static_cast<int32_t>(t) == q_start_[sequence + 1]) ++sequence;
      const int position = positions_[t];
      const int64_t block = groups_[g].table[sequence * kMaxTiles + static_cast<size_t>(position / kTileTokens)];
      groups_[g].slots[t] = block * kTileTokens + position % kTileTokens;
    }
    inputs_.groups[g].slots = groups_[g].slots.data();
  }
}

void BenchStep::advance(std::span<const int32_t> tokens) {
  std::ranges::copy(tokens, tokens_.begin());
  for (int32_t& position : positions_) ++position;
  for (int32_t& length : seq_lens_) ++length;
  set_slots();
}

}  // namespace arc::bench
