// The last stage of the autonomous loop's body: see loop.h. One block, a thread per row.
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/loop.h"
#include "kernels/cuda/ring.cuh"

namespace arc::cuda {
namespace {

__device__ uint64_t now_ns() {
  uint64_t ns;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
  return ns;
}

// Waits until `n` more entries fit. False: the reader is too slow.
__device__ bool wait_for_room(const AdvanceCall& c, int n) {
  LoopState& state = *c.state;
  if (state.head + n - state.tail <= c.capacity) return true;
  const uint64_t start = now_ns();
  do {
    state.tail = load_shared_with_host(&c.control->tail);
    if (state.head + n - state.tail <= c.capacity) return true;
    __nanosleep(500);
  } while (now_ns() - start < c.patience_ns);
  return false;
}

__device__ bool is_stop(const AdvanceCall& c, int row, int32_t token) {
  const int32_t n = c.state->n_stop_ids;
  for (int32_t i = 0; i < n; ++i) {
    if (c.stop_ids[row * n + i] == token) return true;
  }
  return false;
}

// The row's inputs of the next step.
__device__ void move_on(const AdvanceCall& c, int row, int32_t token) {
  const int32_t position = c.positions[row] + 1;
  c.tokens[row] = token;
  c.positions[row] = position;
  c.seq_lens[row] = position + 1;
  SamplingRow& sampling = c.sampling[row];
  ++sampling.position;
  if (sampling.counts_row >= 0) ++c.counts[int64_t{sampling.counts_row} * c.vocab + token];
  for (int g = 0; g < c.n_groups; ++g) {
    const AdvanceCall::Group& group = c.groups[g];
    if (group.table == nullptr) {
      group.state_read[row] = group.state_write[row];
    } else {
      const int64_t block = group.table[static_cast<int64_t>(row) * group.stride + position / group.tokens_per_block];
      group.slots[row] = block * group.tokens_per_block + position % group.tokens_per_block;
    }
  }
}

// A row that only takes a place: everything goes to the dummy block.
__device__ void make_idle(const AdvanceCall& c, int row) {
  c.rows[row].live = 0;
  c.tokens[row] = 0;
  c.positions[row] = 0;
  c.seq_lens[row] = 1;
  c.sampling[row] = SamplingRow{.temperature = 0.0f};
  for (int g = 0; g < c.n_groups; ++g) {
    const AdvanceCall::Group& group = c.groups[g];
    if (group.table == nullptr) {
      group.state_read[row] = -1;
      group.state_write[row] = 0;
    } else {
      group.slots[row] = 0;
    }
  }
}

// Entries of the live rows, in order, at the head of the ring.
__device__ void put(const AdvanceCall& c, bool live, const RingEntry& entry, uint64_t head) {
  __shared__ int counts[kMaxLoopRows / kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const unsigned votes = __ballot_sync(kAllLanes, live);
  if (lane == 0) counts[warp] = __popc(votes);
  __syncthreads();
  uint64_t at = head + static_cast<uint64_t>(__popc(votes & ((1u << lane) - 1)));
  for (int w = 0; w < warp; ++w) at += static_cast<uint64_t>(counts[w]);
  if (live) store(c.ring + at % c.capacity, entry);
  __threadfence_system();
}

__global__ void __launch_bounds__(kMaxLoopRows) advance_kernel(AdvanceCall c) {
  __shared__ bool room, attention;
  const int row = static_cast<int>(threadIdx.x);
  const bool live = row < c.n_rows && c.rows[row].live != 0;
  const uint64_t head = c.state->head;
  const int step = c.state->step;
  const int n_live = __syncthreads_count(live);
  if (row == 0) {
    attention = load_shared_with_host(&c.control->attention) != 0;
    room = wait_for_room(c, n_live);
  }
  __syncthreads();
  if (!room) {
    if (row == 0) {
      publish(&c.control->ended, static_cast<uint32_t>(LoopEnd::slow_reader));
      cudaGraphSetConditional(c.condition, 0);
    }
    return;
  }
  RingEntry entry{.row = row};
  bool last = false;
  if (live) {
    const DrawnRow drawn = c.drawn[row];
    const LoopRow rules = c.rows[row];
    entry.token = drawn.token;
    entry.logprob = drawn.logprob;
    entry.outcome = static_cast<uint16_t>(drawn.outcome);
    last = drawn.outcome != 0 || rules.tokens_left <= 1 || is_stop(c, row, drawn.token);
    entry.last = last ? 1 : 0;
  }
  put(c, live, entry, head);
  const int n_left = __syncthreads_count(live && !last);
  if (row == 0) {
    LoopState& state = *c.state;
    state.head = head + static_cast<uint64_t>(n_live);
    state.step = step + 1;
    publish(&c.control->head, state.head);
    const LoopEnd end = n_left == 0               ? LoopEnd::all_idle
                        : step + 1 >= state.lease ? LoopEnd::lease
                        : attention               ? LoopEnd::attention
                                                  : LoopEnd::running;
    if (end != LoopEnd::running) publish(&c.control->ended, static_cast<uint32_t>(end));
    cudaGraphSetConditional(c.condition, end == LoopEnd::running ? 1 : 0);
  }
  if (!live) return;
  if (last) {
    make_idle(c, row);
  } else {
    --c.rows[row].tokens_left;
    move_on(c, row, entry.token);
  }
}

__global__ void count_up_kernel(AdvanceCall c) {
  const int row = static_cast<int>(threadIdx.x);
  const_cast<DrawnRow*>(c.drawn)[row] = {.token = c.state->step * c.n_rows + row};
}

int threads_for(int rows) {
  return (rows + kWarp - 1) / kWarp * kWarp;
}

}  // namespace

void advance(const AdvanceCall& call, void* stream) noexcept {
  advance_kernel<<<1, threads_for(call.n_rows), 0, static_cast<cudaStream_t>(stream)>>>(call);
}

void count_up(const AdvanceCall& call, void* stream) noexcept {
  count_up_kernel<<<1, call.n_rows, 0, static_cast<cudaStream_t>(stream)>>>(call);
}

void load_loop_kernels() noexcept {
  cudaFuncAttributes attributes;
  cudaFuncGetAttributes(&attributes, advance_kernel);
}

}  // namespace arc::cuda
