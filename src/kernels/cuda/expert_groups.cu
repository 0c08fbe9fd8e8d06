// Sorts tokens' choices by expert: a block for each expert, which counts all choices and places its own in order.
#include "kernels/cuda/expert_groups.cuh"

namespace arc::cuda {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / kWarp;

struct Call {
  ExpertChoices choices;
  ExpertGroups groups;
  int32_t n_pairs, tile;

  // The expert among those here; behind them: it is elsewhere.
  __device__ __forceinline__ int expert_of(int pair) const {
    const int token = pair / choices.top_k;
    const int id = choices.ids.row<int32_t>(token)[pair - token * choices.top_k] - choices.first;
    return id >= 0 && id < choices.experts ? id : choices.experts;
  }
};

// Pairs of a warp, a lane each: f(pair, its expert), or a pair of none and expert -1 behind the last.
template <typename F>
__device__ __forceinline__ void each_pair(const Call& c, int warp, int lane, F f) {
  const int share = (c.n_pairs + kThreads - 1) / kThreads * kWarp;
  const int begin = warp * share, end = min(begin + share, c.n_pairs);
  for (int at = begin; at < end; at += kWarp) {
    const int pair = at + lane;
    f(pair, pair < end ? c.expert_of(pair) : -1);
  }
}

// grid: experts, and one more for those elsewhere.
__global__ void __launch_bounds__(kThreads) group_kernel(const __grid_constant__ Call c) {
  __shared__ int32_t counts[kMaxExperts + 1], of_warps[kWarps], rows_before, tiles_before;
  const int mine = static_cast<int>(blockIdx.x), experts = c.choices.experts;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int e = threadIdx.x; e <= experts; e += kThreads) counts[e] = 0;
  if (threadIdx.x == 0) rows_before = tiles_before = 0;
  __syncthreads();
  int found = 0;
  each_pair(c, warp, lane, [&](int, int expert) {
    if (expert >= 0) atomicAdd(&counts[expert], 1);
    found += __popc(__ballot_sync(kAllLanes, expert == mine));
  });
  if (lane == 0) of_warps[warp] = found;
  __syncthreads();
  int rows = 0, tiles = 0;
  for (int e = threadIdx.x; e < mine; e += kThreads) {
    rows += counts[e];
    tiles += (counts[e] + c.tile - 1) / c.tile;
  }
  rows = __reduce_add_sync(kAllLanes, rows);
  tiles = __reduce_add_sync(kAllLanes, tiles);
  if (lane == 0) {
    atomicAdd(&rows_before, rows);
    atomicAdd(&tiles_before, tiles);
  }
  __syncthreads();
  const ExpertTile tile{mine, tiles_before, rows_before, counts[mine]};
  const int n_tiles = (tile.n_rows + c.tile - 1) / c.tile;
  for (int i = threadIdx.x; i < n_tiles; i += kThreads) c.groups.tiles[tile.first_tile + i] = tile;
  if (mine == experts && threadIdx.x == 0) {
    *c.groups.totals = {.tiles = tile.first_tile, .rows = tile.first_row, .all_tiles = tile.first_tile + n_tiles};
  }
  if (tile.n_rows == 0) return;
  int row = rows_before + __reduce_add_sync(kAllLanes, lane < warp ? of_warps[lane] : 0);
  each_pair(c, warp, lane, [&](int pair, int expert) {
    const unsigned own = __ballot_sync(kAllLanes, expert == mine);
    if (expert == mine) {
      const int at = row + __popc(own & ((1u << lane) - 1));
      c.groups.rows[pair] = at;
      c.groups.pairs[at] = pair;
    }
    row += __popc(own);
  });
}

}  // namespace

ExpertGroups group_by_expert(const ExpertChoices& choices, int tile, std::byte* scratch, cudaStream_t stream) {
  auto* rows = reinterpret_cast<int32_t*>(scratch + 256);
  const ExpertGroups groups{.rows = rows,
                            .pairs = rows + kMaxPairs,
                            .tiles = reinterpret_cast<ExpertTile*>(rows + 2 * kMaxPairs),
                            .totals = reinterpret_cast<ExpertTotals*>(scratch)};
  const Call c{choices, groups, static_cast<int32_t>(choices.n_pairs()), tile};
  group_kernel<<<static_cast<unsigned>(choices.experts + 1), kThreads, 0, stream>>>(c);
  return groups;
}

}  // namespace arc::cuda
