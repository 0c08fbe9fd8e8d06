// Keys and values in any codec, element by element, and TurboQuant's rotation, on the device.
#pragma once

#include <cstdint>

#include "kernels/cuda/common.cuh"
#include "quant/turbo.h"

namespace arc::cuda {

// One layer's keys or values as kernels take them.
struct KvSide {
  KvRole role = KvRole::key;
  KvPolicy::Codec codec = KvPolicy::Codec::raw;
  DType raw = DType::f32;
  int32_t dim = 0, bits = 0;
  int64_t data_bytes = 0, scales_bytes = 0;  // behind the start of a head's part of a block
  float step = 1.0f, offset = 0.0f;          // TurboTable's
  uint64_t entries[2] = {};                  // likewise, a byte each
};

inline KvSide kv_side(const KvView& kv, int32_t dim, KvRole role) {
  const bool key = role == KvRole::key;
  const KvPolicy::Side side = key ? kv.policy.k : kv.policy.v;
  KvSide out{.role = role,
             .codec = side.codec,
             .raw = kv.policy.raw,
             .dim = dim,
             .data_bytes = key ? 0 : kv.v_offset_bytes,
             .scales_bytes = key ? kv.k_scales_bytes : kv.v_scales_bytes};
  if (!kv.policy.tiled()) return out;
  const TurboTable& table = turbo_table(key ? *kv.k_turbo : *kv.v_turbo);
  out.bits = table.bits;
  out.step = table.step;
  out.offset = table.offset;
  for (int i = 0; i < 16; ++i) out.entries[i / 8] |= uint64_t{table.entries[i]} << (i % 8 * 8);
  return out;
}

// The words of a token's, or a lane's, codes in one group of coordinates.
struct HeldWords {
  const uint32_t* tile;
  KvRole role;
  int words, token, coordinate, first;

  __host__ __device__ uint32_t operator[](int k) const {
    return tile[word_place(role, words, token, coordinate, first + k)];
  }
};

// Coordinate d of a token; `head` is the start of a head's part of a block.
__device__ __forceinline__ float turbo_element(const KvSide& s, const std::byte* head, int token, int d) {
  const std::byte* tile = head + s.data_bytes;
  const float norm = __half2float(reinterpret_cast<const __half*>(head + s.scales_bytes)[norm_place(token)]);
  if (s.bits == kUniformBits) {
    const auto number = static_cast<int8_t>(tile[token * word_groups(s.dim) * kWordGroup + d]);
    return norm * (s.step * static_cast<float>(number));
  }
  const HeldWords words{
      reinterpret_cast<const uint32_t*>(tile), s.role, word_groups(s.dim) * s.bits, token, d, d / kWordGroup * s.bits};
  const int held = held_code(s.role, s.bits, d % kWordGroup / 8, nibble_of(s.role, token, d), words);
  const uint64_t entry = s.entries[held / 8] >> (held % 8 * 8);
  const int number = s.role == KvRole::key ? static_cast<int>(entry & 0xff) : static_cast<int8_t>(entry);
  return norm * (s.step * (static_cast<float>(number) - s.offset));
}

// find_trellis() of device code.
__device__ __forceinline__ const Trellis& device_trellis(int bits) {
  static constexpr Trellis kTrellises[] = {
#include "quant/trellis.inc"
  };
  return kTrellises[bits - kMinTrellisBits];
}

__device__ __forceinline__ float trellis_element(const KvSide& s, const std::byte* head, int token, int d) {
  const int row_bytes = trellis_row_bytes(s.dim, s.bits);
  const int window = trellis_window(head + s.data_bytes + token * row_bytes, row_bytes, s.bits, d);
  const float norm = __half2float(reinterpret_cast<const __half*>(head + s.scales_bytes)[norm_place(token)]);
  return norm * (s.step * static_cast<float>(device_trellis(s.bits).numbers[window]));
}

__device__ __forceinline__ float f8e4m3_element(std::byte code) {
  const auto bits = static_cast<uint32_t>(code);
  // A half has a wider exponent: 2^8 times less.
  return __half2float(__ushort_as_half(static_cast<uint16_t>((bits & 0x80) << 8 | (bits & 0x7f) << 7))) * 256.0f;
}

__device__ __forceinline__ float kv_element(const KvSide& s, const std::byte* head, int token, int d) {
  const std::byte* data = head + s.data_bytes;
  const int64_t at = static_cast<int64_t>(token) * s.dim + d;
  switch (s.codec) {
    case KvPolicy::Codec::f8e4m3:
      return f8e4m3_element(data[at]);
    case KvPolicy::Codec::int8_block: {
      const auto* scales = reinterpret_cast<const __half*>(head + s.scales_bytes);
      return __half2float(scales[token * ((s.dim + 31) / 32) + d / 32]) *
             static_cast<float>(static_cast<int8_t>(data[at]));
    }
    case KvPolicy::Codec::turbo:
      return turbo_element(s, head, token, d);
    case KvPolicy::Codec::trellis:
      return trellis_element(s, head, token, d);
    default:
      return load_as_float(data, s.raw, at);
  }
}

// ---- rotation ------------------------------------------------------------------------------------------------------

inline constexpr int kMaxTurnOdd = 9;  // of kCodebookDims

// Rotation (quant/rotation.h) as kernels take it; `dim` 0: none.
struct Turn {
  int32_t dim = 0, odd = 1;
  uint32_t negative[(kMaxTurboDim + 31) / 32] = {};  // a bit for each coordinate
  float hartley[kMaxTurnOdd * kMaxTurnOdd] = {};

