// Tiles of prompts' contexts become bf16: a block has one tile of one key/value head, keys, then values.
#include "kernels/cuda/attention_unpack.cuh"

namespace arc::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPiece = 8;  // coordinates that are stored at once

// A tile's rows. What is added keeps the writes of a warp apart when values are decoded.
template <int kDim>
struct Rows16 {
  static constexpr int kStride = kDim + kPiece;
  alignas(16) __nv_bfloat16 at[kTileTokens * kStride];
};

// The tile of Unpacked that block `index` makes. s -1: none.
struct TileJob {
  int s = -1, tile = 0;
  bool open = false;

  __device__ TileJob(const AttendCall& c, const Unpacked& to, int index) {
    int base = 0;
    for (int i = to.first_seq; i < to.first_seq + to.n_seqs; ++i) {
      const TilePlace place(c, i, base);
      if (index < place.end()) {
        const int closed = place.base + place.range.split;
        s = i, open = index >= closed;
        tile = index - place.base - (open ? place.open : 0);
        return;
      }
      base = place.end();
    }
  }
};

// Element by element. Rows from `n` on are zeros.
template <int kDim>
__device__ __forceinline__ void decode_rows(const KvSide& side, const std::byte* head, int n, Rows16<kDim>& rows) {
  for (int i = threadIdx.x; i < kTileTokens * kDim / kPiece; i += kThreads) {
    const int token = i / (kDim / kPiece), d = i % (kDim / kPiece) * kPiece;
    __nv_bfloat16 piece[kPiece];
#pragma unroll
    for (int k = 0; k < kPiece; ++k) {
      piece[k] = __float2bfloat16(token < n ? kv_element(side, head, token, d + k) : 0.0f);
    }
    *reinterpret_cast<uint4*>(&rows.at[token * Rows16<kDim>::kStride + d]) = *reinterpret_cast<const uint4*>(piece);
  }
}

// Codes of a codebook, by the groups of words that they lie in; `levels`: of codes as they are held.
template <int kDim, KvRole kRole, int kBits>
__device__ __forceinline__ void decode_codes(const KvSide& side, const std::byte* head, const float* levels,
                                             Rows16<kDim>& rows) {
  constexpr int kRow = word_groups(kDim) * kBits, kGroups = word_group_count(kDim);
  const auto* words = reinterpret_cast<const uint32_t*>(head + side.data_bytes);
  const auto* norms = reinterpret_cast<const __half*>(head + side.scales_bytes);
  for (int i = threadIdx.x; i < kGroups; i += kThreads) {
    const WordGroup group = word_group(kRole, kDim, kBits, i);
    uint32_t held[kBits];
#pragma unroll
    for (int k = 0; k < kBits; ++k)
      held[k] = words[word_place(kRole, kRow, group.token, group.coordinate, group.first_word + k)];
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const int token = token_of(kRole, group, n);
      const float norm = __half2float(norms[norm_place(token)]);
#pragma unroll
      for (int m = 0; m < kWordGroup / 8; ++m) {
        rows.at[token * Rows16<kDim>::kStride + coordinate_of(kRole, group, m, n)] =
            __float2bfloat16(norm * levels[held_code(kRole, kBits, m, n, held)]);
      }
    }
  }
}

template <int kDim, KvRole kRole>
__device__ __forceinline__ void decode_tile(const KvSide& side, const std::byte* head, int n, Rows16<kDim>& rows,
                                            float* levels) {
  const bool codes = side.codec == KvPolicy::Codec::turbo && side.bits != kUniformBits;
  if (!codes) return decode_rows<kDim>(side, head, n, rows);
  const int me = static_cast<int>(threadIdx.x);
  if (me < 16) {
    const uint64_t entry = side.entries[me / 8] >> (me % 8 * 8);
    const int number = kRole == KvRole::key ? static_cast<int>(entry & 0xff) : static_cast<int8_t>(entry);
    levels[me] = side.step * (static_cast<float>(number) - side.offset);
  }
  __syncthreads();
  switch (side.bits) {
    case 1:
      return decode_codes<kDim, kRole, 1>(side, head, levels, rows);
    case 2:
      return decode_codes<kDim, kRole, 2>(side, head, levels, rows);
    case 3:
      return decode_codes<kDim, kRole, 3>(side, head, levels, rows);
    default:
      return decode_codes<kDim, kRole, 4>(side, head, levels, rows);
  }
}

template <int kDim>
__device__ __forceinline__ void store_rows(const Rows16<kDim>& rows, std::byte* to) {
  __syncthreads();
  for (int i = threadIdx.x; i < kTileTokens * kDim / kPiece; i += kThreads) {
    const int token = i / (kDim / kPiece), piece = i % (kDim / kPiece);
    reinterpret_cast<uint4*>(to)[i] =
        *reinterpret_cast<const uint4*>(&rows.at[token * Rows16<kDim>::kStride + piece * kPiece]);
  }
  __syncthreads();
}

// grid: (tiles, heads).
template <int kDim>
__global__ void __launch_bounds__(kThreads)
    unpack_kernel(const __grid_constant__ AttendCall c, const __grid_constant__ Unpacked to) {
  __shared__ Rows16<kDim> rows;
  __shared__ float levels[16];
  const int index = static_cast<int>(blockIdx.x), kv_head = to.first_head + static_cast<int>(blockIdx.y);
  const TileJob job(c, to, index);
  if (job.s < 0) return;
  const KvView& kv = job.open ? c.open : c.kv;
  const int64_t entry =
      job.open ? int64_t{job.s} * c.open_stride + job.tile : int64_t{job.s} * c.table_stride + job.tile;
  const std::byte* head =
      kv.data + (job.open ? c.open_table : c.block_table)[entry] * kv.block_bytes + kv_head * kv.head_bytes;
  const int n = min(kTileTokens, c.seq_lens[job.s] - job.tile * kTileTokens);
  std::byte* out = to.data + int64_t{to.row_of(index, kv_head)} * kDim * 2;
  decode_tile<kDim, KvRole::key>(job.open ? c.open_k : c.k, head, n, rows, levels);
  store_rows<kDim>(rows, out);
  decode_tile<kDim, KvRole::value>(job.open ? c.open_v : c.v, head, n, rows, levels);
  store_rows<kDim>(rows, out + kTileTokens * kDim * 2);
}

}  // namespace

void unpack_tiles(const AttendCall& c, const Unpacked& to, int64_t n_tiles, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(n_tiles), static_cast<unsigned>(to.n_heads));
  (c.a.k_dim == 64 ? unpack_kernel<64> : unpack_kernel<128>)<<<grid, kThreads, 0, stream>>>(c, to);
}

}  // namespace arc::cuda
