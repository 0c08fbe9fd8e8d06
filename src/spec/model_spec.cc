#include "spec/model_spec.h"

#include <algorithm>
#include <string_view>

#include "fmt/format.h"

#include "base/error.h"

namespace arc {
namespace {

constexpr int kMaxSize = 1 << 26;
constexpr size_t kMaxLayers = 4096;

// Collects where in the model a check stands, so that the message can name it.
struct Validator {
  std::string where;

  void require(bool ok, std::string_view rule) const {
    if (!ok)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("config.json describes an impossible model: {} {}", where, rule));
  }
  void size(int64_t value, std::string_view name) const {
    require(value > 0 && value <= kMaxSize, fmt::format("has {} = {}", name, value));
  }
  void head(int64_t value, std::string_view name) const {
    require(value > 0 && value <= kMaxHeadDim,
            fmt::format("has {} = {} (at most {} is supported)", name, value, kMaxHeadDim));
  }
  void rope(const RopeSpec& r, int head_dim) const {
    require(r.dims >= 0 && r.dims <= head_dim && r.dims % 2 == 0,
            fmt::format("rotates {} of {} coordinates", r.dims, head_dim));
    require(r.theta > 1.0 && r.factor > 0.0, "has a rope theta of at most 1 or a factor of at most 0");
    const bool needs_original = r.scaling == RopeSpec::Scaling::llama3 || r.scaling == RopeSpec::Scaling::yarn ||
                                r.scaling == RopeSpec::Scaling::longrope || r.query_beta != 0.0;
    require(!needs_original || r.original_positions > 0, "scales its rope without original_max_position_embeddings");
    require(r.original_positions < kMaxSize, "has an absurd original_max_position_embeddings");
    require(r.query_beta == 0.0 || r.dims == head_dim, "scales queries that it rotates in part only");
  }

  void operator()(const AttentionSpec& a) const {
    size(a.heads, "heads");
    size(a.kv_heads, "key/value heads");
    head(a.head_dim, "head_dim");
    size(int64_t{a.heads} * a.head_dim, "heads x head_dim");
    require(a.heads % a.kv_heads == 0, fmt::format("has {} query heads for {} key/value heads", a.heads, a.kv_heads));
    require(a.window >= 0, "has a negative window");
    rope(a.rope, a.head_dim);
  }
  void operator()(const MlaSpec& m) const {
    size(m.heads, "heads");
    size(m.kv_rank, "kv_lora_rank");
    size(m.rope_dim, "qk_rope_head_dim");
    head(int64_t{m.kv_rank} + m.rope_dim, "kv_lora_rank + qk_rope_head_dim");
    head(m.nope_dim, "qk_nope_head_dim");
    head(m.v_dim, "v_head_dim");
    size(int64_t{m.heads} * (m.kv_rank + m.rope_dim), "heads x latent");
    size(int64_t{m.heads} * (m.nope_dim + m.v_dim), "heads x head dims");
    require(m.q_rank >= 0 && m.q_rank <= kMaxSize, "has an absurd q_lora_rank");
    rope(m.rope, m.rope_dim);
  }
  void operator()(const DeltaNetSpec& d) const {
    size(d.key_heads, "key heads");
    size(d.value_heads, "value heads");
    head(d.key_dim, "key head dim");
    head(d.value_dim, "value head dim");
    head(d.conv_kernel, "convolution kernel");
    size(int64_t{d.key_heads} * d.key_dim, "key heads x dim");
    size(int64_t{d.value_heads} * d.value_dim, "value heads x dim");
    require(d.value_heads % d.key_heads == 0, "has value heads that its key heads do not divide");
  }
  void operator()(const Mamba2Spec& m) const {
    size(m.heads, "Mamba heads");
    head(m.head_dim, "Mamba head dim");
    head(m.state_dim, "Mamba state dim");
    head(m.conv_kernel, "convolution kernel");
    size(m.groups, "Mamba groups");
    require(m.heads % m.groups == 0, "has Mamba heads that its groups do not divide");
    size(int64_t{2} * m.heads * m.head_dim + int64_t{2} * m.groups * m.state_dim + m.heads, "Mamba columns");
    require(m.dt_min >= 0.0 && m.dt_min <= m.dt_max, "has an impossible time_step_limit");
  }
  void operator()(const MlpSpec& m) const { size(m.hidden, "intermediate size"); }
  void operator()(const MoeSpec& m) const {
    size(m.router.experts, "experts");
    size(m.router.top_k, "experts per token");
    size(m.expert.hidden, "expert intermediate size");
    size(int64_t{2} * m.router.top_k * m.expert.hidden, "experts per token x intermediate size");
    require(m.shared.hidden >= 0 && m.shared.hidden <= kMaxSize, "has an absurd shared expert");
    require(m.router.top_k <= m.router.experts, "uses more experts per token than it has");
    require(m.router.groups > 0 && m.router.experts % m.router.groups == 0, "has expert groups of unequal size");
    require(m.router.top_groups > 0 && m.router.top_groups <= m.router.groups, "keeps more expert groups than it has");
    require(m.router.top_k <= m.router.experts / m.router.groups * m.router.top_groups,
            "uses more experts per token than its kept groups have");
  }
};

std::string describe(const NormSpec& n) {
  if (!n) return "";
  return n.kind == NormSpec::Kind::rms ? (n.unit_offset ? "rms(1+w)" : "rms") : "layer norm";
}

std::string describe(const RopeSpec& r) {
  if (r.dims == 0) return "no rope";
  constexpr std::string_view kNames[] = {"", ", linear", ", llama3", ", yarn", ", longrope"};
  return fmt::format("rope {} dims theta {:g}{}", r.dims, r.theta, kNames[static_cast<int>(r.scaling)]);
}

std::string_view describe(const Activation& a) {
  constexpr std::string_view kNames[] = {"silu", "gelu", "gelu_tanh", "relu", "clamped swiglu"};
  return kNames[static_cast<int>(a.kind)];
}

std::string describe(const MixerSpec& mixer) {
  return std::visit(Overloaded{[](const AttentionSpec& a) {
                                 return fmt::format("{}attention {}x{} over {} kv, {}{}{}{}{}{}",
                                                    a.causal ? "" : "bidirectional ", a.heads, a.head_dim, a.kv_heads,
                                                    describe(a.rope), a.qk_norm ? ", q/k norm" : "",
                                                    a.window > 0 ? fmt::format(", window {}", a.window) : "",
                                                    a.sinks ? ", sinks" : "", a.output_gate ? ", output gate" : "",
                                                    a.softcap > 0 ? fmt::format(", softcap {:g}", a.softcap) : "");
                               },
                               [](const MlaSpec& m) {
                                 return fmt::format("latent attention {}x({}+{}) latent {}, {}", m.heads, m.nope_dim,
                                                    m.rope_dim, m.kv_rank, describe(m.rope));
                               },
                               [](const DeltaNetSpec& d) {
                                 return fmt::format("gated delta net {} x {} keys, {} x {} values, conv {}",
                                                    d.key_heads, d.key_dim, d.value_heads, d.value_dim, d.conv_kernel);
                               },
                               [](const Mamba2Spec& m) {
                                 return fmt::format("mamba-2 {} x {}, state {}, {} groups, conv {}", m.heads,
                                                    m.head_dim, m.state_dim, m.groups, m.conv_kernel);
                               }},
                    mixer);
}

std::string describe(const FfnSpec& ffn) {
  return std::visit(Overloaded{[](const MlpSpec& m) {
                                 return fmt::format("{}mlp {} {}", m.gated ? "gated " : "", m.hidden, describe(m.act));
                               },
                               [](const MoeSpec& m) {
                                 return fmt::format(
                                     "{} of {} experts {} {}{}", m.router.top_k, m.router.experts, m.expert.hidden,
                                     describe(m.expert.act),
                                     m.shared.hidden > 0 ? fmt::format(" + shared {}", m.shared.hidden) : "");
                               }},
                    ffn);
}

std::string describe(const LayerSpec& l) {
  const std::string sandwich = l.post ? fmt::format(", post {}", describe(l.post)) : "";
  return fmt::format("{} {} {} | norm {}{}", describe(l.mixer), l.parallel ? "beside" : "|", describe(l.ffn),
                     describe(l.pre), sandwich);
}

}  // namespace

