// The vocabulary in which models are declared: aggregates and variants of numbers. No maths, no tensors, no kernels.
// A model file fills a ModelSpec from a Config; lowering (src/plan) turns it into stages. Every field has a default, so
// that a model names only what it needs.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

namespace arc {

// The widest head, latent or recurrent state that kernels keep in registers or on the stack.
inline constexpr int kMaxHeadDim = 1024;

struct NormSpec {
  enum class Kind : uint8_t { none, rms, layer };
  Kind kind = Kind::none;
  float eps = 1e-6f;
  bool unit_offset = false;  // the checkpoint stores w where 1 + w is meant (Gemma); folded at load
  bool bias = false;         // of layer norms

  explicit operator bool() const { return kind != Kind::none; }
};

// Rotary position embedding: pairs (i, i + dims/2) of the first `dims` coordinates of a head are rotated by
// position * frequency[i]. Frequencies follow `scaling`; see rope_table() in rope.h for each formula's source.
struct RopeSpec {
  enum class Scaling : uint8_t { none, linear, llama3, yarn, longrope };
  int dims = 0;  // rotated coordinates; 0: no rotation
  double theta = 10000.0;
  bool interleaved = false;  // the checkpoint pairs (2i, 2i + 1); rows are reordered at load
  Scaling scaling = Scaling::none;
  double factor = 1.0;
  double original_positions = 0.0;                       // context of pre-training (llama3, yarn, longrope)
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  double beta_fast = 32.0, beta_slow = 1.0;              // yarn
  bool truncate = true;                                  // yarn: correction range rounded to whole dims
  double attention_factor = 1.0;                         // multiplies cos and sin
  std::vector<double> divisors;                          // of each frequency, as files give them; empty: none
  std::vector<double> long_divisors;                     // longrope: of sequences beyond original_positions
  double long_attention_factor = 1.0;                    // and theirs
  double query_beta = 0.0;      // queries at p are multiplied by 1 + query_beta * ln(1 + floor(p / original_positions))
  double mscale_all_dim = 0.0;  // yarn: latent attention squares yarn_mscale(factor, this) into its scale

  bool operator==(const RopeSpec&) const = default;
};

// softmax(scale * q k^T [softcapped] [with a sink in the denominator]) v over past tokens, H query and K key heads. Not
// causal: over all tokens of a text, which is then computed in one step; with a window, those nearer than it.
struct AttentionSpec {
  int heads = 0, kv_heads = 0, head_dim = 0;
  RopeSpec rope;
  NormSpec qk_norm;      // per head, before the rotation
  int window = 0;        // a query sees itself and the window - 1 tokens before it; 0: all
  float scale = 0.0f;    // 0: head_dim^-0.5
  float softcap = 0.0f;  // scores become softcap * tanh(score / softcap); 0: off
  bool qkv_bias = false, out_bias = false;
  bool sinks = false;        // one logit per head joins the softmax and is dropped after it
  bool output_gate = false;  // the query projection also gives a gate: out *= sigmoid(gate)
  bool causal = true;
};

// Latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1), run in the absorbed form: the cache holds
// [norm(latent) | rotated shared key] per token, shared by all heads.
struct MlaSpec {
  int heads = 0;
  int q_rank = 0;  // 0: one direct query projection
  int kv_rank = 0;
  int nope_dim = 0, rope_dim = 0, v_dim = 0;
  RopeSpec rope;
  NormSpec latent_norm;  // of both latents
  float scale = 0.0f;    // 0: (nope_dim + rope_dim)^-0.5
  bool a_bias = false, out_bias = false;
};

// Gated DeltaNet (arXiv 2412.06464): causal depthwise convolution and SiLU on q, k, v, then per value head
// S <- exp(g) S; S <- S + k (beta (v - S^T k))^T; o = S^T q, and a gated RMS norm on the way out.
struct DeltaNetSpec {
  int key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  int conv_kernel = 0;
  NormSpec out_norm;
};

// Mamba-2 (arXiv 2405.21060): one projection to z, x, B, C, dt; causal depthwise convolution and SiLU on x, B, C; then
// per head h <- exp(-exp(a_log) dt) h + dt B x^T and y = C^T h + d x with dt = softplus(dt + dt_bias), and an RMS norm
// of y silu(z) over all heads. Heads share the B and C of their group.
struct Mamba2Spec {
  int heads = 0, head_dim = 0, groups = 1, state_dim = 0;
  int conv_kernel = 0;
  bool conv_bias = false, bias = false;
  double dt_min = 0.0, dt_max = std::numeric_limits<double>::infinity();  // dt is kept within
  NormSpec out_norm;
};

using MixerSpec = std::variant<AttentionSpec, MlaSpec, DeltaNetSpec, Mamba2Spec>;

struct Activation {
  enum class Kind : uint8_t { silu, gelu, gelu_tanh, relu, clamped_swiglu };
  Kind kind = Kind::silu;
  // clamped_swiglu: min(g, limit) * sigmoid(alpha * min(g, limit)) * (clamp(u, +-limit) + 1)
  float alpha = 1.702f, limit = 7.0f;

