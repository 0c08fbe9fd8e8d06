// The model around its layers: embedding, residual stream, norms, head.
#include "plan/lower.h"

#include <algorithm>

#include "plan/builder.h"

namespace arc {
namespace {

// Gemma's embedding scale is rounded to the dtype of the loaded table.
float rounded_scale(float scale, DType dtype) {
  if (dtype == DType::bf16) return bf16_to_float(float_to_bf16(scale));
  if (dtype == DType::f16) return f16_to_float(float_to_f16(scale));
  return scale;
}

void embed(PlanBuilder& b, BufferRef x) {
  const ModelSpec& m = b.spec();
  const WeightId table = b.matrix("embed", {{.slot = "embed", .slot_rows = m.vocab}}, {.slot_cols = m.dim});
  const float scale =
      m.round_embed_scale ? rounded_scale(m.embed_scale, b.plan().weights[table].format.element) : m.embed_scale;
  b.emit(EmbedArgs{.scale = scale}, {table}, {}, {x});
}

// y = post(block(pre(x))), added to the residual stream.
template <typename Block>
void residual_block(PlanBuilder& b, const LayerSpec& layer, const NormSpec& pre, std::string_view pre_slot,
                    const NormSpec& post, std::string_view post_slot, BufferRef x, const Block& block) {
  const int32_t dim = b.spec().dim;
  const BufferRef normed = b.buffer("normed", dim), y = b.buffer("block", dim);
  b.norm(pre, pre_slot, dim, x, normed);
  block(pre ? normed : x, y);
  b.all_reduce(y);
  b.norm(post, post_slot, dim, y, y);
  b.emit(AddArgs{.scale = layer.residual_scale}, {}, {y}, {x});
}

void mixer(PlanBuilder& b, const LayerSpec& layer, BufferRef in, BufferRef out) {
  std::visit(Overloaded{[&](const AttentionSpec& s) { attention_recipe(b, s, in, out); },
                        [&](const MlaSpec& s) { mla_recipe(b, s, in, out); },
                        [&](const DeltaNetSpec& s) { delta_net_recipe(b, s, in, out); },
                        [&](const Mamba2Spec& s) { mamba2_recipe(b, s, in, out); }},
             layer.mixer);
}

void ffn(PlanBuilder& b, const LayerSpec& layer, BufferRef in, BufferRef out) {
  std::visit(Overloaded{[&](const MlpSpec& s) { mlp_recipe(b, s, "mlp", in, out); },
                        [&](const MoeSpec& s) { moe_recipe(b, s, in, out); }},
             layer.ffn);
}

void lower_layer(PlanBuilder& b, const LayerSpec& layer, BufferRef x) {
  if (b.fused() && fused_feasible(b, layer)) return fused_recipe(b, layer, x);
  if (layer.parallel) {
    residual_block(b, layer, layer.pre, "pre_norm", {}, "", x, [&](BufferRef in, BufferRef out) {
      const BufferRef second = b.buffer("block2", b.spec().dim);
      mixer(b, layer, in, out);
      ffn(b, layer, in, second);
      b.emit(AddArgs{}, {}, {second}, {out});
    });
    return;
  }
  residual_block(b, layer, layer.pre, "pre_norm", layer.post, "post_norm", x,
                 [&](BufferRef in, BufferRef out) { mixer(b, layer, in, out); });
  residual_block(b, layer, layer.ffn_pre, "ffn_pre_norm", layer.ffn_post, "ffn_post_norm", x,
                 [&](BufferRef in, BufferRef out) { ffn(b, layer, in, out); });
}

// Final norm and logits of the rows that are asked for. Vocabulary rows are dealt out to the ranks, the last one may
// get fewer.
void head(PlanBuilder& b, BufferRef x) {
  const ModelSpec& m = b.spec();
  const Shard& shard = b.shard();
  const BufferRef rows = b.buffer("rows", m.dim, DType::f32, Buffer::Rows::head_rows);
  b.emit(GatherArgs{}, {}, {x}, {rows});
  const bool fused = m.has_head && b.fused() && shard.size == 1 && m.final_norm.kind == NormSpec::Kind::rms;
  if (!fused) {
    b.norm(m.final_norm, "final_norm", m.dim, rows, rows);
    if (m.has_head) b.plan().weights.back().scale = m.logit_scale;  // scaling the norm scales the logits
    b.plan().hidden = rows.buffer;
  }
  if (!m.has_head) return;
  const int32_t share = (m.vocab + shard.size - 1) / shard.size;
  const int32_t begin = std::min(shard.rank * share, m.vocab), count = std::min(share, m.vocab - begin);
  const BufferRef logits = b.buffer("logits", m.vocab, DType::f32, Buffer::Rows::head_rows);
  const WeightId weight =
      b.matrix("head", {{.slot = "head", .slot_rows = m.vocab, .rows = {{.begin = begin, .count = count}}}},
               {.slot_cols = m.dim, .bias = m.head_bias});
  if (fused) {
    const WeightId norm = b.vector("final_norm", m.dim, {}, m.final_norm.unit_offset ? 1.0f : 0.0f);
    b.plan().weights[norm].scale = m.logit_scale;
    const BufferRef normed = b.buffer("rows_normed", m.dim, DType::f32, Buffer::Rows::head_rows);
    b.emit(FusedLinearArgs{.norm = {.eps = m.final_norm.eps, .cols = m.dim}}, {weight, norm}, {rows}, {logits, normed});
    b.plan().hidden = normed.buffer;
  } else if (shard.size == 1) {
    b.emit(LinearArgs{}, {weight}, {rows}, {logits});
  } else {
    const BufferRef part = b.buffer("logits_part", share, DType::f32, Buffer::Rows::head_rows);
    b.emit(LinearArgs{}, {weight}, {rows}, {PlanBuilder::slice(part, 0, count)});
    b.emit(AllGatherArgs{}, {}, {part}, {logits});
  }
  if (m.logit_softcap > 0) b.emit(SoftcapArgs{.cap = m.logit_softcap}, {}, {}, {logits});
  b.plan().logits = logits.buffer;
}

}  // namespace

Plan lower(const ModelSpec& spec, const SlotResolver& slots, const LowerOptions& options) {
  validate(spec);
  PlanBuilder b(spec, slots, options);
  const BufferRef x = b.buffer("x", spec.dim);
  b.plan().residual = x.buffer;
  embed(b, x);
  b.mark_layer_end();
  for (size_t l = 0; l < spec.layers.size(); ++l) {
    b.begin_layer(static_cast<int>(l));
    lower_layer(b, spec.layers[l], x);
    b.mark_layer_end();
  }
  b.begin_layer(kNone);
  head(b, x);
  return std::move(b.plan());
}

}  // namespace arc
