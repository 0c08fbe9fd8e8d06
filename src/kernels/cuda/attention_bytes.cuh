// Attention in products of bytes, over tiles whose numbers are bytes or become bytes by a look-up: tiled policies with
// open tiles of int8, and q8.
//
// A query is whole numbers of 16 bits, of the 32639th part of its largest coordinate, and so are a tile's weights times
// what its values are to be multiplied with, of the 65535th part of the largest. Both go into a product as two bytes,
// the high ones of eight rows above their low ones, so that sums of a tile are exact, in whatever order. The results of
// tiles are blended in ascending order within a unit (attention_units.cuh), in f32. Eight rows are eight query heads
// of one token (attention_bytes_few.cu) or any (attention_bytes_many.cu), with the same bits.
#pragma once

#include "kernels/cuda/attention_units.cuh"

namespace arc::cuda::attention {

inline constexpr int kByteRows = 8;  // of a product
inline constexpr float kQuerySteps = 32639.0f, kWeightSteps = 65535.0f;

// Eight rows of queries. Set i is coordinates 8 i .. 8 i + 7 as a product's operand: high bytes of the first four, low
// bytes of them, high and low bytes of the others.
template <int kDim>
struct ByteQueries {
  uint4 sets[kDim / 8][kByteRows];
  float scale[kByteRows];
  int sum[kByteRows];

  // For a warp. Null: zeros.
  __device__ __forceinline__ void set(int row, const float* from, const Turn& turn) {
    constexpr int kEach = kDim / kWarp;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    float x[kEach], largest = 0.0f;
#pragma unroll
    for (int i = 0; i < kEach; ++i) x[i] = from != nullptr ? from[lane + i * kWarp] : 0.0f;
    if (turn.dim > 0) rotate_lanes<kDim>(x, turn);
#pragma unroll
    for (int i = 0; i < kEach; ++i) largest = fmaxf(largest, fabsf(x[i]));
    largest = fmaxf(warp_max(largest), 1e-30f);
    const float inverse = __fdiv_rn(kQuerySteps, largest);
    int total = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int d = lane + i * kWarp, number = __float2int_rn(__fmul_rn(x[i], inverse)), high = (number + 128) >> 8;
      auto* bytes = reinterpret_cast<int8_t*>(&sets[d / 8][row]) + d % 8 / 4 * 8 + d % 4;
      bytes[0] = static_cast<int8_t>(high);
      bytes[4] = static_cast<int8_t>(number - high * 256);
      total += number;
    }
    total = static_cast<int>(__reduce_add_sync(kAllLanes, static_cast<unsigned>(total)));
    if (lane == 0) {
      scale[row] = __fmul_rn(largest, 1.0f / kQuerySteps);
      sum[row] = total;
    }
  }
};

// In which form a tile's numbers are: codes of a codebook (1 to 4 bits), bytes with one factor a row (turbo's 8 bits),
// or bytes with a factor for each 32 of a row (int8_block), the rows' 16-byte pieces swizzled in shared memory.
enum class Form { codes, rows, blocks };

// Where piece `chunk` of row `row` of bytes lies.
template <int kDim, bool kSwizzled>
__device__ __forceinline__ int byte_place(int row, int chunk) {
  constexpr int kChunks = kDim / 16;
  const int turned = kChunks == 8 ? row & 7 : row >> 1 & 3;
  return row * kDim + (kSwizzled ? chunk ^ turned : chunk) * 16;
}

// Asks for a tile of int8_block, kThreads threads together; `from` is the head's part of a block.
template <int kDim>
__device__ __forceinline__ void fetch_blocks(std::byte* to, const std::byte* from, const KvView& kv, int thread) {
  constexpr int kChunks = kDim / 16, kSide = kTile * kChunks;
  const int n = static_cast<int>(kv.head_bytes) / 16;
  for (int i = thread; i < n; i += kThreads) {
    const int side = i / kSide, at = i % kSide;
    const int place = side < 2 ? side * kSide * 16 + byte_place<kDim, true>(at / kChunks, at % kChunks) : i * 16;
    copy_async16(to + place, from + i * 16, true);
  }
}

