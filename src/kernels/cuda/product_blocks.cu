// Products of block codes with token rows.
//
// Codes are small whole numbers, which bf16 holds exactly: they are the first operand of m16n8k16 products, without
// their scales. Tokens are taken apart in two bf16, high and low. The sums over a group of columns that share a scale
// are multiplied with it in f32; an offset of a group is multiplied with the sum of its tokens' columns. As in
// linear.cu the columns of a row are dealt in runs to kWarps warps, whose sums are added in order.
//
// A lane's share of 32 columns are four neighbours of each 16: 16 s + 4 q + i. Pairs of them are (0, 2) and (1, 3), as
// they come out of a word.
#include "kernels/cuda/decode.cuh"
#include "kernels/cuda/product.cuh"
#include "kernels/cuda/tensor_core.cuh"
#include "quant/block_code.h"

namespace arc::cuda {
namespace {

// Two bf16 less `bias`: exact for whole numbers up to 256.
__device__ __forceinline__ uint32_t less(uint32_t pair, float bias) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(bias, bias);
  const __nv_bfloat162 result = __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&pair), both);
  return *reinterpret_cast<const uint32_t*>(&result);
}
// Two numbers below 128 in the lower halves of a word's two halves, less `zero`, as bf16.
__device__ __forceinline__ uint32_t numbers(uint32_t pair, float zero) {
  return less(pair | 0x43004300u, 128.0f + zero);
}
// Bytes `i` and `i + 2` of a word, signed, as bf16.
__device__ __forceinline__ uint32_t signed_bytes(uint32_t word, int i) {
  const uint32_t biased = word ^ 0x80808080u;
  constexpr float kBias = 8388608.0f + 128.0f;  // 2^23 + n has n in its low bits
  const float low = __uint_as_float((biased >> (8 * i) & 0xffu) | 0x4b000000u) - kBias;
  const float high = __uint_as_float((biased >> (8 * i + 16) & 0xffu) | 0x4b000000u) - kBias;
  return bf16_pair(low, high);
}

__device__ __forceinline__ uint32_t load16(const uint8_t* p) {
  return __ldg(reinterpret_cast<const uint16_t*>(p));
}
__device__ __forceinline__ uint32_t load32(const uint8_t* p) {
  return __ldg(reinterpret_cast<const uint32_t*>(p));
}
// At even addresses.
__device__ __forceinline__ uint32_t load32_by_16(const uint8_t* p) {
  return load16(p) | load16(p + 2) << 16;
}
__device__ __forceinline__ float half_of(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
}

// One row's 32 columns as a lane sees them.
struct Group {
  uint32_t pairs[2][2];  // of step s
  float scale[2];        // likewise; the same for both unless the format says kScaleOf16
  float offset;          // where the format says kOffset
};

// A format: fetch() asks for a lane's share of a row's run of kCols columns, group() gives 32 of them. Nothing is asked
// for behind the row's end.
struct Q8_0 {
  static constexpr int kCols = 64;
  static constexpr bool kScaleOf16 = false, kOffset = false;
  struct Raw {
    uint32_t codes[2][2], scale[2];
  };
  static __device__ __forceinline__ Raw fetch(const uint8_t* row, int run, int q, int64_t n) {
    Raw raw{};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (run * kCols + i * 32 >= n) break;
      const uint8_t* block = row + (run * 2 + i) * int64_t{34};
      raw.scale[i] = load16(block);
      raw.codes[i][0] = load32_by_16(block + 2 + 4 * q);
      raw.codes[i][1] = load32_by_16(block + 18 + 4 * q);
    }
    return raw;
  }
  static __device__ __forceinline__ void group(const Raw& raw, int, int i, Group& out) {
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      out.pairs[s][0] = signed_bytes(raw.codes[i][s], 0);
      out.pairs[s][1] = signed_bytes(raw.codes[i][s], 1);
    }
    out.scale[0] = half_of(raw.scale[i]);
  }
};

struct Q4_0 {
  static constexpr int kCols = 64;
  static constexpr bool kScaleOf16 = false, kOffset = false;
  struct Raw {
    uint32_t codes[2], scale[2];
  };
  static __device__ __forceinline__ Raw fetch(const uint8_t* row, int run, int q, int64_t n) {
    Raw raw{};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (run * kCols + i * 32 >= n) break;
      const uint8_t* block = row + (run * 2 + i) * int64_t{18};
      raw.scale[i] = load16(block);
      raw.codes[i] = load32_by_16(block + 2 + 4 * q);
    }
    return raw;
  }
  static __device__ __forceinline__ void group(const Raw& raw, int, int i, Group& out) {
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      out.pairs[s][0] = numbers(raw.codes[i] >> (4 * s) & 0x000f000fu, 8.0f);
      out.pairs[s][1] = numbers(raw.codes[i] >> (4 * s + 8) & 0x000f000fu, 8.0f);
    }
    out.scale[0] = half_of(raw.scale[i]);
  }
};

