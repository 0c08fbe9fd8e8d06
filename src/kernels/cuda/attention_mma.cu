// Attention on tensor cores over bf16, f8e4m3 and tiled caches, heads of 64 or 128 coordinates: which calls it takes,
// and how their work is dealt. How it sums: attention_tile.cuh.
#include "kernels/cuda/attention_mma.h"
#include "kernels/cuda/attention_prompt.cuh"
#include "kernels/cuda/attention_tile.cuh"

namespace arc::cuda {
namespace {

using attention::Call, attention::kRows, attention::kTile;

// Turned queries come first in the scratch memory, parts behind them.
template <int kDim, bool kPacked>
void start(Call c, const Operands& o) {
  std::byte* scratch = o.scratch;
  if (c.turn.dim > 0) {
    Rows turned = c.q;
    turned.data = scratch;
    turned.stride = int64_t{c.a.heads} * kDim;
    turn_heads(c.q, turned, c.a.heads, c.turn, stream_of(o));
    c.q = turned;
    scratch += turned_bytes(c.a, c.q.rows);
  }
  c.segments = segment_of(c.table_stride * kTile - 1) + 1;
  const int64_t part_bytes = int64_t{c.n_seqs} * c.a.heads * c.segments * (kDim + 4) * 4;
  if (c.segments > 1 && part_bytes <= kMaxPartsBytes) c.parts = reinterpret_cast<float*>(scratch);
  const bool several = c.q.rows > c.n_seqs;
  if (several) attention::attend_many<kDim, kPacked>(c, stream_of(o));
  if (!several || c.n_seqs > 1) attention::attend_few<kDim, kPacked>(c, stream_of(o));
  if (c.turn.dim > 0) turn_heads(c.out, c.out, c.a.heads, turn_of(o.kv.v_turbo), stream_of(o));
}

// Of open tiles it knows the query's own, in bf16.
bool takes(const KvPolicy& policy) {
  using Codec = KvPolicy::Codec;
  if (policy.k.codec != policy.v.codec) return false;
  const bool own_alone = policy.tiled() && policy.recent == 0 && !policy.open_int8;
  return policy.k.codec == Codec::f8e4m3 || ((policy.k.codec == Codec::raw || own_alone) && policy.raw == DType::bf16);
}

}  // namespace

bool attends_on_tensor_cores(const AttendArgs& a, const Operands& o) {
  const auto aligned = [](const TensorView& v) {
    return reinterpret_cast<uintptr_t>(v.data) % 8 == 0 && v.row_stride % 2 == 0;
  };
  return takes(o.kv.policy) && o.kv.tokens_per_block == kTile && !a.v_in_k && a.k_dim == a.v_dim &&
         (a.k_dim == 64 || a.k_dim == 128) && aligned(o.reads[0]) && aligned(o.writes[0]);
}

bool attends_prompts(const AttendArgs& a, const Operands& o) {
  return attends_on_tensor_cores(a, o) && o.kv.policy.is_raw() && has_prompt_attention();
}

void attend_on_tensor_cores(const AttendArgs& a, const Operands& o) {
  Call c = attend_call(a, o, kRows);
  const bool packed = !o.kv.policy.is_raw();
  if (o.step->n_prompts > 0 && attends_prompts(a, o)) {
    c.n_seqs -= o.step->n_prompts;
    attend_prompts({.a = c, .n_prompts = o.step->n_prompts, .n_rows = o.n_prompt, .rounded = o.rounded_out}, o.scratch,
                   stream_of(o));
    c.q.rows -= o.n_prompt;
  }
  if (c.q.rows == 0) return;
  if (a.k_dim == 64) {
    packed ? start<64, true>(c, o) : start<64, false>(c, o);
  } else {
    packed ? start<128, true>(c, o) : start<128, false>(c, o);
  }
}

}  // namespace arc::cuda
