// Decode: how the work of all sequences is dealt to blocks. What a query sees is cut into units by position alone:
// segments of its closed tiles, then segments of its open ones. Each gives a part, and a row's parts are merged in
// ascending order, so its bits follow from its position, whatever else is in the step.
#pragma once

#include "kernels/cuda/attention_tile.cuh"

namespace arc::cuda::attention {

inline constexpr int kDealtSeqs = 512;  // sequences that are dealt together

__host__ __device__ constexpr int segment_at(int tile) {
  return segment_of(tile * kTile);
}

// Tiles [begin, end), and the segments that they touch.
struct Span {
  int begin = 0, end = 0, first_segment = 0, units = 0;

  Span() = default;
  __device__ __forceinline__ Span(int begin, int end) : begin(begin), end(end) {
    if (begin >= end) return;
    first_segment = segment_at(begin);
    units = segment_at(end - 1) - first_segment + 1;
  }
  // Units [i, i + n).
  __device__ __forceinline__ Span part(int i, int n) const {
    return {max(begin, segment_begin(first_segment + i) / kTile),
            min(end, segment_begin(first_segment + i + n) / kTile)};
  }
};

// What the one query of sequence `s` sees, a row: closed tiles, then open ones. Nothing if it has several tokens.
// `whole`: all closed tiles are one item of work.
struct Row {
  Span closed, open;
  Reach reach;
  int t = 0;

  __device__ __forceinline__ Row(const Call& c, int s) : t(c.q_start[s]) {
    if (c.q_start[s + 1] != t + 1) return;
    const int position = c.positions[t];
    reach = Reach(c, s, position);
    const int begin = reach.first / kTile, end = reach.last / kTile + 1;
    const int split = c.open_table == nullptr ? end : min(end, max(begin, position / kTile - c.kv.policy.recent));
    closed = Span(begin, split);
    open = Span(split, end);
  }
  __device__ __forceinline__ int closed_items(bool whole) const { return whole ? min(1, closed.units) : closed.units; }
  __device__ __forceinline__ int items(bool whole) const { return closed_items(whole) + open.units; }
};

// Parts lie in the order of the items that they are of. `starts` of a group of sequences: the first item of each and
// the end, in shared memory and, for those who merge, in c.starts, kDealtSeqs + 1 numbers a group.
struct Deal {
  int first_seq, n_seqs, chunks, n_items;
  bool whole;

  // For all kThreads threads.
  __device__ __forceinline__ Deal(const Call& c, int group, int* starts)
      : first_seq(group * kDealtSeqs),
        n_seqs(min(kDealtSeqs, c.n_seqs - first_seq)),
        chunks(c.a.kv_heads * c.chunks_per_group),
        whole(false) {
    n_items = count(c, starts);
    if (n_items > c.group_parts) {
      whole = true;
      n_items = count(c, starts);
    }
    if (blockIdx.x != 0) return;
    int* out = c.starts + group * (kDealtSeqs + 1);
    for (int i = threadIdx.x; i <= n_seqs; i += kThreads) out[i] = starts[i];
  }

 private:
  __device__ __forceinline__ int count(const Call& c, int* starts) const {
    __syncthreads();
    for (int i = threadIdx.x; i < n_seqs; i += kThreads) starts[i + 1] = Row(c, first_seq + i).items(whole) * chunks;
    __syncthreads();
    if (threadIdx.x < kWarp) {
      int before = 0;
      for (int first = 0; first < n_seqs; first += kWarp) {
        const int i = first + static_cast<int>(threadIdx.x);
        int sum = i < n_seqs ? starts[i + 1] : 0;
#pragma unroll
        for (int step = 1; step < kWarp; step *= 2) {
          const int below = __shfl_up_sync(kAllLanes, sum, step);
          if (static_cast<int>(threadIdx.x) >= step) sum += below;
        }
        if (i < n_seqs) starts[i + 1] = before + sum;
        before += __shfl_sync(kAllLanes, sum, kWarp - 1);
      }
      if (threadIdx.x == 0) starts[0] = 0;
    }
    __syncthreads();
    return starts[n_seqs];
  }
};

// What a part holds behind its values.
enum PartField { kPartMass, kPartTop, kPartNext };  // kPartNext: by how many items the next part is further on

// Part of item `item` of a group of sequences, of head `head` of its chunk.
template <int kDim>
__device__ __forceinline__ float* part_at(const Call& c, int group, int64_t item, int head) {
  return c.parts + ((group * c.group_parts + item) * c.chunk_heads + head) * (kDim + 4);
}

// What a block has of a row: some of its closed units, then some of its open ones.
struct Run {
  Row row;
  int s, chunk;
  Span closed, open;
  int item;           // of the first of them
  bool first, whole;  // whether it is the row's first; whether the closed units are one item

  // Of the first open unit.
  __device__ __forceinline__ int open_item() const { return item + (whole ? min(1, closed.units) : closed.units); }
};

// Merges the parts of all rows into c.out.
template <int kDim>
void merge_parts(const Call& c, cudaStream_t stream);

// Calls walk(run) for each run that this block has.
template <typename Walk>
__device__ __forceinline__ void for_runs(const Call& c, const Deal& deal, const int* starts, Walk& walk) {
  const auto share = [&](int64_t i) { return static_cast<int>(deal.n_items * i / gridDim.x); };
  int at = share(blockIdx.x);
  const int end = share(blockIdx.x + 1);
  while (at < end) {
    int s = 0;
    for (int step = kDealtSeqs; step > 0; step /= 2) s += s + step < deal.n_seqs && starts[s + step] <= at ? step : 0;
    const Row row(c, deal.first_seq + s);
    const int items = row.items(deal.whole), local = at - starts[s], chunk = local / items, item = local % items;
    const int n = min(items - item, end - at), n_closed = row.closed_items(deal.whole);
    const int closed = max(0, min(n, n_closed - item)), open = max(0, item - n_closed);
    walk(Run{.row = row,
             .s = deal.first_seq + s,
             .chunk = chunk,
             .closed = deal.whole && closed > 0 ? row.closed : row.closed.part(item, closed),
             .open = row.open.part(open, n - closed),
             .item = at,
             .first = item == 0,
             .whole = deal.whole});
    at += n;
  }
}

}  // namespace arc::cuda::attention