// A lane's scores, and weights: of row lane / 4 with positions 8 j + 2 c + e, c being lane % 4, at [2 j + e].
using Positions = float[kTile / 4];

// ---- codes ---------------------------------------------------------------------------------------------------------

// Words of a group's codes, none of them in memory.
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

// The codes of set m of a group's words, one in the lower bits of each nibble; of four bits with the highest.
template <int kBits>
__device__ __forceinline__ uint32_t codes_of(const Held<kBits>& held, int m) {
  if constexpr (kBits == 4) return held[m];
  if constexpr (kBits == 3) {
    if (m < 3) return held[m] & 0x77777777u;
    return (held[0] >> 3 & 0x11111111u) | (held[1] >> 2 & 0x22222222u) | (held[2] >> 1 & 0x44444444u);
  }
  if constexpr (kBits == 2) return held[m / 2] >> (m % 2 * 2) & 0x33333333u;
  return held[0] >> m & 0x11111111u;
}

// What codes stand for, a byte each, those of higher codes in higher bytes.
struct ByteTable {
  uint32_t entries[4];

  __device__ __forceinline__ explicit ByteTable(const KvSide& side) {
    const uint32_t sign = side.role == KvRole::key ? 0x80808080u : 0u;  // keys' entries have 128 added
#pragma unroll
    for (int i = 0; i < 4; ++i) entries[i] = static_cast<uint32_t>(side.entries[i / 2] >> (i % 2 * 32)) ^ sign;
  }
  // The bytes of nibbles 0 to 3 and of 4 to 7.
  template <KvRole kRole, int kBits>
  __device__ __forceinline__ void look_up(uint32_t codes, uint32_t& b0, uint32_t& b1) const {
    if constexpr (kBits < 4) {
      b0 = permute_bytes(entries[0], entries[1], codes);
      b1 = permute_bytes(entries[0], entries[1], codes >> 16);
    } else {
      const uint32_t low = codes & 0x77777777u;
      b0 = permute_bytes(entries[0], entries[1], low);
      b1 = permute_bytes(entries[0], entries[1], low >> 16);
      if constexpr (kRole == KvRole::key) {  // signs lie where a byte's sign is
        b0 ^= permute_bytes(codes, 0, 0xba98u);
        b1 ^= permute_bytes(codes << 4, 0, 0xba98u);
      } else {
        const uint32_t up = codes << 4;
        const uint32_t high0 = permute_bytes(up, codes, 0xd9c8u), high1 = permute_bytes(up, codes, 0xfbeau);
        b0 = (b0 & ~high0) | (permute_bytes(entries[2], entries[3], low) & high0);
        b1 = (b1 & ~high1) | (permute_bytes(entries[2], entries[3], low >> 16) & high1);
      }
    }
  }
};

template <int kBits>
__device__ __forceinline__ Held<kBits> load_held(const uint32_t* words) {
  Held<kBits> held;
  if constexpr (kBits == 4) {
    const uint4 four = *reinterpret_cast<const uint4*>(words);
    held.words[0] = four.x, held.words[1] = four.y, held.words[2] = four.z, held.words[3] = four.w;
  } else if constexpr (kBits == 2) {
    const uint2 two = *reinterpret_cast<const uint2*>(words);
    held.words[0] = two.x, held.words[1] = two.y;
  } else {
#pragma unroll
    for (int k = 0; k < kBits; ++k) held.words[k] = words[k];
  }
  return held;
}

