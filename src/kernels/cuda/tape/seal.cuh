// Packing a tile when its last token is written (TurboCodec::encode, pack_tile), by a warp that does nothing else, on
// the SMs whose granule is the newest. Nobody waits for it but the end of the launch. Every rounding is the one that
// quant/ does, in its order.
#pragma once

#include "kernels/cuda/tape/attention_bytes.cuh"
#include "quant/rounding.h"
#include "quant/turbo_words.h"

namespace arc::tape {

class Sealer {
 public:
  __device__ __forceinline__ Sealer(Shared& shared, const LaunchArgs& launch)
      : shared_(shared), launch_(launch), lane_(lane_id()) {}

  __device__ __forceinline__ void run() {
    const uint32_t position = shared_.step.position;
    if (position % kBlockTokens != kBlockTokens - 1) return;
    uint32_t n = 0;
    for (uint32_t i = 0; i < launch_.n_stages; ++i) {
      const TapeStage& stage = launch_.stages[i];
      const AttendArgs& a = stage.attend;
      if (stage.op != Op::attend || a.form != CacheForm::packed) continue;
      if (!attend_share(a, blockIdx.x / a.n_kv_heads, position).owns_newest) continue;
      await_row(++n);
      seal(stage, blockIdx.x % a.n_kv_heads, position / kBlockTokens);
    }
  }

 private:
  // The rows of the i-th such stage are in the cache.
  __device__ __forceinline__ void await_row(uint32_t i) const {
    const Watchdog watchdog("new row");
    while (load_acquire(&shared_.n_appended) < i) {
      __nanosleep(200);
      watchdog.check(i);
    }
    __syncwarp();
  }

  __device__ __forceinline__ void seal(const TapeStage& stage, uint32_t kv_head, uint32_t tile) const {
    const AttendArgs& a = stage.attend;
    const CacheCodec& codec = launch_.codecs[a.codec];
    const uint64_t from_block = launch_.block_tables[a.group][tile], block = launch_.block_tables[a.packed_group][tile];
    const auto* from =
        at<const uint8_t>(stage.cache.address + from_block * stage.cache.block_bytes) + kv_head * kInt8HeadBytes;
    auto* packed = at<uint8_t>(stage.packed.address + block * stage.packed.block_bytes) + kv_head * codec.head_bytes;
    seal_side<KvRole::key>(codec.sides[0], from, packed);
    seal_side<KvRole::value>(codec.sides[1], from, packed);
  }
  template <KvRole kRole>
  __device__ __forceinline__ void seal_side(const CacheSide& to, const uint8_t* from, uint8_t* packed) const {
    auto* norms = reinterpret_cast<__half*>(packed + to.scales_bytes);
#pragma unroll 1
    for (uint32_t half = 0; half < 2; ++half) {
      const Row row(from, kRole == KvRole::key ? 0 : 1, 32 * half + lane_);
      if (to.bits == kUniformBits) {
        seal_uniform(row, packed + to.data_bytes, norms);
      } else {
        seal_codes<kRole>(to, row, packed + to.data_bytes, norms);
      }
    }
  }

  // One row of int8: a lane's.
  struct Row {
    const uint4* numbers;
    float scales[kHeadDim / 32];
    uint32_t token;

    __device__ __forceinline__ Row(const uint8_t* head, uint32_t side, uint32_t token)
        : numbers(reinterpret_cast<const uint4*>(head + side * kInt8SideBytes + token * kInt8RowBytes)), token(token) {
      const uint8_t* at = head + 2 * kInt8SideBytes + side * kSideScaleBytes + token * kRowScaleBytes;
#pragma unroll
      for (uint32_t i = 0; i < kHeadDim / 32; ++i) scales[i] = __half2float(reinterpret_cast<const __half*>(at)[i]);
    }
    // Calls visit(i, y) for the 32 coordinates of a group, in order.
    template <class Visit>
    __device__ __forceinline__ void for_group(uint32_t group, Visit&& visit) const {
      float scale = scales[0];
#pragma unroll
      for (uint32_t i = 1; i < kHeadDim / 32; ++i) scale = group == i ? scales[i] : scale;
#pragma unroll
      for (uint32_t half = 0; half < 2; ++half) {
        const uint4 four = numbers[2 * group + half];
        const uint32_t words[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (uint32_t i = 0; i < 16; ++i)
          visit(16 * half + i, __fmul_rn(scale, float(int8_t(words[i / 4] >> (i % 4 * 8)))));
      }
    }
  };
  static constexpr uint32_t kGroups = kHeadDim / kWordGroup;

