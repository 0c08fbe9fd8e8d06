// The planning half of the scheduler: everything here only reserves.
#include <algorithm>

#include "base/check.h"
#include "sched/policy.h"
#include "sched/scheduler.h"

namespace arc {
namespace {

using Kind = Reservation::Kind;

bool older(const Sequence& a, const Sequence& b) {
  return std::pair(a.arrival, a.id) < std::pair(b.arrival, b.id);
}

bool untouched(const Sequence& sequence) {
  return sequence.reservation.kind == Kind::none;
}

}  // namespace

const StepPlan& Scheduler::plan_step(const StepLimits& limits) noexcept {
  ARC_CHECK(!in_flight_) << "the last step was neither committed nor aborted";
  limits_ = limits;
  freed_next_ = {};
  prompt_tokens_left_ = n_decoding() > 0 ? limits.max_prompt_tokens : limits.max_batched_tokens;
  for (Sequence* sequence : running_) {
    if (std::exchange(sequence->preempt_requested, false)) take_off(*sequence);
  }
  plan_oldest();
  plan_decoding();
  plan_prefill();
  if (preempted_.empty()) plan_pending();
  plan_leases();
  const auto before = [](const PlannedSequence& a, const PlannedSequence& b) {
    return a.is_prefill != b.is_prefill ? b.is_prefill : older(*a.sequence, *b.sequence);
  };
  if (!std::ranges::is_sorted(plan_.sequences, before)) std::ranges::sort(plan_.sequences, before);
  plan_.idle = sequences_.empty() ? StepOutcome::no_work : StepOutcome::capacity_deferred;
  in_flight_ = !plan_.empty();
  return plan_;
}

// ---- who runs ------------------------------------------------------------------------------------------------------

// The oldest sequence comes before all others unless it decodes (then it is the first of those), and gets at least one
// token. It may be in the queue when it was preempted by hand or lost its state.
void Scheduler::plan_oldest() {
  const auto running = std::find_if(running_.begin(), running_.end(), [](Sequence* s) { return untouched(*s); });
  Sequence* oldest = running == running_.end() ? nullptr : *running;
  const int32_t n = std::max(1, std::min(limits_.max_batched_tokens - n_decoding(), prompt_tokens_left_));
  if (!pending_.empty() && oldest && older(*pending_.front(), *oldest)) {
    oldest = pending_.front();
    const bool swapped = oldest->status == SequenceStatus::swapped;
    if (!(swapped ? resume(*oldest, n, 0) : start(*oldest, n, 0))) make_room(*oldest);
  } else if (oldest && !oldest->decoding()) {
    if (!plan_running(*oldest, n)) make_room(*oldest);
  }
}

// Decoding sequences that are not planned yet and could be.
int32_t Scheduler::n_decoding() const {
  const auto n =
      std::count_if(running_.begin(), running_.end(), [](const Sequence* s) { return untouched(*s) && s->decoding(); });
  return std::min(static_cast<int32_t>(n), limits_.max_seqs);
}

// Each gets one token, and more for its drafts when the others' are left.
void Scheduler::plan_decoding() {
  int32_t n_others = n_decoding();
  for (Sequence* sequence : running_) {
    if (!untouched(*sequence) || !sequence->decoding()) continue;
    if (budget_left() < 1 || places_left() < 1) return;
    n_others = std::max(0, n_others - 1);
    if (!plan_running(*sequence, std::max(1, budget_left() - n_others))) make_room(*sequence);
  }
}

void Scheduler::plan_prefill() {
  for (Sequence* sequence : running_) {
    if (untouched(*sequence) && !sequence->decoding()) plan_running(*sequence, prompt_budget_left());
  }
}

// Strictly in order: when the first cannot start, none behind it does.
void Scheduler::plan_pending() {
  for (Sequence* sequence : pending_) {
    if (!untouched(*sequence)) continue;
    const int32_t n = answers_running();
    if (n > 0 && n + 1 + sequence->n_unborn > limits_.max_seqs) return;
    const int32_t headroom = admission_headroom(n);
    const bool swapped = sequence->status == SequenceStatus::swapped;
    const int32_t most = swapped && sequence->decoding() ? budget_left() : prompt_budget_left();
    if (!(swapped ? resume(*sequence, most, headroom) : start(*sequence, most, headroom))) return;
  }
}

// Answers that run, will after this step, or will start when their prompt is computed.
int32_t Scheduler::answers_running() const {
  int32_t n = 0;
  for (const Sequence* sequence : running_) n += 1 + sequence->n_unborn;
  for (const PlannedSequence& planned : plan_.sequences) {
    if (planned.sequence->status != SequenceStatus::running) n += 1 + planned.sequence->n_unborn;
  }
  return n;
}

void Scheduler::plan_leases() {
  const bool alike = std::all_of(plan_.sequences.begin(), plan_.sequences.end(), [](const PlannedSequence& planned) {
    return !planned.is_prefill && planned.n_drafts == 0;
  });
  if (!alike || limits_.lease_tokens <= 1) return;
  for (PlannedSequence& planned : plan_.sequences) {
    Sequence& sequence = own(planned);
    // The token that outgrows the original context is a lease's last.
    const bool may_switch = sequence.rope_switch > 0 && !sequence.switched;
    const int32_t end = may_switch ? std::min(sequence.max_len, sequence.rope_switch + 1) : sequence.max_len;
    const int32_t wanted = lease_tokens(planned.first_position, limits_.lease_tokens, end - sequence.n_tokens(),
                                        cache_.geometry().checkpoint_tokens());
    planned.lease_tokens = std::max(1, fit_tokens(sequence, wanted));
    grow_tables(sequence, planned.lease_tokens);
  }
}

// ---- one sequence --------------------------------------------------------------------------------------------------

// False when not even one token fits in the blocks, places and tokens left.
bool Scheduler::plan_running(Sequence& sequence, int32_t max_tokens) {
  if (max_tokens < 1 || places_left() < 1 || fit_tokens(sequence, 1) < 1) return false;
  begin_reservation(sequence);
  reserve_chunk(sequence, max_tokens);
  return true;
}

// Admits a waiting sequence when all it has to compute fits (not only the first chunk), with what the prefix cache
// holds.
bool Scheduler::start(Sequence& sequence, int32_t max_tokens, int32_t headroom) {
  const int32_t least = sequence.whole ? sequence.target() : 1;
  if (max_tokens < least || places_left() < 1) return false;
  begin_reservation(sequence);
  const int32_t max_cached =
      sequence.whole ? 0 : std::min(sequence.target() - 1, sequence.all_rows ? sequence.n_rows : sequence.target());
  sequence.n_computed = cache_.adopt_prefix(sequence.content(), max_cached, sequence.chain, sequence.tables);
  sequence.n_published = sequence.n_computed / cache_.tile_tokens();
  for (int g = 0; g < cache_.n_groups(); ++g) {
    const BlockTable& table = sequence.tables[g];
    const int32_t most = peak_blocks(cache_.group(g), sequence.target()) - static_cast<int32_t>(table.blocks.size());
    const int32_t need = cache_.is_state(g) ? blocks_needed(sequence, g) : std::max(most, 0) + headroom;
    if (need <= cache_.n_available(g)) continue;
    give_back(sequence);
    return false;
  }
  reserve_chunk(sequence, max_tokens);
  return true;
}

// Brings a swapped sequence back when its blocks and its next token fit.
bool Scheduler::resume(Sequence& sequence, int32_t max_tokens, int32_t headroom) {
  if (max_tokens < 1 || places_left() < 1) return false;
  for (int g = 0; g < cache_.n_groups(); ++g) {
    const BlockTable& swapped = sequence.swap_tables[g];
    const int32_t end = blocks_for_tokens(sequence.n_computed + 1, cache_.group(g).tokens_per_block);
    const int32_t need = cache_.is_state(g) ? 1 : end - swapped.first + headroom;
    if (need > cache_.n_available(g)) return false;
  }
  begin_reservation(sequence);
  for (int g = 0; g < cache_.n_groups(); ++g) {
    const BlockTable& swapped = sequence.swap_tables[g];
    sequence.tables[g].first = swapped.first;
    for (const int32_t source : swapped.blocks) {
      const int32_t target = cache_.take(g);
      sequence.tables[g].blocks.push_back(target);
      plan_.swap_ins.push_back({.group = g, .source = source, .target = target});
    }
  }
  reserve_chunk(sequence, max_tokens);
  return true;
}

// Plans as many tokens as are allowed and fit; the caller has made sure of one.
void Scheduler::reserve_chunk(Sequence& sequence, int32_t max_tokens) {
  const int32_t first = sequence.n_computed;
  if (sequence.decoding()) {
    const int32_t n_drafts = draft_tokens(first, static_cast<int32_t>(sequence.drafts.size()),
                                          sequence.max_len - sequence.n_tokens(), cache_.tile_tokens());
    const int32_t wanted = std::min(1 + n_drafts, max_tokens), n = wanted > 1 ? fit_tokens(sequence, wanted) : 1;
    reserve(sequence, n, n - 1);
  } else {
    const int32_t n_left = sequence.target() - first;
    const int32_t n_fit = fit_tokens(sequence, std::min(n_left, max_tokens));
    reserve(sequence, chunk_tokens(first, n_left, n_fit, cache_.geometry().checkpoint_tokens()), 0);
  }
}

void Scheduler::begin_reservation(Sequence& sequence) {
  Reservation& reservation = sequence.reservation;
  for (int g = 0; g < cache_.n_groups(); ++g) {
    reservation.n_blocks_before[g] = static_cast<int32_t>(sequence.tables[g].blocks.size());
    reservation.replaced[g] = kNoBlock;
  }
}

void Scheduler::reserve(Sequence& sequence, int32_t n_tokens, int32_t n_drafts) {
  PlannedSequence planned{.sequence = &sequence,
                          .first_position = sequence.n_computed,
                          .n_tokens = n_tokens,
                          .n_drafts = n_drafts,
                          .is_prefill = !sequence.decoding() || sequence.n_computed < sequence.n_prompt};
  const int32_t end = planned.first_position + n_tokens;
  if (sequence.all_rows) {
    planned.n_rows = std::max(0, end - std::max(planned.first_position, sequence.n_rows));
  } else if (end - n_drafts == sequence.n_tokens()) {
    planned.n_rows = 1 + n_drafts;
  }
  sequence.drafts.resize(static_cast<size_t>(n_drafts));
  reserve_write_access(sequence, planned);
  grow_tables(sequence, n_tokens);
  sequence.reservation.kind = Kind::compute;
  plan_.n_tokens += planned.n_tokens;
  if (planned.is_prefill) prompt_tokens_left_ -= planned.n_tokens;
  plan_.n_rows += planned.n_rows;
  plan_.sequences.push_back(planned);
}

// Sees to it that what the step writes to is the sequence's alone: a shared block is copied; a shared or stored state
// is read where it is and written elsewhere. A state that is only stored is overwritten when no other block is left.
void Scheduler::reserve_write_access(Sequence& sequence, PlannedSequence& planned) {
  Reservation& reservation = sequence.reservation;
  for (int g = 0; g < cache_.n_groups(); ++g) {
    BlockTable& table = sequence.tables[g];
    if (cache_.is_state(g)) {
      planned.state_read[g] = table.blocks.empty() ? kNoBlock : table.blocks[0];
      if (table.blocks.empty()) {
        table.blocks.push_back(cache_.take(g));
        continue;
      }
      const bool shared = cache_.pool(g).references(table.blocks[0]) > 1;
      const bool stored = cache_.published(g, table.blocks[0]);
      if (stored && !shared && cache_.n_available(g) == 0) cache_.unpublish(g, table.blocks[0]);
      if (!cache_.published(g, table.blocks[0]) && !shared) continue;
      reservation.replaced_at[g] = 0;
      reservation.replaced[g] = std::exchange(table.blocks[0], cache_.take(g));
    } else if (table_state(sequence, g).must_copy) {
      const int32_t index = sequence.n_computed / cache_.group(g).tokens_per_block;
      reservation.replaced_at[g] = index;
      reservation.replaced[g] = std::exchange(table.at(index), cache_.take(g));
      plan_.copies.push_back({.group = g, .source = reservation.replaced[g], .target = table.at(index)});
    }
  }
}

void Scheduler::grow_tables(Sequence& sequence, int32_t n_tokens) {
  for (int g = 0; g < cache_.n_groups(); ++g) {
    if (cache_.is_state(g)) continue;
    const int32_t end = blocks_for_tokens(sequence.n_computed + n_tokens, cache_.group(g).tokens_per_block);
    while (sequence.tables[g].end() < end) sequence.tables[g].blocks.push_back(cache_.take(g));
  }
}

// ---- blocks --------------------------------------------------------------------------------------------------------

TableState Scheduler::table_state(const Sequence& sequence, int g) const {
  const BlockTable& table = sequence.tables[g];
  const int32_t tokens_per_block = cache_.group(g).tokens_per_block;
  const int32_t index = sequence.n_computed / tokens_per_block;
  const bool partial = sequence.n_computed % tokens_per_block != 0;
  return {.end = table.end(),
          .n_computed = sequence.n_computed,
          .must_copy = partial && cache_.pool(g).references(table.at(index)) > 1};
}

// Blocks to take for one more token.
int32_t Scheduler::blocks_needed(const Sequence& sequence, int g) const {
  if (!cache_.is_state(g)) return blocks_to_take(cache_.group(g), table_state(sequence, g), 1);
  const BlockTable& table = sequence.tables[g];
  return table.blocks.empty() || cache_.pool(g).references(table.blocks[0]) > 1 ? 1 : 0;
}

// The largest number of tokens, up to `n_tokens`, that the available blocks allow.
int32_t Scheduler::fit_tokens(const Sequence& sequence, int32_t n_tokens) const {
  for (int g = 0; g < cache_.n_groups(); ++g) {
    const int32_t n_available = cache_.n_available(g);
    if (!cache_.is_state(g)) {
      n_tokens = tokens_that_fit(cache_.group(g), table_state(sequence, g), n_tokens, n_available);
    } else if (blocks_needed(sequence, g) > n_available) {
      return 0;
    }
  }
  return n_tokens;
}

// Preempts, youngest first, until the next plan will have blocks for the sequence or nothing younger is left.
void Scheduler::make_room(const Sequence& sequence) {
  GroupCounts shortage{};
  for (int g = 0; g < cache_.n_groups(); ++g) {
    const bool running = sequence.status == SequenceStatus::running;
    const int32_t need = running ? blocks_needed(sequence, g) : peak_blocks(cache_.group(g), sequence.target());
    shortage[g] = std::max(0, need - cache_.n_available(g));
  }
  const auto short_of = [&] {
    for (int g = 0; g < cache_.n_groups(); ++g) {
      if (shortage[g] > freed_next_[g]) return true;
    }
    return false;
  };
  while (short_of()) {
    Sequence* victim = youngest_after(sequence);
    if (!victim) return;
    take_off(*victim);
  }
  for (int g = 0; g < cache_.n_groups(); ++g) freed_next_[g] -= shortage[g];
}

Sequence* Scheduler::youngest_after(const Sequence& sequence) const {
  for (auto it = running_.rbegin(); it != running_.rend() && older(sequence, **it); ++it) {
    if (untouched(**it)) return *it;
  }
  return nullptr;
}

// Plans a preemption: to swap space if that has room, else to be computed anew.
void Scheduler::take_off(Sequence& sequence) {
  GroupCounts n_blocks{};
  bool swap = sequence.n_computed > 0;
  for (int g = 0; g < cache_.n_groups(); ++g) {
    const int32_t end = blocks_for_tokens(sequence.n_computed, cache_.group(g).tokens_per_block);
    n_blocks[g] = cache_.is_state(g) ? 1 : end - sequence.tables[g].first;
    swap = swap && n_blocks[g] <= cache_.swap_pool(g).n_available();
  }
  for (int g = 0; g < cache_.n_groups(); ++g) {
    const BlockTable& table = sequence.tables[g];
    for (const int32_t block : table.blocks) freed_next_[g] += cache_.pool(g).references(block) == 1;
    if (!swap) continue;
    sequence.swap_tables[g].first = table.first;
    for (int32_t i = 0; i < n_blocks[g]; ++i) {
      const int32_t target = cache_.take_swap(g);
      sequence.swap_tables[g].blocks.push_back(target);
      plan_.swap_outs.push_back({.group = g, .source = table.blocks[i], .target = target});
    }
  }
  ++plan_.n_preempted;
  sequence.reservation.kind = swap ? Kind::preempt_swap : Kind::preempt_recompute;
  preempted_.push_back(&sequence);
}

}  // namespace arc
