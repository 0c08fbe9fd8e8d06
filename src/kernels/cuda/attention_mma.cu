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
  return (int64_t{groups} * (kDealtSeqs + 1) * 4 + 255) / 256 * 256;
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

// The kernel for several tokens of a sequence, then that for one and the merge of its parts.
template <typename Many, typename Few, typename Merge>
void start(const Call& c, const Many& many, const Few& few, const Merge& merge) {
  const bool several = c.q.rows > c.n_seqs;
  if (several) many();
  if (several && c.n_seqs == 1) return;
  few();
  merge();
}

template <int kDim>
void start(const Call& c, const Operands& o) {
  using namespace attention;
  const cudaStream_t stream = stream_of(o);
  const auto merge = [&] { merge_parts<kDim>(c, stream); };
  if (in_bytes(c.kv.policy)) {
    start(
        c, [&] { attend_bytes_many<kDim>(c, stream); }, [&] { attend_bytes_few<kDim>(c, processors(), stream); },
        merge);
  } else if (c.kv.policy.is_raw()) {
    start(
        c, [&] { attend_many<kDim, false>(c, stream); }, [&] { attend_few<kDim, false>(c, processors(), stream); },
        merge);
  } else {
    start(
        c, [&] { attend_many<kDim, true>(c, stream); }, [&] { attend_few<kDim, true>(c, processors(), stream); },
        merge);
  }
}

Call call_of(const AttendArgs& a, const Operands& o) {
  Call c = attend_call(a, o, in_bytes(o.kv.policy) ? kByteRows : kRows);
  deal(c, o);
  return c;
}

bool takes(const KvPolicy& policy) {
  if (policy.k.codec != policy.v.codec) return false;
  return in_bytes(policy) || policy.k.codec == Codec::f8e4m3 ||
         (policy.k.codec == Codec::raw && policy.raw == DType::bf16);
}

bool fits(const AttendArgs& a, const Operands& o) {
  const auto aligned = [](const TensorView& v) {
    return reinterpret_cast<uintptr_t>(v.data) % 8 == 0 && v.row_stride % 2 == 0;
  };
  return o.kv.tokens_per_block == kTile && !a.v_in_k && a.k_dim == a.v_dim && (a.k_dim == 64 || a.k_dim == 128) &&
         aligned(o.reads[0]) && aligned(o.writes[0]);
}

}  // namespace

bool attends_on_tensor_cores(const AttendArgs& a, const Operands& o) {
  return takes(o.kv.policy) && fits(a, o) && has_room(call_of(a, o));
}

bool attends_prompts(const AttendArgs& a, const Operands& o) {
  const KvPolicy& policy = o.kv.policy;
  const bool exact = policy.raw == DType::f32 || (policy.is_raw() && policy.raw == DType::f16);
  return !exact && fits(a, o) && has_prompt_attention();
}

void attend_on_tensor_cores(const AttendArgs& a, const Operands& o) {
  const Call c = call_of(a, o);
  if (c.q.rows == 0) return;
  a.k_dim == 64 ? start<64>(c, o) : start<128>(c, o);
}

}  // namespace arc::cuda