// The 6-bit scale and minimum of group g from the 12 bytes of `packed`; quant/super_codes.cc.
__device__ __forceinline__ void scale_and_minimum(const uint32_t (&packed)[3], int g, float& scale, float& minimum) {
  const int at = g % 4 * 8;
  const uint32_t a = packed[0] >> at, b = packed[1] >> at, c = packed[2] >> at;
  const uint32_t s = g < 4 ? a & 63u : (c & 15u) | (a >> 2 & 0x30u),
                 m = g < 4 ? b & 63u : (c >> 4 & 15u) | (b >> 2 & 0x30u);
  scale = static_cast<float>(s);
  minimum = static_cast<float>(m);
}

// 4 bits, or 5 with kHigh.
template <bool kHigh>
struct Q45_K {
  static constexpr int kCols = 64, kBytes = kHigh ? 176 : 144;
  static constexpr bool kScaleOf16 = false, kOffset = true;
  struct Raw {
    uint4 head;
    uint32_t codes[2], high[2];
  };
  static __device__ __forceinline__ Raw fetch(const uint8_t* row, int run, int q, int64_t) {
    const uint8_t* block = row + run / 4 * int64_t{kBytes};
    const uint8_t* codes = block + (kHigh ? 48 : 16) + run % 4 * 32 + 4 * q;
    Raw raw{};
    raw.head = __ldg(reinterpret_cast<const uint4*>(block));
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      raw.codes[s] = load32(codes + 16 * s);
      if (kHigh) raw.high[s] = load32(block + 16 + 16 * s + 4 * q);
    }
    return raw;
  }
  static __device__ __forceinline__ void group(const Raw& raw, int run, int i, Group& out) {
    constexpr float kZero = kHigh ? 16.0f : 8.0f;
    const int g = run % 4 * 2 + i;
#pragma unroll
    for (int s = 0; s < 2; ++s) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        uint32_t pair = raw.codes[s] >> (4 * i + 8 * j) & 0x000f000fu;
        if (kHigh) pair |= (raw.high[s] >> (g + 8 * j) & 0x00010001u) << 4;
        out.pairs[s][j] = numbers(pair, kZero);
      }
    }
    float scale, minimum;
    scale_and_minimum({raw.head.y, raw.head.z, raw.head.w}, g, scale, minimum);
    out.scale[0] = half_of(raw.head.x & 0xffffu) * scale;
    // Written out: the bits must not depend on where this is inlined.
    out.offset = fmaf(kZero, out.scale[0], -__fmul_rn(half_of(raw.head.x >> 16), minimum));
  }
};

struct Q6_K {
  static constexpr int kCols = 128;
  static constexpr bool kScaleOf16 = true, kOffset = false;
  struct Raw {
    uint32_t low[2][2], high[2], scales[2], scale;  // low[quarter % 2][s], high[s]
  };
  static __device__ __forceinline__ Raw fetch(const uint8_t* row, int run, int q, int64_t) {
    const uint8_t* block = row + run / 2 * int64_t{210};
    const int half = run % 2;
    Raw raw;
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const int at = 16 * s + 4 * q;
      raw.low[0][s] = load32_by_16(block + half * 64 + at);
      raw.low[1][s] = load32_by_16(block + half * 64 + 32 + at);
      raw.high[s] = load32_by_16(block + 128 + half * 32 + at);
      raw.scales[s] = load32_by_16(block + 192 + half * 8 + 4 * s);
    }
    raw.scale = load16(block + 208);
    return raw;
  }
  static __device__ __forceinline__ void group(const Raw& raw, int, int i, Group& out) {
#pragma unroll
    for (int s = 0; s < 2; ++s) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const uint32_t low = raw.low[i % 2][s] >> (i / 2 * 4 + 8 * j) & 0x000f000fu;
        out.pairs[s][j] = numbers(low | (raw.high[s] >> (2 * i + 8 * j) & 0x00030003u) << 4, 32.0f);
      }
      const auto code = static_cast<int8_t>(raw.scales[i / 2] >> (i % 2 * 16 + 8 * s));
      out.scale[s] = half_of(raw.scale) * static_cast<float>(code);
    }
  }
};

// A lane's share of 32 columns of a token.
struct TokenPairs {
  uint32_t high[2][2] = {}, low[2][2] = {};
  float sum = 0.0f;

  // From column `k` of the lane's share on; `n` columns in all, a multiple of 32.
  __device__ __forceinline__ void load(const float* row, int64_t k, int64_t n, bool aligned) {
    if (k >= n) return;
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      const float* at = row + k + 16 * s;
      const float4 v = aligned ? *reinterpret_cast<const float4*>(at) : make_float4(at[0], at[1], at[2], at[3]);
      take(s, 0, v.x, v.z);
      take(s, 1, v.y, v.w);
      sum += (v.x + v.y) + (v.z + v.w);
    }
  }

 private:
  __device__ __forceinline__ void take(int s, int j, float left, float right) {
    high[s][j] = bf16_pair(left, right);
    low[s][j] = bf16_pair(left - __uint_as_float(high[s][j] << 16), right - __uint_as_float(high[s][j] & 0xffff0000u));
  }
};

