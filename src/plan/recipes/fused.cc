// The five-stage recipe of a plain decoder layer: norm+qkv | q/k norm+rope+append+attend | o+residual |
// norm+gate/up+act | down+residual. What a persistent kernel walks.
#include "plan/recipes/weights.h"
#include "spec/rope.h"

namespace arc {
namespace {

NormArgs norm_args(const NormSpec& norm, int32_t cols) {
  return {.kind = norm.kind == NormSpec::Kind::rms ? NormKind::rms : NormKind::layer, .eps = norm.eps, .cols = cols};
}

float offset(const NormSpec& norm) {
  return norm.unit_offset ? 1.0f : 0.0f;
}

void fused_attend(PlanBuilder& b, const AttentionSpec& s, BufferRef qkv, BufferRef out) {
  FusedAttendArgs args{.attend = attend_args(b, s), .rope_dims = s.rope.dims, .rope_factor = s.rope.attention_factor};
  const int32_t d = s.head_dim;
  WeightId q_norm = kNone, k_norm = kNone;
  if (s.qk_norm) {
    args.norm = norm_args(s.qk_norm, d);
    q_norm = b.vector("attn.q_norm", d, head_rows(0, d, s.rope), offset(s.qk_norm));
    k_norm = b.vector("attn.k_norm", d, head_rows(0, d, s.rope), offset(s.qk_norm));
  }
  b.emit(args, {q_norm, k_norm, b.constant("rope", rope_frequencies(s.rope))}, {qkv}, {out});
  b.cache_cost(b.plan().groups[args.attend.group].layer_block_bytes() / kTileTokens);
}

}  // namespace

bool fused_feasible(const PlanBuilder& b, const LayerSpec& layer) {
  const auto* attention = std::get_if<AttentionSpec>(&layer.mixer);
  const auto* mlp = std::get_if<MlpSpec>(&layer.ffn);
  const bool plain_layer = b.shard().size == 1 && attention != nullptr && mlp != nullptr && !attention->sinks &&
                           !attention->output_gate && attention->rope.dims > 0 &&
                           attention->rope.long_divisors.empty() && attention->rope.query_beta == 0.0 && mlp->gated &&
                           layer.pre.kind == NormSpec::Kind::rms && layer.ffn_pre.kind == NormSpec::Kind::rms &&
                           !layer.post && !layer.ffn_post && layer.residual_scale == 1.0f && !layer.parallel;
  return plain_layer && b.one_format(qkv_pieces(b, *attention), qkv_options(b, *attention)) &&
         b.one_format(gate_up_pieces(b, *mlp, "mlp"), gate_up_options(b, *mlp));
}

void fused_recipe(PlanBuilder& b, const LayerSpec& layer, BufferRef x) {
  const auto& attention = std::get<AttentionSpec>(layer.mixer);
  const auto& mlp = std::get<MlpSpec>(layer.ffn);
  const int32_t dim = b.spec().dim, d = attention.head_dim;
  const BufferRef normed = b.buffer("normed", dim), sum = b.buffer("block", dim);
  const BufferRef qkv = b.buffer("qkv", (attention.heads + 2 * attention.kv_heads) * d);
  const BufferRef attended = b.buffer("attended", attention.heads * d);
  const BufferRef wide = b.buffer("ffn_in", 2 * mlp.hidden), narrow = b.buffer("ffn_mid", mlp.hidden);

  const FusedLinearArgs into_attention{.norm = norm_args(layer.pre, dim)};
  const WeightId qkv_weight = b.matrix("attn.qkv", qkv_pieces(b, attention), qkv_options(b, attention));
  b.emit(into_attention, {qkv_weight, b.vector("pre_norm", dim, {}, offset(layer.pre))}, {x}, {qkv, normed});
  fused_attend(b, attention, qkv, attended);
  b.emit(FusedLinearArgs{.epilogue = Epilogue::add}, {attention_out_matrix(b, attention)}, {attended},
         {x, normed, sum});
  const FusedLinearArgs into_ffn{
      .norm = norm_args(layer.ffn_pre, dim), .epilogue = Epilogue::act, .act = act_args(mlp, mlp.hidden)};
  const WeightId gate_up = b.matrix("mlp.gate_up", gate_up_pieces(b, mlp, "mlp"), gate_up_options(b, mlp));
  b.emit(into_ffn, {gate_up, b.vector("ffn_pre_norm", dim, {}, offset(layer.ffn_pre))}, {x}, {narrow, normed, wide});
  b.emit(FusedLinearArgs{.epilogue = Epilogue::add}, {down_matrix(b, mlp, "mlp")}, {narrow}, {x, normed, sum});
}

}  // namespace arc