  bool operator==(const Activation&) const = default;
};

// down(act(gate(x)) * up(x)), or down(act(up(x))) when not gated.
struct MlpSpec {
  int hidden = 0;
  Activation act;
  bool gated = true;
  bool bias = false;
};

struct RouterSpec {
  enum class Score : uint8_t {
    softmax,           // over all experts, then the best k
    softmax_selected,  // the best k logits, then softmax over them
    sigmoid,           // independent scores
    sparsemixer,       // best by best: softmax over what is near the best and not yet chosen (arXiv 2409.12136)
  };
  int experts = 0, top_k = 0;
  Score score = Score::softmax;
  bool bias = false;               // added to the logits
  bool correction_bias = false;    // added for the choice only, not to the weights
  int groups = 1, top_groups = 1;  // experts outside the best groups are left out
  int group_best = 2;              // a group is as good as the sum of this many of its best choices: 1 or 2
  double jitter = 0.0;             // sparsemixer: near is within 2 * jitter of the larger logit, relatively
  bool renormalize = false;        // weights of the chosen experts sum to 1
  float scale = 1.0f;              // of the weights, at the end
};

struct MoeSpec {
  RouterSpec router;
  MlpSpec expert;
  MlpSpec shared;            // hidden 0: none
  bool shared_gate = false;  // the shared expert's output is multiplied by sigmoid(w x)
};

using FfnSpec = std::variant<MlpSpec, MoeSpec>;

// x += scale * post(mixer(pre(x))); x += scale * ffn_post(ffn(ffn_pre(x))).
// A parallel layer reads once: x += scale * (mixer(pre(x)) + ffn(pre(x))).
struct LayerSpec {
  MixerSpec mixer;
  FfnSpec ffn;
  NormSpec pre, post, ffn_pre, ffn_post;
  float residual_scale = 1.0f;
  bool parallel = false;
};

struct ModelSpec {
  std::string arch;
  int vocab = 0, dim = 0;
  int max_positions = 0;
  std::vector<LayerSpec> layers;
  NormSpec final_norm;
  bool has_head = true;  // no: the model ends with its final norm and makes no tokens
  bool tied_head = false;
  bool head_bias = false;
  float embed_scale = 1.0f;
  bool round_embed_scale = false;  // to the dtype of the embedding table (Gemma)
  float logit_scale = 1.0f;        // of the logits, before the soft cap
  float logit_softcap = 0.0f;
};

// Throws Error(invalid_argument) that names the field when a size is not positive, absurd, or does not divide.
void validate(const ModelSpec& spec);

// Whether a token depends on those after it.
bool is_bidirectional(const ModelSpec& spec);

// The model layer by layer, runs of equal layers folded into one line.
std::string to_string(const ModelSpec& spec);

template <typename... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <typename... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

}  // namespace arc