  __device__ __forceinline__ static void seal_uniform(const Row& row, uint8_t* tile, __half* norms) {
    float largest = 0.0f;
#pragma unroll 1
    for (uint32_t g = 0; g < kGroups; ++g)
      row.for_group(g, [&](uint32_t, float y) { largest = fmaxf(largest, fabsf(y)); });
    const __half scale = __float2half_rn(fminf(largest, kMaxF16));
    const float size = __half2float(scale), inverse = size > 0.0f ? __fdiv_rn(127.0f, size) : 0.0f;
    auto* out = reinterpret_cast<uint32_t*>(tile + row.token * kHeadDim);
#pragma unroll 1
    for (uint32_t g = 0; g < kGroups; ++g) {
      uint32_t words[8] = {};
      row.for_group(g, [&](uint32_t i, float y) {
        words[i / 4] |= (uint32_t(quant::nearest(__fmul_rn(y, inverse), -127, 127)) & 0xffu) << (i % 4 * 8);
      });
#pragma unroll
      for (uint32_t i = 0; i < 8; ++i) out[g * 8 + i] = words[i];
    }
    norms[norm_place(int(row.token))] = scale;
  }

  template <KvRole kRole>
  __device__ __forceinline__ void seal_codes(const CacheSide& to, const Row& row, uint8_t* tile, __half* norms) const {
    double square = 0.0, decoded = 0.0;
#pragma unroll 1
    for (uint32_t g = 0; g < kGroups; ++g)
      row.for_group(g, [&](uint32_t, float y) { square = __dadd_rn(square, __dmul_rn(y, y)); });
    const double length = __dsqrt_rn(square);
    const float inverse = length > 0.0 ? float(__ddiv_rn(1.0, length)) : 0.0f;
    const float my_level = to.levels[lane_ % 16];
    const int n_borders = (1 << to.bits) - 1;
#pragma unroll 1
    for (uint32_t g = 0; g < kGroups; ++g) {
      uint32_t held[4] = {};  // [set], a nibble a coordinate
      float unit[kWordGroup];
      int code[kWordGroup] = {};
      row.for_group(g, [&](uint32_t i, float y) { unit[i] = __fmul_rn(y, inverse); });
#pragma unroll 1
      for (int border = 0; border < n_borders; ++border) {
#pragma unroll
        for (uint32_t i = 0; i < kWordGroup; ++i) code[i] += unit[i] < to.borders[border] ? 0 : 1;
      }
#pragma unroll
      for (uint32_t i = 0; i < kWordGroup; ++i) {
        const float level = __shfl_sync(kAllLanes, my_level, code[i]);
        decoded = __dadd_rn(decoded, __dmul_rn(level, level));
        held[i / 8] |= uint32_t(held_of(kRole, to.bits, code[i])) << (4 * (i % 8));
      }
      pack<kRole>(to.bits, held, row.token, g, reinterpret_cast<uint32_t*>(tile));
    }
    const float norm = float(__ddiv_rn(length, __dsqrt_rn(decoded)));
    norms[norm_place(int(row.token))] = __float2half_rn(fminf(norm, kMaxF16));
  }

  // The words of a group: of keys those of the lane's token; of values those of eight tokens of the warp's 32.
  template <KvRole kRole>
  __device__ __forceinline__ void pack(int bits, const uint32_t (&held)[4], uint32_t token, uint32_t group,
                                       uint32_t* tile) const {
    uint32_t words[kMaxGridBits] = {};
    const uint32_t column = lane_ / 4, first = 2 * (lane_ % 4);  // of values: coordinate 8 m + column, the first token
#pragma unroll
    for (uint32_t n = 0; n < 8; ++n) {
      const uint32_t from = first + n / 4 * 16 + n / 2 % 2 * 8 + n % 2;
#pragma unroll
      for (uint32_t m = 0; m < 4; ++m) {
        const uint32_t code = kRole == KvRole::key ? held[m] >> (4 * n) & 15u
                                                   : __shfl_sync(kAllLanes, held[m], from) >> (4 * column) & 15u;
        hold_code(kRole, bits, int(m), int(n), code, words);
      }
    }
    const int all = int(kGroups) * bits, at_token = kRole == KvRole::key ? int(token) : int(token / 32 * 32 + first);
#pragma unroll
    for (int k = 0; k < kMaxGridBits; ++k) {
      if (k < bits)
        tile[word_place(kRole, all, at_token, int(group * kWordGroup + column), int(group) * bits + k)] = words[k];
    }
  }

  Shared& shared_;
  const LaunchArgs& launch_;
  const uint32_t lane_;
};

}  // namespace arc::tape
