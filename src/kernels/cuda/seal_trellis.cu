// Full tiles into a trellis code: a warp to a row. TurboCodec::encode() and encode_trellis() in whole numbers, the
// codes of the reference.
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/seal.cuh"
#include "quant/rounding.h"

namespace arc::cuda {
namespace {

constexpr int kRows = 4;  // of a block, a warp each

// One row's work: parts of numbers, then windows; the ways that a walk has come, 4 bits a lane and step.
struct RowShared {
  int16_t x[kMaxTurboDim];
  uint8_t windows[kMaxTurboDim];
  union {
    uint32_t back[kMaxTurboDim / 8][kWarp];
    float y[kMaxTurboDim];
  };
};

// The walk of quant/trellis.h: lane l has states l (and 32 + l of 64, or l - 16 of 16 again), and windows 32 j + l.
template <int bits>
struct Walk {
  static constexpr int kHalves = bits == 2 ? 2 : 1, kStates = kWindows >> bits;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int parts[8], costs[kHalves];

  __device__ explicit Walk(const Trellis& code) {
    for (int j = 0; j < 8; ++j) parts[j] = code.numbers[32 * j + lane] * trellis_fine(bits);
  }
  __device__ int state(int h) const { return (32 * h + lane) % kStates; }

  // One coordinate; gives the lane's 4 bits of how its states are reached.
  __device__ uint32_t step(int x) {
    int next[kHalves], ids[kHalves];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int before = __shfl_sync(kAllLanes, costs[j * kHalves / 8], ((32 * j + lane) >> bits) % kWarp);
      const int cost = before + trellis_cost(x, parts[j]), h = j % kHalves;
      if (j < kHalves || cost < next[h]) {
        next[h] = cost;
        ids[h] = j / kHalves;
      }
    }
    if constexpr (bits == 4) {  // even branches in the lower lanes, odd ones in the upper
      ids[0] = 2 * ids[0] + lane / 16;
      const int other = __shfl_xor_sync(kAllLanes, next[0], 16), other_id = __shfl_xor_sync(kAllLanes, ids[0], 16);
      if (other < next[0] || (other == next[0] && other_id < ids[0])) {
        next[0] = other;
        ids[0] = other_id;
      }
    }
    uint32_t found = 0;
#pragma unroll
    for (int h = 0; h < kHalves; ++h) {
      costs[h] = next[h];
      found |= static_cast<uint32_t>(ids[h]) << 2 * h;
    }
    return found;
  }

  // n steps, a multiple of 8, from coordinate `at` of the ring of `dim` down.
  __device__ void walk(RowShared& row, int dim, int at, int n) {
    uint32_t word = 0;
    for (int i = 0; i < n; ++i) {
      word |= step(row.x[at]) << 4 * (i % 8);
      at = at > 0 ? at - 1 : dim - 1;
      if (i % 8 != 7) continue;
      row.back[i / 8][lane] = word;
      word = 0;
    }
    __syncwarp();
  }
  // The cheapest window of step i into a state.
  __device__ static int window(const RowShared& row, int i, int state) {
    const uint32_t found = row.back[i / 8][state % kWarp] >> 4 * (i % 8);
    const uint32_t id = bits == 2 ? found >> 2 * (state / kWarp) & 3u : found & 15u;
    return static_cast<int>(id) * kStates + state;
  }
  __device__ int cheapest() const {
    int cost = costs[0], s = state(0);
    if constexpr (kHalves == 2) {
      if (costs[1] < cost) {
        cost = costs[1];
        s = state(1);
      }
    }
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
      const int other = __shfl_xor_sync(kAllLanes, cost, lanes), other_state = __shfl_xor_sync(kAllLanes, s, lanes);
      if (other < cost || (other == cost && other_state < s)) {
        cost = other;
        s = other_state;
      }
    }
    return s;
  }