  __device__ __forceinline__ float sign(int i) const { return (negative[i / 32] >> (i % 32) & 1u) != 0 ? -1.0f : 1.0f; }
};

inline Turn turn_of(const TurboCodec* codec) {
  Turn turn;
  if (codec == nullptr) return turn;
  const Rotation& rotation = codec->rotation();
  turn.dim = rotation.dim();
  for (turn.odd = turn.dim; turn.odd % 2 == 0; turn.odd /= 2) {
  }
  for (int i = 0; i < turn.dim; ++i) turn.negative[i / 32] |= uint32_t{rotation.signs()[i] < 0} << (i % 32);
  for (int i = 0; i < turn.odd * turn.odd; ++i) turn.hartley[i] = rotation.hartley()[i];
  return turn;
}

// x <- R x in shared memory, for all kThreads threads of a block. Rotation::apply() in its own order: the same bits.
template <int kThreads>
__device__ __forceinline__ void rotate_row(float* x, const Turn& turn) {
  constexpr int kEach = (kMaxTurboDim + kThreads - 1) / kThreads;
  const int n = turn.dim, me = static_cast<int>(threadIdx.x);
  __syncthreads();
  for (int i = me; i < n; i += kThreads) x[i] *= turn.sign(i);
  for (int step = turn.odd; step < n; step *= 2) {
    __syncthreads();
    for (int i = me; i < n / 2; i += kThreads) {
      float* pair = x + i / step * 2 * step + i % step;
      const float a = pair[0], b = pair[step];
      pair[0] = a + b;
      pair[step] = a - b;
    }
  }
  __syncthreads();
  float mixed[kEach];
#pragma unroll
  for (int r = 0; r < kEach; ++r) {
    const int i = me + r * kThreads, j = i % turn.odd;
    if (i >= n) break;
    mixed[r] = 0.0f;
    for (int k = 0; k < turn.odd; ++k) {
      mixed[r] = __fadd_rn(mixed[r], __fmul_rn(turn.hartley[j * turn.odd + k], x[i - j + k]));
    }
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kEach; ++r) {
    const int i = me + r * kThreads;
    if (i < n) x[i] = mixed[r] * turn.sign(i);
  }
  __syncthreads();
}

// The same for a warp and a power of two; lane l holds coordinates l + 32 i.
template <int kDim>
__device__ __forceinline__ void rotate_lanes(float (&x)[kDim / kWarp], const Turn& turn) {
  constexpr int kEach = kDim / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int i = 0; i < kEach; ++i) x[i] *= turn.sign(lane + i * kWarp);
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const float other = __shfl_xor_sync(kAllLanes, x[i], step);
      x[i] = (lane & step) != 0 ? __fsub_rn(other, x[i]) : __fadd_rn(x[i], other);
    }
  }
#pragma unroll
  for (int step = 1; step < kEach; step *= 2) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if ((i & step) != 0) continue;
      const float a = x[i], b = x[i + step];
      x[i] = __fadd_rn(a, b);
      x[i + step] = __fsub_rn(a, b);
    }
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) x[i] = __fmul_rn(turn.hartley[0], x[i]) * turn.sign(lane + i * kWarp);
}

}  // namespace arc::cuda
