// What one step of the model is to do, and what came of it.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kv/cache_geometry.h"
#include "sched/sequence.h"

namespace arc {

enum class StepOutcome : uint8_t {
  no_work,            // no sequence is unfinished
  capacity_deferred,  // there is work, but no blocks or places for it yet
  committed,
  retry,         // the step was given up; planning again is safe
  device_fault,  // nothing more will run; only the executor finds this out
};

struct StepLimits {
  int32_t max_batched_tokens = 512;
  // Of prompts, where sequences decode in the same step: those wait for it. The oldest sequence gets one all the same.
  int32_t max_prompt_tokens = std::numeric_limits<int32_t>::max();
  int32_t max_seqs = 32;
  // Positions per decoding sequence to reserve blocks for, so that as many steps can run without the host. Given in
  // full or in part only to steps that hold nothing but decoding sequences without drafts.
  int32_t lease_tokens = 1;
};

// Positions [first_position, first_position + n_tokens) of a sequence are computed. They are tokens of the sequence,
// then `n_drafts` guesses. The last `n_rows` of them reach the head.
struct PlannedSequence {
  const Sequence* sequence = nullptr;
  int32_t first_position = 0;
  int32_t n_tokens = 0;
  int32_t n_drafts = 0;
  int32_t n_rows = 0;
  int32_t lease_tokens = 1;  // new tokens that the reserved blocks have room for
  bool is_prefill = false;   // computes tokens of the prompt, or more than one that is known
  // Per state group: the state read, or kNoBlock for the empty one. The state is written to tables[g].blocks[0], which
  // may be the same block. Steps of a lease after the first read what the one before wrote.
  std::array<int32_t, kMaxCacheGroups> state_read{};

  // The token at a position of this step.
  int32_t token(int32_t position) const {
    const int32_t past_end = position - sequence->n_tokens();
    return past_end < 0 ? sequence->tokens[position] : sequence->drafts[past_end];
  }
};

// A block's bytes go from `source` to `target`; which of the two lies in swap space depends on the list.
struct BlockCopy {
  int group = 0;
  int32_t source = kNoBlock, target = kNoBlock;
};

// The executor copies swap_outs, swap_ins and copies, in any order, then computes `sequences`: decoding ones first.
struct StepPlan {
  std::vector<PlannedSequence> sequences;
  std::vector<BlockCopy> swap_outs;  // device to swap space
  std::vector<BlockCopy> swap_ins;   // swap space to device
  std::vector<BlockCopy> copies;     // device to device, of blocks that several sequences share and one will write to
  int32_t n_tokens = 0;              // of all sequences
  int32_t n_rows = 0;
  int32_t n_preempted = 0;                  // sequences that leave the device, with swap_outs or without
  StepOutcome idle = StepOutcome::no_work;  // why the plan is empty, when it is

  // True when there is nothing to run or to commit.
  bool empty() const { return sequences.empty() && n_preempted == 0; }
  // Keeps the lists' memory.
  void clear() {
    sequences.clear();
    for (auto* list : {&swap_outs, &swap_ins, &copies}) list->clear();
    n_tokens = n_rows = n_preempted = 0;
    idle = StepOutcome::no_work;
  }
};

// The new tokens of a planned sequence: none when its tokens are not all computed yet; else the drafts that were right
// and one more, or up to `lease_tokens`.
struct SequenceResult {
  std::span<const int32_t> tokens;
  bool stopped = false;  // a stop rule holds after the last token
};

struct StepResult {
  std::vector<SequenceResult> sequences;  // as in the plan
};

struct FinishedSequence {
  SeqId id = 0;
  uint64_t request = 0;
  int32_t choice = 0;
  int32_t n_prompt = 0, n_cached = 0, n_output = 0;
  SequenceEnd end = SequenceEnd::stop;
};

}  // namespace arc
