#include "sched/scheduler.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "fmt/format.h"

#include "base/check.h"
#include "base/error.h"

namespace arc {
namespace {

using Kind = Reservation::Kind;

bool older(const Sequence* a, const Sequence* b) {
  return std::pair(a->arrival, a->id) < std::pair(b->arrival, b->id);
}

// The prefix keys that keep adapters and salts apart: empty when a request has neither.
std::vector<int32_t> scope_keys(uint64_t adapter_generation, const std::string& salt) {
  if (adapter_generation == 0 && salt.empty()) return {};
  std::vector<int32_t> keys(3 + (salt.size() + 3) / 4);
  keys[0] = static_cast<int32_t>(adapter_generation);
  keys[1] = static_cast<int32_t>(adapter_generation >> 32);
  keys[2] = static_cast<int32_t>(salt.size());
  std::memcpy(keys.data() + 3, salt.data(), salt.size());
  return keys;
}

int64_t count_positions(const std::vector<PromptSegment>& prompt) {
  int64_t n = 0;
  for (const PromptSegment& segment : prompt) {
    if (const auto* tokens = std::get_if<TokenSegment>(&segment)) {
      n += static_cast<int64_t>(tokens->tokens.size());
    } else {
      const int32_t n_positions = std::get<EmbeddingSegment>(segment).n_positions;
      if (n_positions < 1) throw Error(ErrorCode::invalid_argument, "an embedded item of the prompt is empty");
      n += n_positions;
    }
  }
  return n;
}

void flatten(const std::vector<PromptSegment>& prompt, Sequence& sequence) {
  for (const PromptSegment& segment : prompt) {
    if (const auto* tokens = std::get_if<TokenSegment>(&segment)) {
      sequence.tokens.insert(sequence.tokens.end(), tokens->tokens.begin(), tokens->tokens.end());
    } else {
      const auto& item = std::get<EmbeddingSegment>(segment);
      sequence.media.push_back(
          {.first_position = sequence.n_tokens(), .n_positions = item.n_positions, .hash = item.hash});
      sequence.tokens.insert(sequence.tokens.end(), static_cast<size_t>(item.n_positions), kEmbeddingToken);
    }
  }
}

}  // namespace

// ---- requests ------------------------------------------------------------------------------------------------------

SeqId Scheduler::add(const SequenceRequest& request) {
  const int64_t n_prompt = count_positions(request.prompt);
  const int64_t max_len = n_prompt + request.max_new_tokens;
  if (n_prompt == 0) throw Error(ErrorCode::invalid_argument, "the prompt is empty; it needs at least one token");
  if (request.n < 1 || request.n > kMaxAnswers || request.max_new_tokens < 0 ||
      max_len > std::numeric_limits<int32_t>::max() / 2) {
    throw Error(ErrorCode::invalid_argument, fmt::format("cannot make {} answers of {} tokens after {} prompt tokens",
                                                         request.n, request.max_new_tokens, n_prompt));
  }
  if (request.whole && (request.n != 1 || request.max_new_tokens != 0)) {
    throw Error(ErrorCode::invalid_argument, "a model that reads both ways has no answers to give");
  }
  // The last token of an answer is never computed.
  check_fits_alone(cache_.geometry(), static_cast<int32_t>(std::max(n_prompt, max_len - 1)));

  Sequence leader{.id = next_id_, .request = request.request, .arrival = next_arrival_++};
  leader.scope = scope_keys(request.adapter_generation, request.cache_salt);
  leader.n_prompt = static_cast<int32_t>(n_prompt);
  leader.max_len = static_cast<int32_t>(max_len);
  leader.all_rows = request.all_rows;
  leader.whole = request.whole;
  leader.rope_switch = request.rope_switch;
  leader.tables.resize(cache_.n_groups());
  leader.swap_tables.resize(cache_.n_groups());
  flatten(request.prompt, leader);
  switch_rope(leader);
  next_id_ += static_cast<SeqId>(request.n);
  stats_.n_added += request.n;
  if (n_prompt > 1) {
    leader.n_unborn = request.n - 1;
  } else {
    for (int32_t i = 1; i < request.n; ++i) clone(leader, leader.id + static_cast<SeqId>(i), i);
  }
  clone(leader, leader.id, 0);
  return leader.id;
}

std::optional<SeqId> Scheduler::fork(SeqId parent, int32_t choice) {
  const Sequence* sequence = find(parent);
  if (in_flight_ || !sequence || sequence->status != SequenceStatus::running) return std::nullopt;
  ++stats_.n_added;
  clone(*sequence, next_id_, choice);
  return next_id_++;
}

// Makes a sequence that stands where `parent` stands and shares its blocks.
void Scheduler::clone(const Sequence& parent, SeqId id, int32_t choice) {
  auto child = std::make_unique<Sequence>(parent);
  child->id = id;
  child->choice = choice;
  if (id != parent.id) child->n_unborn = 0;
  child->preempt_requested = false;
  child->drafts.clear();
  for (int g = 0; g < cache_.n_groups(); ++g) {
    BlockTable& table = child->tables[g];
    if (!cache_.is_state(g)) {
      const int32_t end = blocks_for_tokens(child->n_computed, cache_.group(g).tokens_per_block);
      table.blocks.resize(static_cast<size_t>(end - table.first));
    }
    for (const int32_t block : table.blocks) cache_.retain(g, block);
  }
  enlist(*child);
  sequences_[id] = std::move(child);
}

void Scheduler::cancel(uint64_t request) {
  if (in_flight_) return cancel_later_.push_back(request);
  std::vector<Sequence*> answers;
  for (const auto& [id, sequence] : sequences_) {
    if (sequence->request == request) answers.push_back(sequence.get());
  }
  for (Sequence* sequence : answers) end(*sequence, SequenceEnd::cancelled);
}

void Scheduler::finish(SeqId id) {
  if (in_flight_) return finish_later_.push_back(id);
  if (const auto it = sequences_.find(id); it != sequences_.end()) end(*it->second, SequenceEnd::stop);
}

void Scheduler::preempt(SeqId id) {
  const auto it = sequences_.find(id);
  if (it != sequences_.end() && it->second->status == SequenceStatus::running) it->second->preempt_requested = true;
}

void Scheduler::propose(SeqId id, std::span<const int32_t> drafts) {
  ARC_CHECK(cache_.geometry().checkpoint_tokens() == 0) << "a recurrent state cannot be taken back";
  ARC_CHECK(!in_flight_) << "drafts belong to the next plan";
  if (const auto it = sequences_.find(id); it != sequences_.end()) {
    it->second->drafts.assign(drafts.begin(), drafts.end());
  }
}

std::vector<FinishedSequence> Scheduler::take_finished() {
  return std::exchange(finished_, {});
}

const Sequence* Scheduler::find(SeqId id) const {
  const auto it = sequences_.find(id);
  return it == sequences_.end() ? nullptr : it->second.get();
}

// ---- commit and abort ----------------------------------------------------------------------------------------------

StepOutcome Scheduler::commit(const StepResult& result) noexcept {
  ARC_CHECK(in_flight_) << "no step is in flight";
  ARC_CHECK(result.sequences.size() == plan_.sequences.size()) << "one result per planned sequence";
  for (size_t i = 0; i < plan_.sequences.size(); ++i) {
    const PlannedSequence& planned = plan_.sequences[i];
    commit_sequence(own(planned), planned, result.sequences[i]);
  }
  for (Sequence* sequence : preempted_) commit_preemption(*sequence);
  end_step();
  return StepOutcome::committed;
}

StepOutcome Scheduler::abort(StepRan ran) noexcept {
  ARC_CHECK(in_flight_) << "no step is in flight";
  for (const PlannedSequence& planned : plan_.sequences) {
    Sequence& sequence = own(planned);
    bool state_lost = false;
    for (int g = 0; g < cache_.n_groups(); ++g) {
      state_lost |= cache_.is_state(g) && planned.state_read[g] == sequence.tables[g].blocks[0];
    }
    give_back(sequence);
    if (ran == StepRan::maybe && state_lost && sequence.status == SequenceStatus::running) restart(sequence);
  }
  for (Sequence* sequence : preempted_) {
    for (int g = 0; g < cache_.n_groups(); ++g) cache_.release_swap(g, sequence->swap_tables[g]);
    sequence->reservation.kind = Kind::none;
  }
  end_step();
  return StepOutcome::retry;
}

void Scheduler::end_step() {
  in_flight_ = false;
  plan_.clear();
  preempted_.clear();
  for (const SeqId id : std::exchange(finish_later_, {})) finish(id);
  for (const uint64_t request : std::exchange(cancel_later_, {})) cancel(request);
}

void Scheduler::commit_sequence(Sequence& sequence, const PlannedSequence& planned, const SequenceResult& result) {
  for (int g = 0; g < cache_.n_groups(); ++g) {
    if (sequence.reservation.replaced[g] != kNoBlock) cache_.release(g, sequence.reservation.replaced[g]);
    if (sequence.status == SequenceStatus::swapped) cache_.release_swap(g, sequence.swap_tables[g]);
  }
  sequence.reservation.kind = Kind::none;
  if (!std::exchange(sequence.admitted, true)) {
    sequence.n_cached = planned.first_position;
    stats_.n_prompt_tokens += sequence.n_prompt;
    stats_.n_cached_tokens += sequence.n_cached;
  }
  if (sequence.status != SequenceStatus::running) set_status(sequence, SequenceStatus::running);
  append_tokens(sequence, planned, result.tokens);
  publish(sequence);
  drop_behind_window(sequence);
  if (sequence.n_unborn > 0 && sequence.n_computed == sequence.target()) split(sequence);
  const bool prompt_only = sequence.max_len == sequence.n_prompt;
  if (result.stopped) {
    end(sequence, SequenceEnd::stop);
    return;
  }
  if (sequence.n_tokens() == sequence.max_len && (!prompt_only || sequence.n_computed == sequence.n_prompt)) {
    end(sequence, SequenceEnd::length);
    return;
  }
  ARC_CHECK(sequence.n_computed < sequence.n_tokens()) << "a computed sequence needs a new token or an end";
  if (sequence.switched) return;
  switch_rope(sequence);
  if (sequence.switched) restart(sequence);
}

// A sequence that outgrew the original context is another from its first token on: nothing computed before fits.
void Scheduler::switch_rope(Sequence& sequence) {
  sequence.switched = sequence.rope_switch > 0 && sequence.n_tokens() > sequence.rope_switch;
  if (!sequence.switched) return;
  if (sequence.scope.empty()) sequence.scope = {0, 0, 0};
  sequence.scope.push_back(1);
  sequence.chain.clear();
}

void Scheduler::append_tokens(Sequence& sequence, const PlannedSequence& planned, std::span<const int32_t> tokens) {
  const int32_t end = planned.first_position + planned.n_tokens - planned.n_drafts;
  const int32_t n_new = static_cast<int32_t>(tokens.size());
  if (n_new == 0) {
    sequence.n_computed = end;  // more of the prompt, or the end of a prompt that is only computed
  } else {
    ARC_CHECK(end == sequence.n_tokens()) << "new tokens before the last one is computed";
    ARC_CHECK(n_new <= std::max(planned.lease_tokens, planned.n_drafts + 1)) << "more tokens than blocks";
    for (int32_t i = 0; planned.n_drafts > 0 && i + 1 < n_new; ++i) {
      ARC_CHECK(tokens[i] == sequence.drafts[i]) << "an accepted draft was not proposed";
    }
    sequence.n_computed = end - 1 + n_new;
    sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
  }
  ARC_CHECK(sequence.n_tokens() <= sequence.max_len) << "sequence " << sequence.id << " is too long";
  sequence.drafts.clear();
  if (sequence.all_rows) sequence.n_rows = std::max(sequence.n_rows, sequence.n_computed);
}

void Scheduler::publish(Sequence& sequence) {
  if (sequence.whole) return;
  const int32_t n_tiles = sequence.n_computed / cache_.tile_tokens();
  cache_.publish(sequence.content(), sequence.n_published, n_tiles, sequence.chain, sequence.tables);
  sequence.n_published = n_tiles;
  const int32_t checkpoint = cache_.geometry().checkpoint_tokens();
  if (checkpoint == 0 || sequence.n_computed % checkpoint != 0) return;
  for (int g = 0; g < cache_.n_groups(); ++g) {
    if (cache_.is_state(g)) {
      cache_.publish_state(g, sequence.content(), n_tiles, sequence.chain, sequence.tables[g]);
    }
  }
}

void Scheduler::drop_behind_window(Sequence& sequence) {
  for (int g = 0; g < cache_.n_groups(); ++g) {
    BlockTable& table = sequence.tables[g];
    const int32_t n_behind = first_needed_block(cache_.group(g), sequence.n_computed) - table.first;
    if (cache_.is_state(g) || n_behind <= 0) continue;
    for (int32_t i = 0; i < n_behind; ++i) cache_.release(g, table.blocks[i]);
    table.blocks.erase(table.blocks.begin(), table.blocks.begin() + n_behind);
    table.first += n_behind;
  }
}

void Scheduler::commit_preemption(Sequence& sequence) {
  const bool swap = std::exchange(sequence.reservation.kind, Kind::none) == Kind::preempt_swap;
  ++(swap ? stats_.n_preempted_swap : stats_.n_preempted_recompute);
  if (!swap) return restart(sequence);
  release_tables(sequence);
  sequence.n_published = 0;  // the blocks it comes back to are new ones
  set_status(sequence, SequenceStatus::swapped);
}

// Undoes what the plan did to the sequence.
void Scheduler::give_back(Sequence& sequence) {
  Reservation& reservation = sequence.reservation;
  for (int g = 0; g < cache_.n_groups(); ++g) {
    BlockTable& table = sequence.tables[g];
    if (reservation.replaced[g] != kNoBlock) {
      cache_.release(g, std::exchange(table.at(reservation.replaced_at[g]), reservation.replaced[g]));
    }
    cache_.shrink(g, table, static_cast<size_t>(reservation.n_blocks_before[g]));
    if (sequence.status != SequenceStatus::running) table.first = 0;
  }
  if (sequence.status == SequenceStatus::waiting) sequence.n_computed = sequence.n_published = 0;
  reservation.kind = Kind::none;
}

// Back to the queue with nothing computed.
void Scheduler::restart(Sequence& sequence) {
  release_tables(sequence);
  sequence.n_computed = sequence.n_published = 0;
  set_status(sequence, SequenceStatus::waiting);
}

void Scheduler::split(Sequence& leader) {
  const int32_t n_unborn = std::exchange(leader.n_unborn, 0);
  for (int32_t i = 1; i <= n_unborn; ++i) clone(leader, leader.id + static_cast<SeqId>(i), i);
}

void Scheduler::end(Sequence& sequence, SequenceEnd how) {
  for (int32_t i = 0; i <= sequence.n_unborn; ++i) {
    finished_.push_back({.id = sequence.id + static_cast<SeqId>(i),
                         .request = sequence.request,
                         .choice = sequence.choice + i,
                         .n_prompt = sequence.n_prompt,
                         .n_cached = sequence.n_cached,
                         .n_output = sequence.n_output(),
                         .end = how});
  }
  stats_.n_finished += 1 + sequence.n_unborn;
  release_tables(sequence);
  for (int g = 0; g < cache_.n_groups(); ++g) cache_.release_swap(g, sequence.swap_tables[g]);
  std::erase(list_of(sequence), &sequence);
  sequences_.erase(SeqId(sequence.id));
}

void Scheduler::release_tables(Sequence& sequence) {
  for (int g = 0; g < cache_.n_groups(); ++g) {
    cache_.shrink(g, sequence.tables[g], 0);
    sequence.tables[g].first = 0;
  }
}

// ---- lists ---------------------------------------------------------------------------------------------------------

Scheduler::List& Scheduler::list_of(const Sequence& sequence) {
  return sequence.status == SequenceStatus::running ? running_ : pending_;
}

void Scheduler::enlist(Sequence& sequence) {
  List& list = list_of(sequence);
  list.insert(std::upper_bound(list.begin(), list.end(), &sequence, older), &sequence);
}

void Scheduler::set_status(Sequence& sequence, SequenceStatus status) {
  std::erase(list_of(sequence), &sequence);
  sequence.status = status;
  enlist(sequence);
}

}  // namespace arc
