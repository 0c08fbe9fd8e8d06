// Attention on tensor cores, heads of 64 or 128 coordinates: which calls it takes, and which kernels do them. bf16 and
// f8e4m3 as bf16 (attention_tile.cuh); tiled policies with open tiles of int8, and q8, as bytes (attention_bytes.cuh).
#include <algorithm>

#include "kernels/cuda/attention_bytes.cuh"
#include "kernels/cuda/attention_mma.h"
#include "kernels/cuda/attention_tile.cuh"

namespace arc::cuda {
namespace {

using attention::Call, attention::kByteRows, attention::kDealtSeqs, attention::kRows, attention::kTile;
using Codec = KvPolicy::Codec;

int processors() {
  static const int kCount = [] {
    int device = 0, n = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device);
    return n;
  }();
  return kCount;
}

// Tiled with open tiles of int8, or all int8.
bool in_bytes(const KvPolicy& policy) {
  const bool int8 = policy.k.codec == Codec::int8_block && policy.v.codec == Codec::int8_block;
  return int8 || (policy.tiled() && policy.open_int8);
}

// ---- how the work of sequences with one token is dealt: the scratch memory holds [starts | parts] ----

int64_t starts_bytes(int groups) {
  return (int64_t{groups} * (kDealtSeqs + 2) * 4 + 255) / 256 * 256;
}

void deal(Call& c, const Operands& o) {
  const int groups = blocks_for(c.n_seqs, kDealtSeqs);
  c.starts = reinterpret_cast<int32_t*>(o.scratch);
  c.parts = reinterpret_cast<float*>(o.scratch + starts_bytes(groups));
  c.group_parts = (kMaxPartsBytes - starts_bytes(groups)) / (int64_t{c.chunk_heads} * (c.a.k_dim + 4) * 4) / groups;
}

// Whether there is memory for the fewest parts of all rows: one of closed tiles, and those of open ones.
bool has_room(const Call& c) {
  const int64_t rows = int64_t{std::min(c.n_seqs, kDealtSeqs)} * c.a.kv_heads * c.chunks_per_group;
  const int open_parts = c.open_table != nullptr ? (c.kv.policy.recent + 1) * kTile / kShortSegment + 2 : 0;
  return rows * (1 + open_parts) <= c.group_parts;
}

template <int kDim>
void start_bytes(const Call& c, const Operands& o) {
  const bool several = c.q.rows > c.n_seqs;
  if (several) attention::attend_bytes_many<kDim>(c, stream_of(o));
  if (several && c.n_seqs == 1) return;
  attention::attend_bytes_few<kDim>(c, processors(), stream_of(o));
  attention::merge_parts<kDim>(c, stream_of(o));
}

template <int kDim, bool kPacked>
void start(Call c, const Operands& o) {
  c.segments = segment_of(c.table_stride * kTile - 1) + 1;
  const int64_t part_bytes = int64_t{c.n_seqs} * c.a.heads * c.segments * (kDim + 4) * 4;
  if (c.segments > 1 && part_bytes <= kMaxPartsBytes) c.parts = reinterpret_cast<float*>(o.scratch);
  const bool several = c.q.rows > c.n_seqs;
  if (several) attention::attend_many<kDim, kPacked>(c, stream_of(o));
  if (!several || c.n_seqs > 1) attention::attend_few<kDim, kPacked>(c, stream_of(o));
}

Call byte_call(const AttendArgs& a, const Operands& o) {
  Call c = attend_call(a, o, kByteRows);
  deal(c, o);
  return c;
}

bool takes(const AttendArgs& a, const Operands& o) {
  const KvPolicy& policy = o.kv.policy;
  if (in_bytes(policy)) return has_room(byte_call(a, o));
  if (policy.k.codec != policy.v.codec) return false;
  return policy.k.codec == Codec::f8e4m3 || (policy.k.codec == Codec::raw && policy.raw == DType::bf16);
}

}  // namespace

bool attends_on_tensor_cores(const AttendArgs& a, const Operands& o) {
  const auto aligned = [](const TensorView& v) {
    return reinterpret_cast<uintptr_t>(v.data) % 8 == 0 && v.row_stride % 2 == 0;
  };
  return takes(a, o) && o.kv.tokens_per_block == kTile && !a.v_in_k && a.k_dim == a.v_dim &&
         (a.k_dim == 64 || a.k_dim == 128) && aligned(o.reads[0]) && aligned(o.writes[0]);
}

void attend_on_tensor_cores(const AttendArgs& a, const Operands& o) {
  if (o.reads[0].rows == 0) return;
  if (in_bytes(o.kv.policy)) {
    const Call c = byte_call(a, o);
    return a.k_dim == 64 ? start_bytes<64>(c, o) : start_bytes<128>(c, o);
  }
  const Call c = attend_call(a, o, kRows);
  const bool packed = !o.kv.policy.is_raw();
  if (a.k_dim == 64) {
    packed ? start<64, true>(c, o) : start<64, false>(c, o);
  } else {
    packed ? start<128, true>(c, o) : start<128, false>(c, o);
  }
}

}  // namespace arc::cuda
