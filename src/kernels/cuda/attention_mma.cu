// Attention over raw bf16 caches on tensor cores, heads of 64 or 128 coordinates: which calls it takes, and how their
// work is dealt. How it sums: attention_tile.cuh.
#include "kernels/cuda/attention_mma.h"
#include "kernels/cuda/attention_tile.cuh"

namespace arc::cuda {
namespace {

using attention::Call, attention::kRows, attention::kTile;

template <int kDim>
void start(Call c, const Operands& o) {
  c.segments = segment_of(c.table_stride * kTile - 1) + 1;
  const int64_t part_bytes = int64_t{c.n_seqs} * c.a.heads * c.segments * (kDim + 4) * 4;
  if (c.segments > 1 && part_bytes <= kMaxPartsBytes) c.parts = reinterpret_cast<float*>(o.scratch);
  const bool several = c.q.rows > c.n_seqs;
  if (several) attention::attend_many<kDim>(c, stream_of(o));
  if (!several || c.n_seqs > 1) attention::attend_few<kDim>(c, stream_of(o));
}

}  // namespace

bool attends_on_tensor_cores(const AttendArgs& a, const Operands& o) {
  const auto aligned = [](const TensorView& v) {
    return reinterpret_cast<uintptr_t>(v.data) % 8 == 0 && v.row_stride % 2 == 0;
  };
  return o.kv.policy.is_raw() && o.kv.policy.raw == DType::bf16 && o.kv.tokens_per_block == kTile && !a.v_in_k &&
         a.k_dim == a.v_dim && (a.k_dim == 64 || a.k_dim == 128) && aligned(o.reads[0]) && aligned(o.writes[0]);
}

void attend_on_tensor_cores(const AttendArgs& a, const Operands& o) {
  const Call c = attend_call(a, o, kRows);
  if (c.q.rows == 0) return;
  if (a.k_dim == 64) {
    start<64>(c, o);
  } else {
    start<128>(c, o);
  }
}

}  // namespace arc::cuda
