// Copies the scheduler's and the cache's bookkeeping into the plain form that validate() checks.
#include <algorithm>

#include "sched/scheduler.h"

namespace arc {
namespace {

using Nodes = std::vector<const PrefixNode*>;  // by address

int32_t index_of(const Nodes& nodes, const PrefixNode* node) {
  const auto it = std::lower_bound(nodes.begin(), nodes.end(), node);
  return it != nodes.end() && *it == node ? static_cast<int32_t>(it - nodes.begin()) : -1;
}

Snapshot::Table copy_table(Snapshot& out, const BlockTable& table) {
  const auto begin = static_cast<int32_t>(out.ids.size());
  out.ids.insert(out.ids.end(), table.blocks.begin(), table.blocks.end());
  return {.first = table.first, .begin = begin, .count = static_cast<int32_t>(table.blocks.size())};
}

void copy_nodes(Snapshot& out, const Nodes& nodes) {
  for (const PrefixNode* node : nodes) {
    out.nodes.push_back({.parent = node->parent ? index_of(nodes, node->parent) : -1,
                         .n_children = node->n_children,
                         .first_block = static_cast<int32_t>(out.ids.size())});
    out.ids.insert(out.ids.end(), node->block.begin(), node->block.begin() + static_cast<int>(out.groups.size()));
  }
}

void copy_groups(Snapshot& out, const KvCache& cache) {
  out.groups.resize(static_cast<size_t>(cache.n_groups()));
  for (int g = 0; g < cache.n_groups(); ++g) {
    const BlockPool& pool = cache.pool(g);
    const BlockPool& swap = cache.swap_pool(g);
    Snapshot::Group& group = out.groups[g];
    group.is_state = cache.is_state(g);
    group.tokens_per_block = cache.group(g).tokens_per_block;
    group.window = cache.group(g).window;
    group.n_available = pool.n_available();
    group.n_swap_available = swap.n_available();
    group.blocks.resize(static_cast<size_t>(pool.size()));
    for (int32_t b = 0; b < pool.size(); ++b) {
      group.blocks[b] = {.references = pool.references(b),
                         .published = cache.published(g, b),
                         .keep = pool.keep(b),
                         .waiting_for_remote = pool.waiting_for_remote(b)};
    }
    group.swap_references.resize(static_cast<size_t>(swap.size()));
    for (int32_t b = 0; b < swap.size(); ++b) group.swap_references[b] = swap.references(b);
  }
}

}  // namespace

void Scheduler::snapshot(Snapshot& out) const {
  out.sequences.clear();
  out.tables.clear();
  out.ids.clear();
  out.nodes.clear();
  out.holds.clear();
  out.tile_tokens = cache_.tile_tokens();
  out.n_plan_tokens = plan_.n_tokens;
  out.max_plan_tokens = limits_.max_batched_tokens;
  out.n_added = stats_.n_added;
  out.n_finished = stats_.n_finished;
  copy_groups(out, cache_);

  Nodes nodes;
  for (const auto& [hash, node] : cache_.index().nodes()) nodes.push_back(&node);
  std::sort(nodes.begin(), nodes.end());
  copy_nodes(out, nodes);
  for (const auto& [id, blocks] : cache_.pins()) {
    for (const BlockRef& ref : blocks) out.holds.push_back({.group = ref.group, .block = ref.block});
  }
  for (const List* list : {&running_, &pending_}) {
    for (const Sequence* s : *list) {
      out.sequences.push_back({.id = s->id,
                               .arrival = s->arrival,
                               .status = static_cast<Snapshot::Status>(s->status),
                               .n_prompt = s->n_prompt,
                               .n_tokens = s->n_tokens(),
                               .n_computed = s->n_computed,
                               .max_len = s->max_len,
                               .n_published = s->n_published,
                               .n_chain = static_cast<int32_t>(s->chain.size()),
                               .n_unborn = s->n_unborn,
                               .first_table = static_cast<int32_t>(out.tables.size())});
      for (const BlockTable& table : s->tables) out.tables.push_back(copy_table(out, table));
      out.sequences.back().first_swap_table = static_cast<int32_t>(out.tables.size());
      for (const BlockTable& table : s->swap_tables) out.tables.push_back(copy_table(out, table));
      out.sequences.back().preempted = s->reservation.kind == Reservation::Kind::preempt_swap;
      if (s->reservation.kind != Reservation::Kind::compute) continue;
      for (int g = 0; g < cache_.n_groups(); ++g) {
        if (const int32_t block = s->reservation.replaced[g]; block != kNoBlock) {
          out.holds.push_back({.group = g, .block = block});
        }
      }
    }
  }
  for (const PlannedSequence& planned : plan_.sequences) {
    for (Snapshot::Sequence& sequence : out.sequences) {
      if (sequence.id != planned.sequence->id) continue;
      sequence.n_planned = std::max(planned.n_tokens, planned.lease_tokens);
    }
  }
}

}  // namespace arc
