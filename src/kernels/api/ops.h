// The operations that stages are made of. An operation is its argument struct; its meaning is the scalar reference of
// the same name in kernels/ref. Operands come in the order that each comment gives: weights (W), reads (R), writes (O).
// Letters: T token rows, C model dim, H query heads, K key/value heads, D head dim, E experts, k experts per token.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>
#include <type_traits>
#include <variant>

namespace arc {

enum class NormKind : uint8_t { none, rms, layer };
enum class Act : uint8_t { silu, gelu, gelu_tanh, relu, clamped_swiglu };
enum class RouterScore : uint8_t { softmax, softmax_selected, sigmoid, sparsemixer };

// O[T, C] = W[token] * scale.   W: table [V, C]
struct EmbedArgs {
  float scale = 1.0f;
};

// Each run of `cols` columns of a row is normalised on its own.   W: weight [cols]; R: x; O: y (may be x)
struct NormArgs {
  NormKind kind = NormKind::rms;
  float eps = 1e-6f;
  int32_t cols = 0;
};

// y = rms_norm(x) * weight * silu(z), or rms_norm(x * silu(z)) * weight, per run of `cols`.   W: weight [cols]; R: x,
// z; O: y (may be x)
struct GatedNormArgs {
  float eps = 1e-6f;
  int32_t cols = 0;
  bool gate_first = false;
};

// y = W x + bias.   W: [out, in]; R: x [T, in]; O: y [T, out]
struct LinearArgs {};

// Head h: y[h * out_stride ..] = W[h] x[h * in_stride ..].   W: [heads, out, in]; R: x; O: y
struct HeadLinearArgs {
  int32_t heads = 0;
  int32_t in_stride = 0, out_stride = 0;
};

// What a rotation multiplies cos and sin by, and when it takes other frequencies.
struct RopeFactors {
  double factor = 1.0;
  int32_t switch_at = 0;  // a sequence of more known tokens takes the second frequencies and long_factor; 0: none does
  double long_factor = 1.0;
  double beta = 0.0;  // the factor at position p is multiplied by 1 + beta * ln(1 + floor(p / period))
  double period = 1.0;

