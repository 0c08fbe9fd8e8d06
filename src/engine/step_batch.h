// Turns the scheduler's plan of a step into the arrays that an executor reads. All memory is allocated once.
#pragma once

#include <functional>
#include <vector>

#include "exec/executor.h"
#include "kv/cache_geometry.h"
#include "sched/step_plan.h"

namespace arc {

// What the engine knows of a sequence that the scheduler does not.
struct RowSettings {
  SamplingRow row;  // `position` and the table places are filled here
  const std::vector<BiasEntry>* biases = nullptr;
  int32_t n_prompt_logprobs = -1;  // -1: none; else alternatives per prompt position
  float* prompt_logits = nullptr;  // [prompt tokens, vocab]: where the logits of the prompt's positions go
  int32_t vocab = 0;
  float* hidden = nullptr;  // [rows of the step, dim]: where the sequence's rows go at the places of theirs
  int32_t dim = 0;
};

class StepBatch {
 public:
  StepBatch(const CacheGeometry& geometry, int32_t max_tokens, int32_t max_seqs, int32_t max_seq_len);

  // Valid until the next call. `settings` is asked once for each of the plan's sequences, by its index.
  const StepInputs& fill(const StepPlan& plan, const std::function<RowSettings(size_t)>& settings);

  // Rows of the plan's sequence i are [row_begin(i), row_begin(i + 1)).
  int32_t row_begin(size_t i) const { return row_begin_[i]; }
  // Counts of penalised sequences: [rows, V], owned by the caller.
  void set_counts(const uint32_t* counts) { inputs_.tables.counts = counts; }

  // What a lease may do; owned by the caller.
  void set_control(LoopControl* control) { inputs_.control = control; }

  // The same copies as executors want them.
  static std::vector<StepCopy> to_step_copies(const std::vector<BlockCopy>& copies);

 private:
  struct Group {
    std::vector<int32_t> block_table, state_read, state_write;
    std::vector<int64_t> slots;
    std::vector<int32_t> row_ends;  // of block_table's rows: all behind is the dummy block
  };
  void add_sequence(const PlannedSequence& planned);
  void set_table_row(Group& group, size_t row, const BlockTable& table) const;
  void add_rows(const PlannedSequence& planned, const RowSettings& settings);

  const CacheGeometry& geometry_;
  int32_t table_stride_ = 0;
  StepInputs inputs_;
  std::vector<int32_t> tokens_, positions_, q_start_, seq_lens_, known_lens_, rows_, row_token_, row_begin_;
  std::vector<SamplingRow> sampling_;
  std::vector<float*> row_logits_, row_hidden_;
  std::vector<BiasEntry> biases_;
  std::vector<StepCopy> copies_;
  std::vector<Group> groups_;
};

}  // namespace arc
