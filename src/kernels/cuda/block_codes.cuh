// Block codes in shared memory as the first operand of m16n8k16 products of f16, and tokens as the second.
//
// Codes are whole numbers that f16 holds exactly, and so are codes of Q4_K and Q5_K times their group's scale of 6
// bits. A run of 256 columns is 16 steps of a product, two of them a piece. With lane = 4 g + q, a step's operand holds
// of a row the columns `first` + (0, 2) and (1, 3), as they come out of a word, where `first` is
//   16 step + 4 q, so that a step's columns share a scale; or, where codes are multiplied by it (kScaled),
//   64 q + 32 (step % 2) + 4 (step / 2): then a lane has two groups of its own, and needs no one else's scales.
// Block layouts: see quant/block_code.h.
#pragma once

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/tensor_core.cuh"

namespace arc::cuda::blocks {

inline constexpr int kCols = 256;              // of a run
inline constexpr int kPieces = kCols / 32;     // each two steps
inline constexpr float kSumScale = 1 / 64.0f;  // of tokens' sums, which f16 holds then

// A token's run: numbers times 1 / scale as high and low f16, scale a power of two.
struct TokenRun {
  uint4 pieces[kPieces][2][4];  // [.][high, low][q]: columns (0, 2), (1, 3) of both steps
  __half sums[2][kPieces];      // high and low of kSumScale times the sums of 32 columns
  float scale;
  float unused[7];
};

// Likewise a run of 4 kTiles tokens, as the second operand of a warpgroup's products: columns 2 t and 2 t + 1 are high
// and low of token t.
template <int kTiles>
struct TokenTile {
  uint4 steps[2 * kPieces][2][8 * kTiles];  // [.][first, last eight places][column]
  __half sums[8 * kTiles][kPieces];
  float scale[4 * kTiles];
};

// ---- two f16 in a word ---------------------------------------------------------------------------------------------

__device__ __forceinline__ __half2 halves(uint32_t word) {
  return *reinterpret_cast<const __half2*>(&word);
}
__device__ __forceinline__ uint32_t word_of(__half2 pair) {
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ __half2 both(float v) {
  return __float2half2_rn(v);
}
__device__ __forceinline__ float half_of(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
}

// 1024 and a number of up to 10 bits in each half.
constexpr uint32_t k1024 = 0x64006400u;
// (word & mask) | more, in one instruction.
__device__ __forceinline__ uint32_t masked_or(uint32_t word, uint32_t mask, uint32_t more) {
  uint32_t out;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(out) : "r"(word), "r"(mask), "r"(more));
  return out;
}
// Bytes i and i + 2 of a word, 1024 more.
template <int kFirst>
__device__ __forceinline__ __half2 bytes_1024(uint32_t word) {
  return halves(permute_bytes(word, 0x64646464u, kFirst == 0 ? 0x4240u : 0x4341u));
}

// ---- formats -------------------------------------------------------------------------------------------------------
//
// A format holds a lane's share of a row's run: load() takes it, get() gives its pieces, asked for in order, and
// scale() what all sums of products are multiplied with. kAligned: runs start at multiples of 16 bytes, else at even
// addresses. kWhole: all runs have 256 columns.

struct Piece {
  uint32_t steps[2][2];
  float scale[2];  // of the codes of each step; the same for both unless kScaleOf16; none where kScaled
};

__device__ __forceinline__ uint32_t load16(const uint8_t* p) {
  return *reinterpret_cast<const uint16_t*>(p);
}
// At even addresses.
__device__ __forceinline__ uint32_t load32_by_16(const uint8_t* p) {
  return load16(p) | load16(p + 2) << 16;
}

struct Q8_0 {
  static constexpr int kBytes = 272;
  static constexpr bool kAligned = false, kWhole = false, kScaled = false, kScaleOf16 = false;

  const uint8_t* at = nullptr;
  int q = 0;

  __device__ __forceinline__ void load(const uint8_t* run, int lane_q) { at = run, q = lane_q; }
  __device__ __forceinline__ Piece get(int i) {
    const uint8_t* block = at + 34 * i;
    Piece out;
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const uint32_t word = load32_by_16(block + 2 + 16 * s + 4 * q) ^ 0x80808080u;
      out.steps[s][0] = word_of(__hadd2(bytes_1024<0>(word), both(-1024.0f - 128.0f)));
      out.steps[s][1] = word_of(__hadd2(bytes_1024<1>(word), both(-1024.0f - 128.0f)));
    }
    out.scale[0] = half_of(load16(block));
    return out;
  }
  __device__ __forceinline__ float scale() const { return 1.0f; }
};

struct Q4_0 {
  static constexpr int kBytes = 144;
  static constexpr bool kAligned = false, kWhole = false, kScaled = false, kScaleOf16 = false;

  const uint8_t* at = nullptr;
  int q = 0;

  __device__ __forceinline__ void load(const uint8_t* run, int lane_q) { at = run, q = lane_q; }
  __device__ __forceinline__ Piece get(int i) {
    const uint8_t* block = at + 18 * i;
    const uint32_t word = load32_by_16(block + 2 + 4 * q);
    Piece out;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const uint32_t two = word >> (8 * j);
      out.steps[0][j] = word_of(__hadd2(halves(masked_or(two, 0x000f000fu, k1024)), both(-1024.0f - 8.0f)));
      out.steps[1][j] =
          word_of(__hfma2(halves(masked_or(two, 0x00f000f0u, k1024)), both(1 / 16.0f), both(-64.0f - 8.0f)));
    }
    out.scale[0] = half_of(load16(block));
    return out;
  }
  __device__ __forceinline__ float scale() const { return 1.0f; }
};

