#include "parity/models_doc.h"

#include <algorithm>
#include <map>
#include <regex>
#include <set>
#include <vector>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "nlohmann/json.hpp"

#include "io/safetensors.h"
#include "models/arch.h"
#include "parity/deviation.h"
#include "parity/golden_gguf.h"
#include "parity/mutation.h"

namespace arc::test {
namespace {

constexpr std::string_view kIntroduction = R"(# Models

The parity tests write this file; do not edit it by hand:

    ARC_WRITE_DOCS=1 build/release/tests/arc_tests_parity_test --gtest_filter='ModelsDoc*'

Each architecture is proven by a golden: a tiny model with every feature of the family on, whose residual stream after
each layer and logits (without a head: what the final norm gives) transformers computed in float64 (see testing.md). The
bound of an output is four times the error that transformers itself makes there in float32. *Share* is the worst error
of any element as a part of its bound: first the worst of the layers, then the logits.

Each kind of parameter and each config key that carries mathematics, in both spellings of the config (`rope_scaling` and
`rope_parameters`), is perturbed in turn; the golden must leave its bound or the model must be refused. The tests hold
that all of them are noticed.

*GGUF* is ggml's name for the architecture: as a file of that kind the golden gives its logits within the same bound, and
each key of the file's metadata is perturbed in the same way. *Without* are keys of the config that the format cannot say;
such files are read with the values of the family's published models.
)";

// What a model is built of: block kinds, each with the features that are on anywhere in it.
class BlockKinds {
 public:
  explicit BlockKinds(const ModelSpec& spec) {
    for (const LayerSpec& layer : spec.layers) {
      std::visit(*this, layer.mixer);
      std::visit(*this, layer.ffn);
      feature("norms", "sandwich", static_cast<bool>(layer.post));
    }
    feature("head", "none", !spec.has_head);
    feature("head", "tied", spec.has_head && spec.tied_head);
    feature("head", "softcap", spec.logit_softcap > 0);
    feature("embedding", "scaled", spec.embed_scale != 1.0f);
  }

  void operator()(const AttentionSpec& a) {
    constexpr std::string_view kKind = "attention";
    add(kKind);
    rope(kKind, a.rope, a.head_dim);
    feature(kKind, "q/k norm", static_cast<bool>(a.qk_norm));
    feature(kKind, "biases", a.qkv_bias);
    feature(kKind, "window", a.window > 0);
    feature(kKind, "both ways", !a.causal);
    feature(kKind, "sinks", a.sinks);
    feature(kKind, "output gate", a.output_gate);
    feature(kKind, "softcap", a.softcap > 0);
  }
  void operator()(const MlaSpec& m) {
    constexpr std::string_view kKind = "latent attention";
    add(kKind);
    rope(kKind, m.rope, m.rope_dim);
    feature(kKind, "low-rank queries", m.q_rank > 0);
    feature(kKind, "biases", m.a_bias);
  }
  void operator()(const DeltaNetSpec&) { add("gated delta net"); }
  void operator()(const Mamba2Spec& m) {
    add("Mamba-2");
    feature("Mamba-2", "biases", m.bias);
    feature("Mamba-2", "groups", m.groups > 1);
  }
  void operator()(const MlpSpec& m) {
    add("MLP");
    feature("MLP", "biases", m.bias);
    activation("MLP", m.act);
  }
  void operator()(const MoeSpec& m) {
    constexpr std::string_view kScores[] = {"softmax router", "softmax router over the chosen", "sigmoid router",
                                            "sparsemixer"};
    add("experts");
    feature("experts", kScores[static_cast<int>(m.router.score)], true);
    feature("experts", m.router.group_best > 1 ? "groups" : "groups by their best", m.router.groups > 1);
    feature("experts", "correction bias", m.router.correction_bias);
    feature("experts", "shared expert", m.shared.hidden > 0);
    feature("experts", "shared gate", m.shared_gate);
    feature("experts", "biases", m.expert.bias);
    activation("experts", m.expert.act);
  }

  std::string to_string() const {
    std::vector<std::string> parts;
    for (const auto& [kind, features] : kinds_) {
      parts.push_back(features.empty() ? kind : fmt::format("{} ({})", kind, fmt::join(features, ", ")));
    }
    return fmt::format("{}", fmt::join(parts, "; "));
  }

 private:
  void add(std::string_view kind) { kinds_[std::string(kind)]; }
  void feature(std::string_view kind, std::string_view name, bool on) {
    if (on) kinds_[std::string(kind)].emplace(name);
  }
  void rope(std::string_view kind, const RopeSpec& r, int head_dim) {
    constexpr std::string_view kScalings[] = {"rope", "linear rope", "llama3 rope", "YaRN", "LongRoPE"};
    feature(kind, kScalings[static_cast<int>(r.scaling)], r.dims > 0);
    feature(kind, "growing queries", r.query_beta != 0.0);
    feature(kind, "partial rope", r.dims > 0 && r.dims < head_dim);
  }
  void activation(std::string_view kind, const Activation& act) {
    constexpr std::string_view kNames[] = {"SiLU", "GELU", "tanh GELU", "ReLU", "clamped SwiGLU"};
    feature(kind, kNames[static_cast<int>(act.kind)], true);
  }