  // Windows of row.x; the bits that a window shares with the next are its upper ones.
  __device__ void encode(RowShared& row, int dim) {
    for (int& cost : costs) cost = 0;
    walk(row, dim, kSeamReach - 1, 2 * kSeamReach);
    int s = cheapest();
    for (int i = 2 * kSeamReach; i-- > kSeamReach;) s = window(row, i, s) >> bits;
    __syncwarp();
    for (int h = 0; h < kHalves; ++h) costs[h] = state(h) == s ? 0 : trellis_far(bits);
    walk(row, dim, dim - 1, dim);
    for (int i = dim; i-- > 0;) {
      const int w = window(row, i, s);
      if (lane == 0) row.windows[dim - 1 - i] = static_cast<uint8_t>(w);
      s = w >> bits;
    }
    __syncwarp();
  }
};

// pack_trellis_row(): a byte is made of the windows that have some of its bits.
__device__ void pack_row(const RowShared& row, int dim, int bits, std::byte* out) {
  for (int i = static_cast<int>(threadIdx.x) % kWarp; i < trellis_row_bytes(dim, bits); i += kWarp) {
    const int d = 8 * i / bits, next = d + 1 < dim ? d + 1 : 0, skip = 8 * i % bits;
    out[i] = static_cast<std::byte>(row.windows[d] >> skip | row.windows[next] << (bits - skip));
  }
}

// grid: (tiles times groups of rows, kv heads, keys and values).
__global__ void __launch_bounds__(kRows* kWarp) seal_trellis_kernel(const __grid_constant__ SealCall c) {
  __shared__ RowShared rows[kRows];
  constexpr int kGroups = kTileTokens / kRows;
  const SealSide& side = c.side[blockIdx.z];
  const SealTile tile(c, static_cast<int>(blockIdx.x) / kGroups);
  if (side.to.codec != KvPolicy::Codec::trellis || tile.sequence < 0) return;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  const int dim = side.to.dim, bits = side.to.bits, token = static_cast<int>(blockIdx.x) % kGroups * kRows + warp;
  const std::byte* open = tile.open(c, blockIdx.y);
  std::byte* packed = tile.packed(c, blockIdx.y);
  RowShared& row = rows[warp];
  for (int d = lane; d < dim; d += kWarp) row.y[d] = kv_element(side.from, open, token, d);
  __syncwarp();
  double square = 0.0;
  for (int d = 0; d < dim; ++d) square = __dadd_rn(square, __dmul_rn(row.y[d], row.y[d]));
  const double length = __dsqrt_rn(square), step = side.to.step;
  const float factor = length > 0.0 ? static_cast<float>(__ddiv_rn(trellis_fine(bits), __dmul_rn(length, step))) : 0.0f;
  const int most = kLargestTrellisNumber * trellis_fine(bits);
  for (int d = lane; d < dim; d += kWarp) {
    row.x[d] = static_cast<int16_t>(quant::nearest(__fmul_rn(row.y[d], factor), -most, most));
  }
  __syncwarp();
  const Trellis& code = device_trellis(bits);
  switch (bits) {
    case 2:
      Walk<2>(code).encode(row, dim);
      break;
    case 3:
      Walk<3>(code).encode(row, dim);
      break;
    default:
      Walk<4>(code).encode(row, dim);
  }
  int decoded = 0;
  for (int d = lane; d < dim; d += kWarp) decoded += code.numbers[row.windows[d]] * code.numbers[row.windows[d]];
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) decoded += __shfl_xor_sync(kAllLanes, decoded, lanes);
  pack_row(row, dim, bits, packed + side.to.data_bytes + token * trellis_row_bytes(dim, bits));
  if (lane > 0) return;
  const double scale = decoded > 0 ? __ddiv_rn(length, __dmul_rn(step, __dsqrt_rn(decoded))) : 0.0;
  reinterpret_cast<__half*>(packed + side.to.scales_bytes)[norm_place(token)] =
      __float2half_rn(fminf(static_cast<float>(scale), kMaxF16));
}

}  // namespace

void seal_trellis(const SealCall& call, int64_t tiles, int32_t kv_heads, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(tiles * (kTileTokens / kRows)), static_cast<unsigned>(kv_heads), 2);
  seal_trellis_kernel<<<grid, kRows * kWarp, 0, stream>>>(call);
}

}  // namespace arc::cuda
