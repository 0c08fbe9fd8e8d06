// What one step of the model is told: plain arrays at fixed addresses, filled by the host. A field that a plan does not
// need is null. Every field is a promise to a feature; not all are used by every executor. Letters: T tokens of the
// step, S sequences, R token rows that reach the head, V vocabulary.
#pragma once

#include <atomic>
#include <cstdint>

#include "quant/kv_policy.h"
#include "sample/sampling_row.h"

namespace arc {

// One cache group's view of the step (a group: layers with equal needs and policy).
struct GroupInputs {
  const int32_t* block_table =
      nullptr;  // [S, table_stride] block of tile i; behind a sliding window the entry is 0 (dummy)
  int32_t table_stride = 0;
  const int64_t* slots = nullptr;         // [T] where a token's key and value go: block * tokens per block + offset
  const int32_t* state_read = nullptr;    // [S] recurrent state before the step; -1: start from zeros
  const int32_t* state_write = nullptr;   // [S] recurrent state after the step
  const int32_t* encoder_lens = nullptr;  // [S] length of the encoder's output (cross-attention)
};

// Bytes to copy before the stages run: forks, copy-on-write, state checkpoints.
struct StepCopy {
  int32_t group = 0;
  int32_t from = 0, to = 0;
};

// Run-ahead on the device: how far a loop may go without the host.
struct LoopControl {
  int32_t lease = 1;                  // tokens per sequence whose blocks are reserved
  const int32_t* stop_ids = nullptr;  // [S, n_stop_ids]; -1: none
  int32_t n_stop_ids = 0;
  const int32_t* tokens_left = nullptr;             // [S]
  const std::atomic<int32_t>* attention = nullptr;  // non-zero ends the loop within one step
};

struct StepInputs {
  int32_t n_seqs = 0, n_tokens = 0, n_rows = 0;  // S, T, R
  int32_t n_prompts = 0;                         // of S, the last ones: their tokens may be rounded to 16 bits
  const int32_t* tokens = nullptr;               // [T]
  const int32_t* positions = nullptr;            // [T], or [3, T] where a model has three axes
  const int32_t* q_start = nullptr;     // [S+1] first token of each sequence; prefill, decode and verification alike
  const int32_t* seq_lens = nullptr;    // [S] tokens of the sequence after this step
  const int32_t* known_lens = nullptr;  // [S] its known tokens, those of later steps too; null: seq_lens
  GroupInputs groups[kMaxCacheGroups];
  const int32_t* rows = nullptr;          // [R] token rows that reach the head
  const SamplingRow* sampling = nullptr;  // [R]
  const int32_t* row_token = nullptr;     // [R] the token whose logprob is wanted; -1: draw one
  float* const* row_logits = nullptr;     // [R] memory for a row's raw logits [V]; null: not wanted
  float* const* row_hidden = nullptr;     // [R] memory for a row after the final norm [C]; null: not wanted
  SamplingTables tables;
  const int32_t* adapter = nullptr;    // [S] adapter slot
  const int32_t* embed_row = nullptr;  // [T] row of injected embeddings; -1: the token's own
  const int32_t* span_end = nullptr;   // [T] end of a bidirectional span
  const StepCopy* copies = nullptr;
  int32_t n_copies = 0;
  LoopControl* control = nullptr;
};

inline int32_t known_tokens(const StepInputs& step, int32_t sequence) {
  return step.known_lens != nullptr ? step.known_lens[sequence] : step.seq_lens[sequence];
}

}  // namespace arc
