// Tiles of the cache in shared memory as bf16, whatever they are stored as: codes are numbers that bf16 holds exactly,
// and what is left of a level is one factor for each position, of its keys' scores and of its values' weights.
#pragma once

#include <climits>

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
struct Factors {
  float keys[kTile], values[kTile];
};

// Which tiles a block's rows see, in order, and in which form: of a tiled policy a row's own tile raw, every other
// packed. Rows of two own tiles see the first of them in both forms. The last tile is that of the last row.
template <bool kPacked>
struct Visit {
  int tile;

  __device__ Visit(const AttendCall&, int begin, int, int) : tile(begin) {}
  __device__ void next() { ++tile; }
};
template <>
struct Visit<true> {
  int tile, first_own, last_own;
  bool open;  // raw, of a tiled policy

  __device__ Visit(const AttendCall& c, int begin, int first_position, int last_position)
      : tile(begin),
        first_own(c.open_table != nullptr ? first_position / kTile : INT_MAX),
        last_own(c.open_table != nullptr ? last_position / kTile : INT_MAX),
        open(begin >= last_own) {}
  __device__ void next() {
    const bool again = !open && tile >= first_own;
    if (!again) ++tile;
    open = again || tile >= last_own;
  }
};

// The numbers of the codes as they are held, in bf16: of keys, of values.
struct Numbers {
  uint16_t of[2][16];

  __device__ __forceinline__ void fill(const AttendCall& c) {
    if (threadIdx.x >= 32) return;
    const KvSide& side = threadIdx.x < 16 ? c.k : c.v;
    const int held = threadIdx.x % 16;
    const auto entry = static_cast<uint8_t>(side.entries[held / 8] >> (held % 8 * 8));
    const int number = side.role == KvRole::key ? entry : static_cast<int8_t>(entry);
    of[threadIdx.x / 16][held] = __bfloat16_as_ushort(__float2bfloat16(static_cast<float>(number) - side.offset));
  }
};

// Asks for raw tile `tile`. Rows behind `last` are zeros.
template <int kDim>
__device__ __forceinline__ void fetch_raw(const KvView& kv, const int32_t* table, int kv_head, int tile, int last,
                                          Stage<kDim>& stage) {
  constexpr int kChunks = kDim / 8;
  const std::byte* head = kv.data + table[tile] * kv.block_bytes + kv_head * kv.head_bytes;
#pragma unroll
  for (int i = 0; i < kTile * kChunks / kThreads; ++i) {
    const int at = threadIdx.x + i * kThreads, row = at / kChunks, chunk = at % kChunks;
    const bool known = tile * kTile + row <= last;
    copy_async16(stage.keys + place<kDim>(row, chunk), head + at * 16, known);
    copy_async16(stage.values + place<kDim>(row, chunk), head + kv.v_offset_bytes + at * 16, known);
  }
}

// Rows of one byte for each coordinate: whole numbers, or f8e4m3.
template <int kDim, bool kFloat>
__device__ __forceinline__ void decode_bytes(const std::byte* tile, uint4* to) {
  constexpr int kChunks = kDim / 8;
#pragma unroll 2
  for (int i = 0; i < kTile * kChunks / kThreads; ++i) {
    const int at = threadIdx.x + i * kThreads;
    const uint2 bytes = reinterpret_cast<const uint2*>(tile)[at];
    const auto number = [&](int j) {
      const uint32_t byte = (j < 4 ? bytes.x : bytes.y) >> (j % 4 * 8) & 0xffu;
      return kFloat ? f8e4m3_element(static_cast<std::byte>(byte)) : static_cast<float>(static_cast<int8_t>(byte));
    };
    to[place<kDim>(at / kChunks, at % kChunks)] =
        make_uint4(bf16_pair(number(0), number(1)), bf16_pair(number(2), number(3)), bf16_pair(number(4), number(5)),
                   bf16_pair(number(6), number(7)));
  }
}

// Words as held_code() wants them, none of them in memory.
template <int kBits>
struct Held {
  uint32_t words[kBits];

  __device__ __forceinline__ uint32_t operator[](int k) const {
    uint32_t word = words[0];
#pragma unroll
    for (int i = 1; i < kBits; ++i) word = k == i ? words[i] : word;
    return word;
  }
};

// Set m of a group of a token's keys is a chunk.
template <int kDim, int kBits>
__device__ __forceinline__ void decode_keys(const std::byte* tile, const uint16_t* numbers, uint4* to) {
  constexpr int kChunks = kDim / 8, kWords = kDim / kWordGroup * kBits;
#pragma unroll 2
  for (int i = 0; i < kTile * kChunks / kThreads; ++i) {
    const int at = threadIdx.x + i * kThreads, row = at / kChunks, chunk = at % kChunks;
    Held<kBits> held;
#pragma unroll
    for (int k = 0; k < kBits; ++k) {
      held.words[k] = reinterpret_cast<const uint32_t*>(tile)[row * kWords + chunk / 4 * kBits + k];
    }
    uint32_t pairs[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      pairs[j] = numbers[held_code(KvRole::key, kBits, chunk % 4, 2 * j, held)] |
                 uint32_t{numbers[held_code(KvRole::key, kBits, chunk % 4, 2 * j + 1, held)]} << 16;
    }
    to[place<kDim>(row, chunk)] = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
  }
}