// Twice the sums of products with the numbers of the codes.
template <int kDim, int kBits, int kGroups>
__device__ __forceinline__ void code_dots(Positions (&x)[kGroups], const ByteQueries<kDim>* q, const KvSide& side,
                                          const std::byte* data, int lane) {
  constexpr int kSteps = kDim / 32, kWords = kDim / kWordGroup * kBits;
  const int g = lane / 4, first_set = lane % 4 * kSteps;
  uint4 a[kGroups][kSteps];
#pragma unroll
  for (int r = 0; r < kGroups; ++r) {
#pragma unroll
    for (int i = 0; i < kSteps; ++i) a[r][i] = q[r].sets[first_set + i][g];
  }
  const ByteTable table(side);
  const auto* words = reinterpret_cast<const uint32_t*>(data) + g * kWords + first_set / 4 * kBits;
#pragma unroll
  for (int j = 0; j < kTile / 8; ++j) {
    const Held<kBits> held = load_held<kBits>(words + j * 8 * kWords);
    int dots[kGroups][4] = {};
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      uint32_t b0, b1;
      table.look_up<KvRole::key, kBits>(codes_of<kBits>(held, kSteps == 4 ? i : first_set % 4 + i), b0, b1);
#pragma unroll
      for (int r = 0; r < kGroups; ++r) multiply_add_bytes<true>(dots[r], a[r][i], b0, b1);
    }
#pragma unroll
    for (int r = 0; r < kGroups; ++r) {
      const int sum = q[r].sum[g];
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        x[r][2 * j + e] = static_cast<float>(2 * (dots[r][e] * 256 + dots[r][2 + e]) + sum);
      }
    }
  }
}

__device__ __forceinline__ float half_of(uint32_t pair, int i) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(i == 0 ? pair : pair >> 16)));
}

// The scales of a position's row.
template <int kDim>
struct BlockScales {
  uint32_t pairs[kDim / 64];

  __device__ __forceinline__ void load(const std::byte* scales, int position) {
    if constexpr (kDim == 128) {
      const uint2 four = reinterpret_cast<const uint2*>(scales)[position];
      pairs[0] = four.x, pairs[1] = four.y;
    } else {
      pairs[0] = reinterpret_cast<const uint32_t*>(scales)[position];
    }
  }
  __device__ __forceinline__ float operator[](int i) const { return half_of(pairs[i / 2], i % 2); }
};

// Sums of products with rows of bytes; with blocks' scales, if there are any.
template <int kDim, Form kForm, int kGroups>
__device__ __forceinline__ void byte_dots(Positions (&x)[kGroups], const ByteQueries<kDim>* q, const std::byte* data,
                                          const std::byte* scales, int lane) {
  constexpr int kSteps = kDim / 32;
  constexpr bool kBlocks = kForm == Form::blocks;
  const int g = lane / 4, c = lane % 4;
#pragma unroll
  for (int j = 0; j < kTile / 8; ++j) {
    int dots[kGroups][4] = {};
    BlockScales<kDim> of[2];  // of both positions
    if constexpr (kBlocks) {
      of[0].load(scales, 8 * j + 2 * c);
      of[1].load(scales, 8 * j + 2 * c + 1);
    }
#pragma unroll
    for (int r = 0; r < kGroups; ++r) x[r][2 * j] = x[r][2 * j + 1] = 0.0f;
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const uint2 b =
          *reinterpret_cast<const uint2*>(data + byte_place<kDim, kBlocks>(8 * j + g, 2 * i + c / 2) + c % 2 * 8);
#pragma unroll
      for (int r = 0; r < kGroups; ++r) {
        multiply_add_bytes<true>(dots[r], q[r].sets[4 * i + c][g], b.x, b.y);
        if (!kBlocks && i + 1 < kSteps) continue;
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const auto sum = static_cast<float>(dots[r][e] * 256 + dots[r][2 + e]);
          if constexpr (kBlocks) {
            x[r][2 * j + e] = __fmaf_rn(sum, of[e][i], x[r][2 * j + e]);
            dots[r][e] = dots[r][2 + e] = 0;
          } else {
            x[r][2 * j + e] = sum;
          }
        }
      }
    }
  }
}

// ---- scores and weights --------------------------------------------------------------------------------------------

