// Decides step by step which sequences run, on how many tokens, in which blocks. First come, first served.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kv/kv_cache.h"
#include "sched/admission.h"
#include "sched/invariants.h"
#include "sched/sequence.h"
#include "sched/step_plan.h"

namespace arc {

// Whether a step that is given up may have written to the cache.
enum class StepRan : uint8_t { no, maybe };

struct SchedulerStats {
  int64_t n_added = 0, n_finished = 0;
  int64_t n_preempted_swap = 0, n_preempted_recompute = 0;
  int64_t n_prompt_tokens = 0, n_cached_tokens = 0;  // of admitted prompts
};

// Every step is a transaction: plan_step() reserves, commit() makes it so, abort() gives it back. Blocks that a plan
// frees are used from the next plan on, so that an aborted step has destroyed nothing. (Cached content that a plan
// evicts is gone either way.) The oldest sequence gets at least one token in every step that has blocks for it, and
// what is younger is preempted until it has. Other calls are allowed while a step is in flight; they act after it. One
// thread at a time.
class Scheduler {
 public:
  // `cache` outlives the scheduler and is changed by nobody else, pins and remote blocks excepted.
  explicit Scheduler(KvCache& cache) : cache_(cache) {}

  // Queues a request's answers; their ids are the returned one and those after it. Throws Error: invalid_argument for
  // an empty prompt or impossible numbers, resource for a request that could never fit.
  SeqId add(const SequenceRequest& request);

  // A new answer that shares what `parent` has so far. None unless the parent is running and no step is in flight.
  std::optional<SeqId> fork(SeqId parent, int32_t choice);

  // Ends all answers of a request, or one answer (and those that wait for its prompt). Unknown names are ignored.
  void cancel(uint64_t request);
  void finish(SeqId id);

  // Has the next plan take the sequence off the device.
  void preempt(SeqId id);

  // Sets tokens that may come next for the next plan to verify; those that do not fit are dropped. Never for models
  // with state groups: a state cannot be taken back.
  void propose(SeqId id, std::span<const int32_t> drafts);

  // Valid until commit() or abort(), one of which must follow unless the plan is empty.
  const StepPlan& plan_step(const StepLimits& limits) noexcept;
  StepOutcome commit(const StepResult& result) noexcept;
  // With StepRan::maybe, sequences whose recurrent state was updated in place are computed anew.
  StepOutcome abort(StepRan ran) noexcept;

  // The answers that ended since the last call.
  std::vector<FinishedSequence> take_finished();

  const Sequence* find(SeqId id) const;
  int32_t n_running() const { return static_cast<int32_t>(running_.size()); }
  int32_t n_pending() const { return static_cast<int32_t>(pending_.size()); }  // waiting or swapped
  const SchedulerStats& stats() const { return stats_; }

  // Overwrites `out`.
  void snapshot(Snapshot& out) const;

 private:
  using List = std::vector<Sequence*>;  // by arrival

  // planning (scheduler_plan.cc)
  void plan_oldest();
  void plan_decoding();
  void plan_prefill();
  void plan_pending();
  void plan_leases();
  bool plan_running(Sequence& sequence, int32_t max_tokens);
  bool start(Sequence& sequence, int32_t max_tokens, int32_t headroom);
  bool resume(Sequence& sequence, int32_t max_tokens, int32_t headroom);
  void reserve_chunk(Sequence& sequence, int32_t max_tokens);
  void begin_reservation(Sequence& sequence);
  void reserve(Sequence& sequence, int32_t n_tokens, int32_t n_drafts);
  void reserve_write_access(Sequence& sequence, PlannedSequence& planned);
  void grow_tables(Sequence& sequence, int32_t n_tokens);
  void make_room(const Sequence& sequence);
  void take_off(Sequence& sequence);
  Sequence* youngest_after(const Sequence& sequence) const;
  TableState table_state(const Sequence& sequence, int g) const;
  int32_t blocks_needed(const Sequence& sequence, int g) const;
  int32_t fit_tokens(const Sequence& sequence, int32_t n_tokens) const;
  int32_t answers_running() const;
  int32_t places_left() const { return limits_.max_seqs - static_cast<int32_t>(plan_.sequences.size()); }
  int32_t budget_left() const { return limits_.max_batched_tokens - plan_.n_tokens; }
  int32_t prompt_budget_left() const { return std::min(budget_left(), prompt_tokens_left_); }
  int32_t n_decoding() const;

  // committing (scheduler.cc)
  void commit_sequence(Sequence& sequence, const PlannedSequence& planned, const SequenceResult& result);
  void append_tokens(Sequence& sequence, const PlannedSequence& planned, std::span<const int32_t> tokens);
  void commit_preemption(Sequence& sequence);
  void switch_rope(Sequence& sequence);
  void publish(Sequence& sequence);
  void drop_behind_window(Sequence& sequence);
  void give_back(Sequence& sequence);
  void restart(Sequence& sequence);
  void split(Sequence& leader);
  void clone(const Sequence& parent, SeqId id, int32_t choice);
  void end_step();
  void end(Sequence& sequence, SequenceEnd how);
  void release_tables(Sequence& sequence);
  // The plan shows the scheduler's own sequences, to others as constant.
  static Sequence& own(const PlannedSequence& planned) { return const_cast<Sequence&>(*planned.sequence); }
  List& list_of(const Sequence& sequence);
  void enlist(Sequence& sequence);
  void set_status(Sequence& sequence, SequenceStatus status);

  KvCache& cache_;
  std::unordered_map<SeqId, std::unique_ptr<Sequence>> sequences_;
  List running_, pending_;
  SeqId next_id_ = 1;
  uint64_t next_arrival_ = 1;
  std::vector<FinishedSequence> finished_;
  std::vector<SeqId> finish_later_;  // asked for while a step was in flight
  std::vector<uint64_t> cancel_later_;
  SchedulerStats stats_;

  // The step being planned or in flight.
  bool in_flight_ = false;
  StepPlan plan_;
  StepLimits limits_;
  List preempted_;
  int32_t prompt_tokens_left_ = 0;
  GroupCounts freed_next_{};  // blocks that the plan's preemptions free, not yet spoken for
};

}  // namespace arc
