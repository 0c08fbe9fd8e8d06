// The end of a step in a loop that runs without the host: tokens leave through a ring in host memory, rows move on, and
// the condition of the loop is set. Host code may include this header.
#pragma once

#include <cstdint>

#include "kernels/api/step_inputs.h"
#include "kernels/cuda/sample.h"

namespace arc::cuda {

inline constexpr int kMaxLoopRows = 1024;

// A token on its way to the host.
struct RingEntry {
  int32_t row = 0, token = -1;
  float logprob = 0.0f;
  uint16_t outcome = 0;  // SampleOutcome
  uint16_t last = 0;     // the row is idle from now on
};

enum class LoopEnd : uint32_t { running, lease, all_idle, attention, slow_reader };

// In host memory that the device sees. One side writes each line.
struct RingControl {
  alignas(64) uint64_t head = 0;       // device: entries written
  uint32_t ended = 0;                  // LoopEnd, after the last entry
  alignas(64) uint64_t tail = 0;       // host: entries read
  alignas(64) uint32_t attention = 0;  // host: not zero ends the loop after the step it is in
};

// In device memory. The host writes it before a loop, the loop from then on.
struct LoopState {
  int32_t lease = 0, step = 0;  // steps to make, and made
  int32_t n_stop_ids = 0;       // of each row
  int32_t unused = 0;
  uint64_t head = 0, tail = 0;  // tail: as last seen
};

struct LoopRow {
  int32_t live = 0, tokens_left = 0;
};

// All pointers but `control` and `ring` (mapped host memory) are device memory.
struct AdvanceCall {
  struct Group {
    const int32_t* table = nullptr;  // null: states
    int32_t stride = 0, tokens_per_block = 1;
    int64_t* slots = nullptr;
    int32_t *state_read = nullptr, *state_write = nullptr;
  };
  int32_t n_rows = 0, n_groups = 0, vocab = 0;
  const DrawnRow* drawn = nullptr;
  int32_t *tokens = nullptr, *positions = nullptr, *seq_lens = nullptr;
  SamplingRow* sampling = nullptr;
  uint32_t* counts = nullptr;
  Group groups[kMaxCacheGroups];
  LoopState* state = nullptr;
  LoopRow* rows = nullptr;
  const int32_t* stop_ids = nullptr;  // [R, n_stop_ids]; -1: none
  RingControl* control = nullptr;
  RingEntry* ring = nullptr;
  uint64_t capacity = 0;             // entries of the ring, at least n_rows
  uint64_t patience_ns = 0;          // to wait for a reader, then the loop ends and its last step is as if not made
  unsigned long long condition = 0;  // cudaGraphConditionalHandle of the loop
};

// One launch on `stream`. Returns nothing: errors show as those of launches do.
void advance(const AdvanceCall& call, void* stream) noexcept;

// A body for tests of the ring alone: row r of step n draws token n * R + r.
void count_up(const AdvanceCall& call, void* stream) noexcept;

// So that nothing has to be loaded while a graph is captured.
void load_loop_kernels() noexcept;

}  // namespace arc::cuda