// Norms of this lane's positions.
__device__ __forceinline__ void load_norms(Positions& norms, const std::byte* scales, int lane) {
#pragma unroll
  for (int k = 0; k < kTile / 32; ++k) {
    const uint4 four = reinterpret_cast<const uint4*>(scales)[k * 4 + lane % 4];
    const uint32_t pairs[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      norms[8 * k + 2 * j] = half_of(pairs[j], 0);
      norms[8 * k + 2 * j + 1] = half_of(pairs[j], 1);
    }
  }
}

// The scores of a tile in units of log 2, -infinity where a row sees nothing: positions [first, last] of the tile.
struct Window {
  int first, last;

  __device__ __forceinline__ bool whole() const { return first <= 0 && last >= kTile - 1; }
  __device__ __forceinline__ bool sees(int i, int lane) const {
    const int at = i / 2 * 8 + lane % 4 * 2 + i % 2;
    return at >= first && at <= last;
  }
};

template <int kDim, Form kForm, int kGroups>
__device__ __forceinline__ void tile_scores(Positions (&x)[kGroups], const Call& c, const KvSide& side,
                                            const ByteQueries<kDim>* q, const std::byte* tile,
                                            const Window (&windows)[kGroups], int lane) {
  const std::byte *data = tile + side.data_bytes, *scales = tile + side.scales_bytes;
  float step = 1.0f;
  if constexpr (kForm == Form::codes) {
    step = side.step * 0.5f;
    switch (side.bits) {
      case 1:
        code_dots<kDim, 1>(x, q, side, data, lane);
        break;
      case 2:
        code_dots<kDim, 2>(x, q, side, data, lane);
        break;
      case 3:
        code_dots<kDim, 3>(x, q, side, data, lane);
        break;
      default:
        code_dots<kDim, 4>(x, q, side, data, lane);
    }
  } else {
    if constexpr (kForm == Form::rows) step = side.step;
    byte_dots<kDim, kForm>(x, q, data, scales, lane);
  }
  if constexpr (kForm != Form::blocks) {
    Positions norms;
    load_norms(norms, scales, lane);
#pragma unroll
    for (int r = 0; r < kGroups; ++r) {
#pragma unroll
      for (int i = 0; i < kTile / 4; ++i) x[r][i] = __fmul_rn(x[r][i], norms[i]);
    }
  }
  const bool capped = c.a.softcap > 0;
#pragma unroll
  for (int r = 0; r < kGroups; ++r) {
    const float unit = __fmul_rn(__fmul_rn(q[r].scale[lane / 4], step), capped ? c.a.scale : c.a.scale * kLog2e);
#pragma unroll
    for (float& score : x[r]) score = __fmul_rn(score, unit);
    if (capped) {
#pragma unroll
      for (float& score : x[r]) {
        score = __fmul_rn(__fmul_rn(c.a.softcap, tanhf(__fdiv_rn(score, c.a.softcap))), kLog2e);
      }
    }
    if (windows[r].whole()) continue;
#pragma unroll
    for (int i = 0; i < kTile / 4; ++i) x[r][i] = windows[r].sees(i, lane) ? x[r][i] : -INFINITY;
  }
}

// Scores become weights relative to the largest of the tile.
__device__ __forceinline__ void to_weights(Positions& x, float& top, float& mass) {
  top = x[0];
#pragma unroll
  for (int i = 1; i < kTile / 4; ++i) top = fmaxf(top, x[i]);
  top = quad_max(top);
  const float base = base_of(top);
  mass = 0.0f;
#pragma unroll
  for (int i = 0; i < kTile / 4; ++i) {
    x[i] = exp2_of(__fsub_rn(x[i], base));
    mass = __fadd_rn(mass, x[i]);
  }
  mass = __fadd_rn(mass, __shfl_xor_sync(kAllLanes, mass, 1));
  mass = __fadd_rn(mass, __shfl_xor_sync(kAllLanes, mass, 2));
}

// What the values are multiplied with at this lane's positions, each set of 32 coordinates. Where a weight is zero the
// memory may hold anything.
template <int kDim, Form kForm>
struct Factors {
  Positions norms;