  std::map<std::string, std::set<std::string>> kinds_;
};

struct Proof {
  Golden golden;
  std::vector<Deviation> one_rank, two_ranks;  // hidden.0 .. hidden.L, logits
};

Proof prove(const std::string& name, bool measure) {
  Proof proof{.golden = read_golden(name)};
  proof.one_rank = proof.two_ranks = std::vector<Deviation>(proof.golden.hidden.size() + 1);
  if (!measure) return proof;
  const TemporaryFolder folder("arc_models_" + name);
  const auto path = folder.path() / "model.safetensors";
  write_checkpoint(proof.golden, DType::f32, path);
  const auto run = [&](int n_ranks) {
    TinyModel model(proof.golden.config_json, open_safetensors(path), n_ranks);
    return deviations(proof.golden, model.run(proof.golden.tokens));
  };
  proof.one_rank = run(1);
  proof.two_ranks = run(2);
  return proof;
}

std::string shares(const std::vector<Deviation>& all) {
  return fmt::format("{:.2f}, {:.2f}", worst_share({all.begin(), all.end() - 1}), all.back().share());
}

// "18 + 19 in 88 ways", config.json and config2.json.
std::string perturbed_keys(const Golden& golden) {
  std::vector<size_t> counts;
  size_t n_changes = 0;
  for (const Dialect& dialect : dialects(golden)) {
    counts.push_back(0);
    for (const ConfigKey& key : config_keys(golden, dialect)) {
      if (key.notice == ConfigKey::Notice::none) continue;
      ++counts.back();
      n_changes += key.changes.size();
    }
  }
  return fmt::format("{} in {} ways", fmt::join(counts, " + "), n_changes);
}

// Keys of `config` that `told` lacks or has otherwise.
std::vector<std::string> untold_keys(const Json& config, const Json& told, const std::string& path = "") {
  std::vector<std::string> untold;
  for (const auto& [key, value] : config.items()) {
    if (told.contains(key) && told[key] == value) continue;
    if (told.contains(key) && value.is_object()) {
      const std::vector<std::string> within = untold_keys(value, told[key], path + key + "/");
      untold.insert(untold.end(), within.begin(), within.end());
    } else {
      untold.push_back(path + key);
    }
  }
  return untold;
}

std::string gguf(const Golden& golden) {
  const std::vector<std::string> untold =
      untold_keys(parse_json(golden.config_json, "config.json"), expressible_config(golden));
  const std::string name = gguf_architecture(golden);
  return untold.empty() ? name : fmt::format("{}, without {}", name, fmt::join(untold, ", "));
}

std::string architecture_row(const Arch& arch, const Proof& proof) {
  const Golden& golden = proof.golden;
  const ModelSpec spec = arch.build(Config(parse_json(golden.config_json, "config.json")));
  return fmt::format("| {} | {} | {} | ref, cpu | {} | {} | {} | {} | {} |\n", arch.name, golden.name,
                     BlockKinds(spec).to_string(), gguf(golden), shares(proof.one_rank), shares(proof.two_ranks),
                     parameters(golden, false).size(), perturbed_keys(golden));
}

std::string output_rows(const Proof& proof) {
  std::string rows;
  const size_t n = proof.one_rank.size();
  for (size_t i = 0; i < n; ++i) {
    const std::string_view end = proof.golden.has_head() ? "logits" : "final norm";
    const std::string output = i == 0 ? "embedding" : i == n - 1 ? std::string(end) : fmt::format("layer {}", i - 1);
    rows += fmt::format("| {} | {} | {:.1e} | {:.1e} | {:.1e} |\n", proof.golden.name, output, proof.one_rank[i].bound,
                        proof.one_rank[i].error, proof.two_ranks[i].error);
  }
  return rows;
}

}  // namespace

std::string models_document(bool measure) {
  std::vector<Proof> proofs;
  for (const std::string& name : golden_names()) proofs.push_back(prove(name, measure));

  std::string architectures, outputs;
  for (const Arch* arch : all_archs()) {
    bool proven = false;
    for (const Proof& proof : proofs) {
      if (proof.golden.arch != arch->name) continue;
      proven = true;
      architectures += architecture_row(*arch, proof);
      outputs += output_rows(proof);
    }
    if (!proven) architectures += fmt::format("| {} | none | | nothing | | | | | |\n", arch->name);
  }
  return fmt::format(
      "{}\n"
      "| architecture | golden | block kinds | proven on | GGUF | share, 1 rank | share, 2 ranks | kinds of parameter "
      "perturbed | config keys perturbed |\n|---|---|---|---|---|---|---|---|---|\n{}\n"
      "## Output by output\n\nThe embedding is a plain look-up where its bound is zero, and must be equal.\n\n"
      "| golden | output | bound | error, 1 rank | error, 2 ranks |\n|---|---|---|---|---|\n{}",
      kIntroduction, architectures, outputs);
}

std::string without_figures(const std::string& document) {
  static const std::regex kFigure("[0-9]+\\.[0-9]+(e[+-][0-9]+)?");
  return std::regex_replace(document, kFigure, "#");
}

}  // namespace arc::test
