// Tiles of the cache in shared memory as bf16: as they are stored, or decoded from f8e4m3, which bf16 holds exactly.
#pragma once

#include "kernels/cuda/attention_call.cuh"
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/tensor_core.cuh"

namespace arc::cuda::attention {

inline constexpr int kTile = 64;   // positions; a block of the cache
inline constexpr int kStages = 2;  // tiles in shared memory: one is used, one is on its way
inline constexpr int kWarps = 4, kThreads = kWarps * kWarp;

// Where 16 bytes number `chunk` of row `row` lie, in units of 16 bytes. Eight rows of one chunk, and half the chunks of
// two neighbouring rows, lie in different banks.
template <int kDim>
__device__ __forceinline__ int place(int row, int chunk) {
  return row * (kDim / 8) + (chunk ^ ((row & 1) << 2 | (row >> 1 & 3)));
}

// A tile: [K | V], kTile rows each.
template <int kDim>
struct Stage {
  uint4 keys[kTile * kDim / 8], values[kTile * kDim / 8];
};

// Asks for a tile of bf16. Rows behind `last` are zeros.
template <int kDim>
__device__ __forceinline__ void fetch_raw(const KvView& kv, const std::byte* head, int tile, int last,
                                          Stage<kDim>& stage) {
  constexpr int kChunks = kDim / 8;
#pragma unroll
  for (int i = 0; i < kTile * kChunks / kThreads; ++i) {
    const int at = threadIdx.x + i * kThreads, row = at / kChunks, chunk = at % kChunks;
    const bool known = tile * kTile + row <= last;
    copy_async16(stage.keys + place<kDim>(row, chunk), head + at * 16, known);
    copy_async16(stage.values + place<kDim>(row, chunk), head + kv.v_offset_bytes + at * 16, known);
  }
}

// Two of four f8e4m3 as bf16; `select` puts each into the upper byte of a half (permute_bytes()). There its bits are
// those of a bf16 2^120 times less.
__device__ __forceinline__ uint32_t f8_pair(uint32_t four, uint32_t select) {
  const uint32_t high = permute_bytes(four, 0, select);
  const uint32_t bits = (high & 0x80008000u) | (high >> 4 & 0x07f007f0u);
  const __nv_bfloat162 unit = __floats2bfloat162_rn(0x1p120f, 0x1p120f);
  const __nv_bfloat162 pair = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&bits), unit);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Rows of f8e4m3. Those behind `last` are zeros.
template <int kDim>
__device__ __forceinline__ void decode_f8(const std::byte* bytes, int tile, int last, uint4* to) {
  constexpr int kChunks = kDim / 8;
#pragma unroll 4
  for (int i = 0; i < kTile * kChunks / kThreads; ++i) {
    const int at = threadIdx.x + i * kThreads, row = at / kChunks;
    const uint2 eight = reinterpret_cast<const uint2*>(bytes)[at];
    const uint4 pairs = make_uint4(f8_pair(eight.x, 0x1404), f8_pair(eight.x, 0x3424), f8_pair(eight.y, 0x1404),
                                   f8_pair(eight.y, 0x3424));
    to[place<kDim>(row, at % kChunks)] = tile * kTile + row <= last ? pairs : make_uint4(0, 0, 0, 0);
  }
}

// How a block gets tiles [begin, end) of a sequence: bytes of f8e4m3 are asked for two tiles ahead, and become bf16 one
// ahead; bf16 is asked for one ahead.
template <int kDim, bool kF8>
struct Fetch {
  const AttendCall& c;
  const int32_t* table;
  const std::byte* data;  // of the head
  int last, end;

  __device__ Fetch(const AttendCall& call, int s, int kv_head, int last, int end)
      : c(call),
        table(call.block_table + static_cast<int64_t>(s) * call.table_stride),
        data(call.kv.data + kv_head * call.kv.head_bytes),
        last(last),
        end(end) {}

  // The first tile into stage 0, and the bytes of the second.
  template <typename Shared>
  __device__ __forceinline__ void begin(int first, Shared& shared) const {
    if constexpr (kF8) {
      ask(first, shared, 0);
      copies_issued();
      copies_arrived<0>();
      __syncthreads();
    }
    fill(first, shared, 0);
  }

  // A tile, whose bytes are there, into stage `i`, and the bytes of the next.
  template <typename Shared>
  __device__ __forceinline__ void fill(int tile, Shared& shared, int i) const {
    if (tile >= end) return;
    if constexpr (!kF8) {
      fetch_raw<kDim>(c.kv, data + table[tile] * c.kv.block_bytes, tile, last, shared.stages[i]);
    } else {
      const auto* bytes = reinterpret_cast<const std::byte*>(shared.bytes[i]);
      decode_f8<kDim>(bytes, tile, last, shared.stages[i].keys);
      decode_f8<kDim>(bytes + c.kv.v_offset_bytes, tile, last, shared.stages[i].values);
      if (tile + 1 < end) ask(tile + 1, shared, (i + 1) % kStages);
    }
    copies_issued();
  }

 private:
  template <typename Shared>
  __device__ __forceinline__ void ask(int tile, Shared& shared, int i) const {
    const std::byte* head = data + table[tile] * c.kv.block_bytes;
    const int n = static_cast<int>(c.kv.head_bytes) / 16;
    for (int at = threadIdx.x; at < n; at += kThreads) copy_async16(&shared.bytes[i][at], head + at * 16, true);
  }
};

// 16-byte pieces of a tile in f8e4m3.
template <int kDim>
inline constexpr int kF8Chunks = 2 * kTile * kDim / 16;

}  // namespace arc::cuda::attention