  __device__ __forceinline__ Factors(const KvSide& side, const std::byte* tile, int lane) {
    load_norms(norms, tile + side.scales_bytes, lane);
  }
  __device__ __forceinline__ float at(int i, int) const { return norms[i]; }
};
template <int kDim>
struct Factors<kDim, Form::blocks> {
  BlockScales<kDim> scales[kTile / 4];

  __device__ __forceinline__ Factors(const KvSide& side, const std::byte* tile, int lane) {
#pragma unroll
    for (int i = 0; i < kTile / 4; ++i) scales[i].load(tile + side.scales_bytes, i / 2 * 8 + lane % 4 * 2 + i % 2);
  }
  __device__ __forceinline__ float at(int i, int set) const { return scales[i][set]; }
};

// Weights times the factors of a set as operands for the two steps of 32 positions, and what one step of them is worth.
template <typename Factors>
__device__ __forceinline__ float weight_bytes(uint4 (&out)[kTile / 32], const Positions& weights,
                                              const Factors& factors, int set, const Window& window, int lane) {
  Positions w;
#pragma unroll
  for (int i = 0; i < kTile / 4; ++i) w[i] = __fmul_rn(weights[i], factors.at(i, set));
  if (!window.whole()) {
#pragma unroll
    for (int i = 0; i < kTile / 4; ++i) w[i] = window.sees(i, lane) ? w[i] : 0.0f;
  }
  float largest = 0.0f;
#pragma unroll
  for (const float one : w) largest = fmaxf(largest, one);
  largest = fmaxf(quad_max(largest), 1e-30f);
  const float inverse = __fdiv_rn(kWeightSteps, largest);
#pragma unroll
  for (int k = 0; k < kTile / 32; ++k) {
    uint32_t words[4];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      uint32_t n[4];  // the whole number in the lower half
#pragma unroll
      for (int i = 0; i < 4; ++i) n[i] = __float_as_uint(__fmaf_rn(w[8 * k + 4 * r + i], inverse, 8388608.0f));
      const uint32_t left = permute_bytes(n[0], n[1], 0x5140), right = permute_bytes(n[2], n[3], 0x5140);
      words[2 * r] = permute_bytes(left, right, 0x7632);
      words[2 * r + 1] = permute_bytes(left, right, 0x5410);
    }
    out[k] = make_uint4(words[0], words[1], words[2], words[3]);
  }
  return __fmul_rn(largest, 1.0f / kWeightSteps);
}

// ---- values --------------------------------------------------------------------------------------------------------

// The coordinate of column 2 c + e of column tile n.
template <Form kForm>
__device__ __forceinline__ int coordinate_of_tile(int n, int c, int e) {
  return kForm == Form::codes ? n * 8 + 2 * c + e : n / 2 * 16 + 4 * c + 2 * e + n % 2;
}

// Sums of products with the values of kTiles column tiles, from `first_tile` on. `weights(k, r)`: the operand of step k
// and of the eight rows r.
template <int kDim, int kBits, int kTiles, int kGroups, typename Weights>
__device__ __forceinline__ void code_sums(int (&sums)[kGroups][kTiles][4], const KvSide& side, const std::byte* data,
                                          int first_tile, const Weights& weights, int lane) {
  constexpr int kWords = kDim / kWordGroup * kBits;
  const ByteTable table(side);
  const auto* words = reinterpret_cast<const uint32_t*>(data);
  const int group = first_tile / 4;
#pragma unroll
  for (int k = 0; k < kTile / 32; ++k) {
    uint4 w[kGroups];
#pragma unroll
    for (int r = 0; r < kGroups; ++r) w[r] = weights(k, r);
    Held<kBits> held;
#pragma unroll
    for (int i = 0; i < kBits; ++i) {
      const int word = group * kBits + i, line = word / 4 * 4, width = min(4, kWords - line);
      held.words[i] = words[(k * kWords + line) * kWordLanes + lane * width + word % 4];
    }
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      uint32_t b0, b1;
      table.look_up<KvRole::value, kBits>(codes_of<kBits>(held, kTiles == 4 ? n : first_tile % 4 + n), b0, b1);
#pragma unroll
      for (int r = 0; r < kGroups; ++r) multiply_add_bytes<false>(sums[r][n], w[r], b0, b1);
    }
  }
}