// products += codes x over the 16 columns of a step.
__device__ __forceinline__ void multiply_step(float (&products)[4], const Group& top, const Group& bottom,
                                              const TokenPairs& x, int s) {
  const uint32_t codes[4] = {top.pairs[s][0], bottom.pairs[s][0], top.pairs[s][1], bottom.pairs[s][1]};
  multiply_add(products, codes, x.high[s][0], x.high[s][1]);
  multiply_add(products, codes, x.low[s][0], x.low[s][1]);
}

// sums += (codes' products) scale, for rows g and g + 8.
__device__ __forceinline__ void scale_up(float (&sums)[4], const float (&products)[4], float top, float bottom) {
#pragma unroll
  for (int i = 0; i < 4; ++i) sums[i] = fmaf(products[i], i < 2 ? top : bottom, sums[i]);
}

// One group of 32 columns of rows g and g + 8 with eight tokens.
template <typename Format>
__device__ __forceinline__ void add_group(float (&sums)[4], const Group& top, const Group& bottom, const TokenPairs& x,
                                          int q) {
  float products[4] = {};
  multiply_step(products, top, bottom, x, 0);
  if (Format::kScaleOf16) {
    scale_up(sums, products, top.scale[0], bottom.scale[0]);
    products[0] = products[1] = products[2] = products[3] = 0.0f;
  }
  multiply_step(products, top, bottom, x, 1);
  const int last = Format::kScaleOf16 ? 1 : 0;
  scale_up(sums, products, top.scale[last], bottom.scale[last]);
  if (!Format::kOffset) return;
  float sum = x.sum;  // of token g; the lane's products are of tokens 2 q and 2 q + 1
  sum += __shfl_xor_sync(kAllLanes, sum, 1);
  sum += __shfl_xor_sync(kAllLanes, sum, 2);
  const float left = __shfl_sync(kAllLanes, sum, 8 * q), right = __shfl_sync(kAllLanes, sum, 8 * q + 4);
  sums[0] = fmaf(left, top.offset, sums[0]);
  sums[1] = fmaf(right, top.offset, sums[1]);
  sums[2] = fmaf(left, bottom.offset, sums[2]);
  sums[3] = fmaf(right, bottom.offset, sums[3]);
}

template <typename Format, int kTiles>
__global__ void __launch_bounds__(kThreads) blocks_kernel(const __grid_constant__ Product p) {
  __shared__ Parts<kTiles> parts;
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, g = lane / 4, q = lane % 4;
  const Work work(p, kTiles);
  const uint8_t *top_row = work.weights_of(p, g), *bottom_row = work.weights_of(p, g + 8);
  const int runs = work.elsewhere ? 0 : static_cast<int>((p.w.in + Format::kCols - 1) / Format::kCols);
  float sums[kTiles][4] = {};
  typename Format::Raw ahead[2] = {};
  const auto fetch = [&](int run) {
    if (run >= runs) return;
    ahead[0] = Format::fetch(top_row, run, q, p.w.in);
    ahead[1] = Format::fetch(bottom_row, run, q, p.w.in);
  };
  fetch(warp);
  for (int run = warp; run < runs; run += kWarps) {
    const typename Format::Raw now[2] = {ahead[0], ahead[1]};
    fetch(run + kWarps);
#pragma unroll
    for (int i = 0; i < Format::kCols / 32; ++i) {
      Group top, bottom;
      Format::group(now[0], run, i, top);
      Format::group(now[1], run, i, bottom);
      const int64_t k = static_cast<int64_t>(run) * Format::kCols + 32 * i + 4 * q;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const int64_t t = tile * kTokens + g;
        TokenPairs x;
        if (t < work.n_tokens) {
          x.load(p.x.row(work.first_token + t) + work.z * p.in_step, k, p.w.in, p.x_aligned);
        }
        add_group<Format>(sums[tile], top, bottom, x, q);
      }
    }
  }
  store_sums<kTiles>(p, work, sums, parts);
}

template <typename Format>
void launch_format(const Product& p, int depth, cudaStream_t stream) {
  const Grid grid(p, depth);
  if (grid.tiles == 1) blocks_kernel<Format, 1><<<grid.blocks, kThreads, 0, stream>>>(p);
  if (grid.tiles == 2) blocks_kernel<Format, 2><<<grid.blocks, kThreads, 0, stream>>>(p);
  if (grid.tiles == 4) blocks_kernel<Format, 4><<<grid.blocks, kThreads, 0, stream>>>(p);
}

}  // namespace

void product_blocks(const Product& p, int depth, cudaStream_t stream) {
  switch (p.w.format.code) {
    case BlockCode::q8_0:
      return launch_format<Q8_0>(p, depth, stream);
    case BlockCode::q4_0:
      return launch_format<Q4_0>(p, depth, stream);
    case BlockCode::q4_k:
      return launch_format<Q45_K<false>>(p, depth, stream);
    case BlockCode::q5_k:
      return launch_format<Q45_K<true>>(p, depth, stream);
    default:
      return launch_format<Q6_K>(p, depth, stream);
  }
}

}  // namespace arc::cuda