void validate(const ModelSpec& spec) {
  Validator check{"the model"};
  check.size(spec.vocab, "vocab_size");
  check.size(spec.dim, "hidden_size");
  check.require(!spec.layers.empty() && spec.layers.size() <= kMaxLayers,
                fmt::format("has {} layers", spec.layers.size()));
  for (size_t l = 0; l < spec.layers.size(); ++l) {
    check.where = fmt::format("layer {}", l);
    std::visit(check, spec.layers[l].mixer);
    std::visit(check, spec.layers[l].ffn);
    const auto* moe = std::get_if<MoeSpec>(&spec.layers[l].ffn);
    if (moe != nullptr) check.size(int64_t{moe->router.top_k} * spec.dim, "experts per token x hidden size");
    check.require(!is_bidirectional(spec) || std::holds_alternative<AttentionSpec>(spec.layers[l].mixer),
                  "has a state in a model that reads both ways");
  }
  check.where = "the model";
  check.require(!spec.has_head || !is_bidirectional(spec), "has a head, but tokens depend on those after them");
}

bool is_bidirectional(const ModelSpec& spec) {
  return std::ranges::any_of(spec.layers, [](const LayerSpec& layer) {
    const auto* attention = std::get_if<AttentionSpec>(&layer.mixer);
    return attention != nullptr && !attention->causal;
  });
}

std::string to_string(const ModelSpec& spec) {
  std::string text =
      fmt::format("{}: vocabulary {}, dim {}, {} layers{}\n", spec.arch, spec.vocab, spec.dim, spec.layers.size(),
                  !spec.has_head   ? ", no head"
                  : spec.tied_head ? ", tied head"
                                   : "");
  for (size_t first = 0; first < spec.layers.size();) {
    const std::string line = describe(spec.layers[first]);
    size_t last = first;
    while (last + 1 < spec.layers.size() && describe(spec.layers[last + 1]) == line) ++last;
    text += first == last ? fmt::format("  {:>7}  {}\n", first, line)
                          : fmt::format("  {:>3}-{:<3}  {}\n", first, last, line);
    first = last + 1;
  }
  return text;
}

}  // namespace arc