template <int kDim, bool kSwizzled, int kTiles, int kGroups, typename Weights>
__device__ __forceinline__ void byte_sums(int (&sums)[kGroups][kTiles][4], const std::byte* data, int first_tile,
                                          const Weights& weights, int lane) {
#pragma unroll
  for (int k = 0; k < kTile / 32; ++k) {
    uint4 w[kGroups];
#pragma unroll
    for (int r = 0; r < kGroups; ++r) w[r] = weights(k, r);
#pragma unroll
    for (int n = 0; n < kTiles; n += 2) {
      uint32_t m[4];  // positions 8 i + 2 c, + 1 of two neighbouring coordinates
      load_matrices_transposed(m, data + byte_place<kDim, kSwizzled>(32 * k + lane, (first_tile + n) / 2));
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const uint32_t b0 = permute_bytes(m[0], m[1], e == 0 ? 0x6420 : 0x7531);
        const uint32_t b1 = permute_bytes(m[2], m[3], e == 0 ? 0x6420 : 0x7531);
#pragma unroll
        for (int r = 0; r < kGroups; ++r) multiply_add_bytes<false>(sums[r][n + e], w[r], b0, b1);
      }
    }
  }
}

// kBits: of codes.
template <int kDim, Form kForm, int kBits, int kTiles, int kGroups, typename Weights>
__device__ __forceinline__ void tile_sums(int (&sums)[kGroups][kTiles][4], const KvSide& side, const std::byte* tile,
                                          int first_tile, const Weights& weights, int lane) {
  const std::byte* data = tile + side.data_bytes;
  if constexpr (kForm == Form::codes) {
    code_sums<kDim, kBits>(sums, side, data, first_tile, weights, lane);
  } else {
    byte_sums<kDim, kForm == Form::blocks>(sums, data, first_tile, weights, lane);
  }
}

// What a lane has summed of its row: of kTiles column tiles columns 2 c and 2 c + 1.
template <int kTiles>
struct ByteSums {
  float top, mass, values[kTiles][2];

  __device__ __forceinline__ void clear() {
    top = -INFINITY;
    mass = 0.0f;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) values[n][0] = values[n][1] = 0.0f;
  }
  // How this sum and a tile that joins it are weighted; the mass has joined then.
  __device__ __forceinline__ Blend raise(float tile_top, float tile_mass) {
    const Blend b = blend(top, tile_top);
    top = b.top;
    mass = blended(b, mass, tile_mass);
    return b;
  }
  // Sums of a tile join. `unit`: what one of its numbers is worth.
  template <int kCount>
  __device__ __forceinline__ void add(const Blend& b, float unit, const int (&sums)[kCount][4], int first) {
    const float take = __fmul_rn(unit, b.take);
#pragma unroll
    for (int n = 0; n < kCount; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& value = values[first + n][e];
        const auto sum = static_cast<float>(sums[n][e] * 256 + sums[n][2 + e]);
        value = __fmaf_rn(sum, take, __fmul_rn(value, b.keep));
      }
    }
  }
  __device__ __forceinline__ void join(const ByteSums& part) {
    const Blend b = raise(part.top, part.mass);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) values[n][e] = blended(b, values[n][e], part.values[n][e]);
    }
  }
};

template <int kDim>
void attend_bytes_few(const Call& c, int processors, cudaStream_t stream);
template <int kDim>
void attend_bytes_many(const Call& c, cudaStream_t stream);

// How a value's number is to be multiplied, besides its row's factor.
template <Form kForm>
__device__ __forceinline__ float value_step(const KvSide& side) {
  return kForm == Form::blocks ? 1.0f : side.step;
}

}  // namespace arc::cuda::attention