// A lane's words of a group are eight tokens of four coordinates.
template <int kDim, int kBits>
__device__ __forceinline__ void decode_values(const std::byte* tile, const uint16_t* numbers, uint4* to) {
  constexpr int kGroups = kDim / kWordGroup, kWords = kGroups * kBits;
  constexpr KvRole kRole = KvRole::value;
#pragma unroll 1
  for (int i = 0; i < kTile * kGroups / kThreads; ++i) {
    const int at = threadIdx.x + i * kThreads, g = at / kTile;
    const WordGroup group = word_group(kRole, kDim, kBits, at % kTile * kGroups + g);
    Held<kBits> held;
#pragma unroll
    for (int k = 0; k < kBits; ++k) {
      held.words[k] = reinterpret_cast<const uint32_t*>(
          tile)[word_place(kRole, kWords, group.token, group.coordinate, group.first_word + k)];
    }
#pragma unroll
    for (int m = 0; m < 4; ++m) {
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        uint4* chunk = to + place<kDim>(token_of(kRole, group, n), 4 * g + m);
        reinterpret_cast<uint16_t*>(chunk)[group.coordinate % 8] = numbers[held_code(kRole, kBits, m, n, held)];
      }
    }
  }
}

template <int kDim>
__device__ __forceinline__ void decode_side(const KvSide& side, const std::byte* head, const uint16_t* numbers,
                                            uint4* to, float* factors) {
  const std::byte* tile = head + side.data_bytes;
  const bool key = side.role == KvRole::key, turbo = side.codec == KvPolicy::Codec::turbo;
  if (threadIdx.x < kTile) {
    const auto* norms = reinterpret_cast<const __half*>(head + side.scales_bytes);
    factors[threadIdx.x] = turbo ? __fmul_rn(side.step, __half2float(norms[norm_place(threadIdx.x)])) : 1.0f;
  }
  if (!turbo) return decode_bytes<kDim, true>(tile, to);
  switch (side.bits) {
    case 1:
      return key ? decode_keys<kDim, 1>(tile, numbers, to) : decode_values<kDim, 1>(tile, numbers, to);
    case 2:
      return key ? decode_keys<kDim, 2>(tile, numbers, to) : decode_values<kDim, 2>(tile, numbers, to);
    case 3:
      return key ? decode_keys<kDim, 3>(tile, numbers, to) : decode_values<kDim, 3>(tile, numbers, to);
    case 4:
      return key ? decode_keys<kDim, 4>(tile, numbers, to) : decode_values<kDim, 4>(tile, numbers, to);
    default:
      return decode_bytes<kDim, false>(tile, to);
  }
}

// How a block gets tiles: packed ones are asked for two visits ahead, and become bf16 one ahead; raw ones are asked for
// one ahead. kPacked: not all of them are raw.
template <int kDim, bool kPacked>
struct Fetch {
  const AttendCall& c;
  const int32_t *table, *open_table;
  int kv_head, last;

  __device__ Fetch(const AttendCall& call, int s, int kv_head, int last)
      : c(call),
        table(call.block_table + static_cast<int64_t>(s) * call.table_stride),
        open_table(call.open_table + static_cast<int64_t>(s) * call.open_stride),
        kv_head(kv_head),
        last(last) {}

  // The first visit into stage 0, and the bytes of the second.
  template <typename Shared>
  __device__ __forceinline__ void begin(const Visit<kPacked>& first, int end, Shared& shared) const {
    if constexpr (kPacked) {
      shared.numbers.fill(c);
      ask(first, shared, 0);
      copies_issued();
      copies_arrived<0>();
      __syncthreads();
    }
    fill(first, end, shared, 0);
  }

  // `visit`, whose bytes are there, into stage `i`, and the bytes of the visit behind it.
  template <typename Shared>
  __device__ __forceinline__ void fill(const Visit<kPacked>& visit, int end, Shared& shared, int i) const {
    if (visit.tile >= end) return;
    if constexpr (!kPacked) {
      fetch_raw<kDim>(c.kv, table, kv_head, visit.tile, last, shared.stages[i]);
    } else {
      if (visit.open) {
        fetch_raw<kDim>(c.open, open_table, kv_head, visit.tile, last, shared.stages[i]);
        if (threadIdx.x < kTile) shared.factors[i].keys[threadIdx.x] = shared.factors[i].values[threadIdx.x] = 1.0f;
      } else {
        const auto* head = reinterpret_cast<const std::byte*>(shared.bytes[i]);
        decode_side<kDim>(c.k, head, shared.numbers.of[0], shared.stages[i].keys, shared.factors[i].keys);
        decode_side<kDim>(c.v, head, shared.numbers.of[1], shared.stages[i].values, shared.factors[i].values);
      }
      Visit<kPacked> behind = visit;
      behind.next();
      if (behind.tile < end) ask(behind, shared, (i + 1) % kStages);
    }
    copies_issued();
  }

 private:
  template <typename Shared>
  __device__ __forceinline__ void ask(const Visit<kPacked>& visit, Shared& shared, int i) const {
    if (visit.open) return;
    const std::byte* head = c.kv.data + table[visit.tile] * c.kv.block_bytes + kv_head * c.kv.head_bytes;
    const int n = static_cast<int>(c.kv.head_bytes) / 16;
    for (int at = threadIdx.x; at < n; at += kThreads) copy_async16(&shared.bytes[i][at], head + at * 16, true);
  }
};

// The most that a packed tile of one head takes: a byte for each coordinate, and norms.
template <int kDim>
inline constexpr int kPackedChunks = (2 * kTile * kDim + 2 * kTile * 2) / 16;

}  // namespace arc::cuda::attention