  bool operator==(const RopeFactors&) const = default;
  bool is_long(int32_t known_tokens) const { return switch_at > 0 && known_tokens > switch_at; }
  double at(int32_t position, bool long_sequence) const {
    const double temperature = beta == 0.0 ? 1.0 : 1.0 + beta * std::log(1.0 + std::floor(position / period));
    return (long_sequence ? long_factor : factor) * temperature;
  }
};

// Copies `dims` coordinates of each head and rotates pairs (i, i + dims/2) by position * frequency[i].
// W: frequencies f64 [dims / 2], with switch_at a second row of them; R: x, head h at h * in_stride; O: y, head h at
// h * out_stride (may be x)
struct RopeArgs {
  int32_t heads = 0, dims = 0;
  int32_t in_stride = 0, out_stride = 0;
  RopeFactors factors;
};

// Writes keys and values of the step's tokens into the cache. Where the policy is tiled they are rotated and go to the
// open tiles, and each tile that they fill is packed.   R: k [T, K * k_dim], v [T, K * v_dim] (absent for latents)
struct AppendArgs {
  int32_t group = 0, layer = 0;             // cache group, and the layer's place in it
  int32_t open_group = -1, open_layer = 0;  // likewise of the open tiles; -1: the policy is not tiled
  int32_t kv_heads = 0, k_dim = 0, v_dim = 0;
};

// O = softmax(scale * q k^T) v over the cached tokens that position and window allow: at p those from p - window + 1 to
// p, or to p + window - 1 when not causal. Where the policy is tiled, the query's own tile and policy.recent before it
// are read from the open tiles and all others packed, whatever is stored.
// W: sinks [H] when `sinks`; R: q [T, H * k_dim]; O: o [T, H * v_dim]
struct AttendArgs {
  int32_t group = 0, layer = 0;
  int32_t open_group = -1, open_layer = 0;
  int32_t heads = 0, kv_heads = 0, k_dim = 0, v_dim = 0;
  bool v_in_k = false;  // the value is the first v_dim coordinates of the key (latent attention)
  bool sinks = false;
  bool causal = true;
  int32_t window = 0;  // 0: no window
  float scale = 1.0f, softcap = 0.0f;
};

// y = x * sigmoid(g); g has as many columns as x, or one.   R: x, g; O: y (may be x)
struct GateArgs {};

// y += scale * x.   R: x; O: y
struct AddArgs {
  float scale = 1.0f;
};

// y = act(gate) * up, or act(up) without gate. Per run of `hidden` columns: gate | up side by side.   R: x; O: y
struct ActArgs {
  Act act = Act::silu;
  bool gated = true;
  int32_t hidden = 0;
  float alpha = 0.0f, limit = 0.0f;  // of clamped_swiglu
};

// The k best experts of a token, best first (ties: lower number), and their weights.
// W: correction bias [E] when `correction`; R: logits [T, E]; O: ids i32 [T, k], weights [T, k]
struct RouteArgs {
  int32_t experts = 0, top_k = 0, groups = 1, top_groups = 1;
  int32_t group_best = 2;  // best choices that make a group's score: 1 or 2
  RouterScore score = RouterScore::softmax;
  bool correction = false, renormalize = false;
  double jitter = 0.0;  // of sparsemixer
  float scale = 1.0f;
};

// For each token and choice j: y[j] = W[id_j] x (or x[j] when `own_input`). Choices outside
// [first, first + experts) belong to another shard and give zeros.
// W: [experts, out, in]; R: x [T, in] or [T, k * in], ids [T, k]; O: y [T, k * out]
struct ExpertLinearArgs {
  int32_t top_k = 0, first = 0;
  bool own_input = false;
};

// y = sum over choices j of weight_j * x[j].   R: x [T, k * C], weights [T, k]; O: y [T, C]
struct ExpertSumArgs {
  int32_t top_k = 0;
};

// Causal depthwise convolution over the sequence (and a bias, where the weight has one), then SiLU. The last kernel - 1
// inputs are kept in the state. W: [channels, kernel]; R: x [T, channels]; O: y [T, channels]
struct ConvArgs {
  int32_t group = 0, layer = 0;
  int32_t channels = 0, kernel = 0;
  int64_t state_offset = 0;  // bytes into the layer's state
};

// The gated delta rule; value head h uses key head h / (value_heads / key_heads). q and k are L2-normalised (eps 1e-6),
// q is divided by sqrt(key_dim), beta = sigmoid(b), g = -exp(a_log) * softplus(a + dt_bias). W: dt_bias [value_heads],
// a_log [value_heads]; R: qkv [T, ...], ba [T, 2 * value_heads]; O: o [T, value_heads * value_dim]
struct DeltaArgs {
  int32_t group = 0, layer = 0;
  int32_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  int64_t state_offset = 0;  // bytes into the layer's state: f32 [value_heads, key_dim, value_dim]
};

// The state-space recurrence of Mamba-2: h <- exp(-exp(a_log) dt) h + dt B x^T, y = C^T h + d x, with dt =
// clamp(softplus(dt + dt_bias)); head i uses the B and C of group i / (heads / groups). W: dt_bias, a_log, d [heads];
// R: x | B | C [T, heads * head_dim + 2 * groups * state_dim], dt [T, heads]; O: y [T, heads * head_dim]
struct SsmArgs {
  int32_t group = 0, layer = 0;
  int32_t heads = 0, head_dim = 0, groups = 1, state_dim = 0;
  double dt_min = 0.0, dt_max = 0.0;
  int64_t state_offset = 0;  // bytes into the layer's state: f32 [heads, state_dim, head_dim]
};

// y[r] = x[rows[r]].   R: x [T, C]; O: y [R, C]
struct GatherArgs {};

// y = cap * tanh(x / cap), in place.   O: y
struct SoftcapArgs {
  float cap = 0.0f;
};

// O summed over the ranks, in rank order.   O: y
struct AllReduceArgs {};

// The ranks' columns side by side.   R: x [R, n]; O: y [R, ranks * n], cut to its own width
struct AllGatherArgs {};

// ---- fused: each is a composition of the operations above, and means exactly that ----

enum class Epilogue : uint8_t {
  store,  // y = v
  add,    // y += v
  act,    // y = act(gate | up) of v
};

// y = epilogue(W norm(x) + bias), norm or not.
// W: matrix [out, in], norm weight [in] when `norm`; R: x; O: y, then what the reference needs on the way: norm(x) and
// v
struct FusedLinearArgs {
  NormArgs norm{.kind = NormKind::none};
  Epilogue epilogue = Epilogue::store;
  ActArgs act;
};

// Head norms and rotation of q and k, append, attend.
// W: q norm, k norm [D] (both absent when `norm.kind` is none), frequencies; R: qkv [T, (H + 2K) * D], changed in
// place; O: o
struct FusedAttendArgs {
  NormArgs norm{.kind = NormKind::none};
  AttendArgs attend;
  int32_t rope_dims = 0;
  double rope_factor = 1.0;
};

using Args =
    std::variant<EmbedArgs, NormArgs, GatedNormArgs, LinearArgs, HeadLinearArgs, RopeArgs, AppendArgs, AttendArgs,
                 GateArgs, AddArgs, ActArgs, RouteArgs, ExpertLinearArgs, ExpertSumArgs, ConvArgs, DeltaArgs, SsmArgs,
                 GatherArgs, SoftcapArgs, AllReduceArgs, AllGatherArgs, FusedLinearArgs, FusedAttendArgs>;
static_assert(sizeof(Args) <= 256 && std::is_trivially_copyable_v<Args>, "arguments travel to the device by value");

constexpr size_t kOpCount = std::variant_size_v<Args>;

// In the order of Args.
inline constexpr std::string_view kOpNames[] = {
    "embed", "norm",   "gated_norm", "linear",     "head_linear",   "rope",         "append",      "attend",
    "gate",  "add",    "act",        "route",      "expert_linear", "expert_sum",   "conv",        "delta",
    "ssm",   "gather", "softcap",    "all_reduce", "all_gather",    "fused_linear", "fused_attend"};
static_assert(std::size(kOpNames) == kOpCount);

inline std::string_view op_name(const Args& args) {
  return kOpNames[args.index()];
}

}  // namespace arc
