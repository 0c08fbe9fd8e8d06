// What kernels of attention are given, and which form of a tile a query reads.
#pragma once

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/kv_codec.cuh"
#include "kernels/cuda/scratch.h"

namespace arc::cuda {

struct AttendCall {
  AttendArgs a;
  KvView kv, open;  // of a tiled policy: packed tiles, and those that are still read open
  KvSide k, v, open_k, open_v;
  Turn turn, turn_back;  // of queries, of results
  Rows q, out;
  const float* sinks = nullptr;
  const int32_t* positions = nullptr;
  const int32_t* q_start = nullptr;
  const int32_t* seq_lens = nullptr;
  const int32_t *block_table = nullptr, *open_table = nullptr;
  int32_t table_stride = 0, open_stride = 0, n_seqs = 0;
  float* parts = nullptr;  // of segments; null: one block walks all of them
  int32_t segments = 0;
  int32_t* starts = nullptr;                      // see Deal
  int64_t group_parts = 0;                        // items of kDealtSeqs sequences for which there is memory
  int32_t chunk_heads = 0, chunks_per_group = 0;  // query heads that a block takes of one key/value head
};

inline AttendCall attend_call(const AttendArgs& a, const Operands& o, int32_t most_chunk_heads) {
  const GroupInputs& group = o.step->groups[a.group];
  const int group_size = a.heads / a.kv_heads, chunks = (group_size + most_chunk_heads - 1) / most_chunk_heads;
  const KvRole values = a.v_in_k ? KvRole::key : KvRole::value;
  const int32_t v_dim = a.v_in_k ? a.k_dim : a.v_dim;
  AttendCall c{.a = a,
               .kv = o.kv,
               .open = o.open,
               .k = kv_side(o.kv, a.k_dim, KvRole::key),
               .v = kv_side(o.kv, v_dim, values),
               .turn = turn_of(o.kv.k_turbo),
               .turn_back = turn_of(o.kv.v_turbo),
               .q = Rows(o.reads[0]),
               .out = Rows(o.writes[0]),
               .sinks = a.sinks ? static_cast<const float*>(o.weights[0].data) : nullptr,
               .positions = o.step->positions,
               .q_start = o.step->q_start,
               .seq_lens = o.step->seq_lens,
               .block_table = group.block_table,
               .table_stride = group.table_stride,
               .n_seqs = o.step->n_seqs,
               .chunk_heads = (group_size + chunks - 1) / chunks,
               .chunks_per_group = chunks};
  if (a.open_group < 0) return c;
  c.open_k = kv_side(o.open, a.k_dim, KvRole::key);
  c.open_v = kv_side(o.open, v_dim, values);
  c.open_table = o.step->groups[a.open_group].block_table;
  c.open_stride = o.step->groups[a.open_group].table_stride;
  return c;
}

// The positions that a query at `position` of sequence s sees, all of [first, last].
struct Reach {
  int first = 0, last = -1;

  __device__ Reach() {}
  __device__ Reach(const AttendCall& c, int s, int position) {
    const int end = c.seq_lens[s] - 1;
    first = c.a.window > 0 ? max(0, position - c.a.window + 1) : 0;
    last = c.a.causal ? position : c.a.window > 0 ? min(end, position + c.a.window - 1) : end;
  }
};

// Lets a kernel have `most` bytes of dynamic shared memory, and a processor give blocks all that it can.
template <typename Kernel>
bool allow_shared_memory(Kernel* kernel, size_t most) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(most)) ==
             cudaSuccess &&
         cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared) ==
             cudaSuccess;
}

// Turns all heads of all rows of `from` [T, H * turn.dim] into `to`, which may be the same.
void turn_heads(const Rows& from, const Rows& to, int32_t heads, const Turn& turn, cudaStream_t stream);

}  // namespace arc::cuda