// The 6-bit scales of groups 2 q and 2 q + 1 from the 12 bytes of `packed`, then their minima, a byte each;
// quant/super_codes.cc.
__device__ __forceinline__ uint32_t scales_and_minima(const uint4& head, int q) {
  const uint32_t mine = q % 2 == 0 ? 0x5410u : 0x7632u;
  const uint32_t first = permute_bytes(head.y, head.z, mine), last = permute_bytes(head.w, head.w >> 4, mine);
  return q < 2 ? first & 0x3f3f3f3fu : (last & 0x0f0f0f0fu) | (first >> 2 & 0x30303030u);
}

// 4 bits, or 5 with kHigh.
template <bool kHigh>
struct Q45_K {
  static constexpr int kBytes = kHigh ? 176 : 144;
  static constexpr bool kAligned = true, kWhole = true, kScaled = true, kScaleOf16 = false;

  const uint8_t* at = nullptr;
  int q = 0;
  uint32_t codes[4], high[4];  // of four pieces
  uint32_t minima;             // of the lane's groups, as f16
  __half2 group[2], zero[2];   // their scales; codes of the second are 16 times as large
  uint32_t factors;            // of the scales and of the minima

  __device__ __forceinline__ void load(const uint8_t* run, int lane_q) {
    at = run, q = lane_q;
    const uint4 head = *reinterpret_cast<const uint4*>(run);
    const uint32_t both_groups = scales_and_minima(head, q);
    factors = head.x;
    minima = word_of(__hadd2(halves(permute_bytes(both_groups, 0x64646464u, 0x4342u)), both(-1024.0f)));
    group[0] = __hadd2(halves(permute_bytes(both_groups, 0x64646464u, 0x4040u)), both(-1024.0f));
    group[1] = __hfma2(halves(permute_bytes(both_groups, 0x64646464u, 0x4141u)), both(1 / 16.0f), both(-64.0f));
#pragma unroll
    for (int s = 0; s < 2; ++s) zero[s] = __hmul2(group[s], both(-1024.0f));
  }
  __device__ __forceinline__ Piece get(int i) {
    if (i % 4 == 0) {
      load_words(codes, at + (kHigh ? 48 : 16) + 32 * q + 4 * i);
      if constexpr (kHigh) {
        load_words(high, at + 16 + 4 * i);
#pragma unroll
        for (uint32_t& word : high) word = __funnelshift_l(word, word, 4 - 2 * q);  // the first group's bits at 4
      }
    }
    Piece out;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const uint32_t two = codes[i % 4] >> (8 * j);
      uint32_t first = masked_or(two, 0x000f000fu, k1024), second = masked_or(two, 0x00f000f0u, k1024);
      if constexpr (kHigh) {
        const uint32_t bits = high[i % 4];
        first = masked_or(bits >> (8 * j), 0x00100010u, first);
        second = masked_or(j == 0 ? bits << 3 : bits >> 5, 0x01000100u, second);  // bit 5 of a byte to 8 of its half
      }
      out.steps[0][j] = word_of(__hfma2(halves(first), group[0], zero[0]));
      out.steps[1][j] = word_of(__hfma2(halves(second), group[1], zero[1]));
    }
    return out;
  }
  __device__ __forceinline__ float scale() const { return half_of(factors & 0xffffu); }
  __device__ __forceinline__ float minimum_scale() const { return half_of(factors >> 16); }

 private:
  static __device__ __forceinline__ void load_words(uint32_t (&words)[4], const uint8_t* from) {
    const uint4 four = *reinterpret_cast<const uint4*>(from);
    words[0] = four.x, words[1] = four.y, words[2] = four.z, words[3] = four.w;
  }
};

struct Q6_K {
  static constexpr int kBytes = 210;
  static constexpr bool kAligned = false, kWhole = true, kScaled = false, kScaleOf16 = true;

  const uint8_t* at = nullptr;
  int q = 0;
  uint32_t low[2][2], high[2], scales[2];  // of a half: low[quarter % 2][s], high[s]

  __device__ __forceinline__ void load(const uint8_t* run, int lane_q) { at = run, q = lane_q; }
  __device__ __forceinline__ Piece get(int i) {
    const int half = i / 4, quarter = i % 4;
    if (quarter == 0) {
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        const int mine = 16 * s + 4 * q;
        low[0][s] = load32_by_16(at + half * 64 + mine);
        low[1][s] = load32_by_16(at + half * 64 + 32 + mine);
        high[s] = load32_by_16(at + 128 + half * 32 + mine);
        scales[s] = load32_by_16(at + 192 + half * 8 + 4 * s);
      }
    }
    Piece out;
#pragma unroll
    for (int s = 0; s < 2; ++s) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const uint32_t two = low[quarter % 2][s] >> (8 * j);
        if (quarter < 2) {
          const uint32_t up = j == 0 ? high[s] << (4 - 2 * quarter) : high[s] >> (4 + 2 * quarter);
          const uint32_t codes = masked_or(up, 0x00300030u, masked_or(two, 0x000f000fu, k1024));
          out.steps[s][j] = word_of(__hadd2(halves(codes), both(-1024.0f - 32.0f)));
        } else {  // 16 times as large
          const uint32_t up = j == 0 ? high[s] << (8 - 2 * quarter) : high[s] >> (2 * quarter);
          const uint32_t codes = masked_or(up, 0x03000300u, masked_or(two, 0x00f000f0u, k1024));
          out.steps[s][j] = word_of(__hfma2(halves(codes), both(1 / 16.0f), both(-64.0f - 32.0f)));
        }
      }
      out.scale[s] = static_cast<float>(static_cast<int8_t>(scales[quarter / 2] >> (quarter % 2 * 16 + 8 * s)));
    }
    return out;
  }
  __device__ __forceinline__ float scale() const { return half_of(load16(at + 208)); }
};

}  // namespace arc::cuda::blocks
