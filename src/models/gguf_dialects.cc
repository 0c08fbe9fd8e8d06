// GGUF's dialects: what ggml calls each architecture, its keys beyond the common ones, and what the format leaves
// unsaid. The facts are those of llama.cpp's converter.
#include <algorithm>
#include <set>

#include "fmt/format.h"
#include "fmt/ranges.h"
#include "nlohmann/json.hpp"

#include "base/error.h"
#include "models/gguf.h"

namespace arc {
namespace {

constexpr GgufKey kMixtralKeys[] = {{"expert_count", "num_local_experts"},
                                    {"expert_used_count", "num_experts_per_tok"}};
constexpr GgufKey kMistral3Keys[] = {{"attention.temperature_scale", ""}};
constexpr GgufKey kQwen2Keys[] = {{"attention.sliding_window", "sliding_window"}};
constexpr GgufKey kGemma2Keys[] = {{"attention.sliding_window", "sliding_window"},
                                   {"attn_logit_softcapping", "attn_logit_softcapping"},
                                   {"final_logit_softcapping", "final_logit_softcapping"}};
constexpr GgufKey kPhi2Keys[] = {{"attention.layer_norm_epsilon", "layer_norm_eps"}};
constexpr GgufKey kPhi3Keys[] = {{"attention.sliding_window", "sliding_window"}};
constexpr GgufKey kPhiMoeKeys[] = {{"attention.sliding_window", "sliding_window"},
                                   {"expert_count", "num_local_experts"},
                                   {"expert_used_count", "num_experts_per_tok"}};
constexpr GgufKey kStarcoder2Keys[] = {{"attention.layer_norm_epsilon", "norm_epsilon"},
                                       {"attention.sliding_window", "sliding_window"}};
constexpr GgufKey kQwen3MoeKeys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"expert_count", "num_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
    {"expert_weights_norm", "norm_topk_prob"},
};
constexpr GgufKey kQwen3NextKeys[] = {
    {"expert_count", "num_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size"},
    {"expert_weights_norm", "norm_topk_prob"},
    {"full_attention_interval", "full_attention_interval"},
    {"ssm.conv_kernel", "linear_conv_kernel_dim"},
    {"ssm.state_size", "linear_key_head_dim"},
    {"ssm.group_count", "linear_num_key_heads"},
    {"ssm.time_step_rank", "linear_num_value_heads"},
    {"ssm.inner_size", ""},
    {"attention.recurrent_layers", ""},
};
constexpr GgufKey kGemma3Keys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"rope.freq_base_swa", "rope_local_base_freq"},
    {"final_logit_softcapping", "final_logit_softcapping"},
    {"attention.scale", ""},
};
constexpr GgufKey kDeepseekKeys[] = {
    {"leading_dense_block_count", "first_k_dense_replace"},
    {"attention.q_lora_rank", "q_lora_rank"},
    {"attention.kv_lora_rank", "kv_lora_rank"},
    {"attention.value_length", "v_head_dim"},
    {"attention.value_length_mla", "v_head_dim"},  // where both are, this one
    {"attention.key_length_mla", ""},
    {"expert_count", "n_routed_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_shared_count", "n_shared_experts"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_weights_norm", "norm_topk_prob"},
    {"expert_weights_scale", "routed_scaling_factor"},
    {"expert_group_count", "n_group"},
    {"expert_group_used_count", "topk_group"},
};
constexpr GgufKey kGptOssKeys[] = {
    {"attention.sliding_window", "sliding_window"},
    {"expert_count", "num_local_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_feed_forward_length", "intermediate_size"},
};
constexpr GgufKey kGlm4MoeKeys[] = {
    {"leading_dense_block_count", "first_k_dense_replace"},
    {"expert_count", "n_routed_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"expert_shared_count", "n_shared_experts"},
    {"expert_feed_forward_length", "moe_intermediate_size"},
    {"expert_weights_norm", "norm_topk_prob"},
    {"expert_weights_scale", "routed_scaling_factor"},
    {"expert_group_count", "n_group"},
    {"expert_group_used_count", "topk_group"},
};
constexpr GgufKey kGraniteKeys[] = {
    {"feed_forward_length", "shared_intermediate_size"},
    {"expert_shared_feed_forward_length", "shared_intermediate_size"},  // where both are, this one
    {"expert_count", "num_local_experts"},
    {"expert_used_count", "num_experts_per_tok"},
    {"attention.scale", "attention_multiplier"},
    {"embedding_scale", "embedding_multiplier"},
    {"residual_scale", "residual_multiplier"},
    {"logit_scale", "logits_scaling"},
    {"ssm.conv_kernel", "mamba_d_conv"},
    {"ssm.state_size", "mamba_d_state"},
    {"ssm.group_count", "mamba_n_groups"},
    {"ssm.time_step_rank", "mamba_n_heads"},
    {"ssm.inner_size", ""},
};
constexpr NameRow kNormAfterAttention[] = {{"ffn_pre_norm", "post_attention_norm.weight", {}}};
constexpr NameRow kMambaNames[] = {
    {"mamba.in", "ssm_in.weight", {}},
    {"mamba.conv", "ssm_conv1d.weight", {}},
    {"mamba.dt_bias", "ssm_dt.bias", {}},
    {"mamba.a_log", "ssm_a", {.negative_exp = true}},
    {"mamba.d", "ssm_d", {}},
    {"mamba.norm", "ssm_norm.weight", {}},
    {"mamba.o", "ssm_out.weight", {}},
};
constexpr NameRow kGateInUp[] = {{"mlp.gate_up", "ffn_up.weight", {}}};

// Rows of q and k of Llama and its like are turned for pairs (2i, 2i + 1); norms of Gemma and Qwen3-Next have the 1
// added. Mistral is told as Llama, without its window; GLM-4.7-Flash as DeepSeek V3, whose mathematics it has.
constexpr GgufDialect kDialects[] = {
    {.name = "llama",
     .arch = "MixtralForCausalLM",
     .experts = true,
     .keys = kMixtralKeys,
     .constants = R"({"rope_interleave": true})"},
    {.name = "llama", .arch = "LlamaForCausalLM", .constants = R"({"rope_interleave": true})"},
    {.name = "mistral3",
     .arch = "Ministral3ForCausalLM",
     .keys = kMistral3Keys,
     .constants = R"({"rope_interleave": true})"},
    {.name = "smollm3", .arch = "SmolLM3ForCausalLM", .constants = R"({"rope_interleave": true})"},
    {.name = "qwen2", .arch = "Qwen2ForCausalLM", .keys = kQwen2Keys},
    {.name = "qwen3", .arch = "Qwen3ForCausalLM", .keys = kQwen2Keys},
    {.name = "qwen3moe",
     .arch = "Qwen3MoeForCausalLM",
     .experts = true,
     .keys = kQwen3MoeKeys,
     .constants = R"({"norm_topk_prob": true})"},
    {.name = "qwen3next",
     .arch = "Qwen3NextForCausalLM",
     .experts = true,
     .keys = kQwen3NextKeys,
     .names = kNormAfterAttention,
     .constants = R"({"norm_topk_prob": true, "norm_weights_shifted": true})"},
    {.name = "gemma",
     .arch = "GemmaForCausalLM",
     .constants = R"({"hidden_activation": "gelu_pytorch_tanh", "norm_weights_shifted": true})"},
    {.name = "gemma2",
     .arch = "Gemma2ForCausalLM",
     .keys = kGemma2Keys,
     .constants = R"({"hidden_activation": "gelu_pytorch_tanh", "norm_weights_shifted": true})"},
    {.name = "gemma3",
     .arch = "Gemma3ForCausalLM",
     .keys = kGemma3Keys,
     .constants = R"({"hidden_activation": "gelu_pytorch_tanh", "norm_weights_shifted": true})"},
    {.name = "phi2", .arch = "PhiForCausalLM", .keys = kPhi2Keys, .constants = R"({"hidden_act": "gelu_new"})"},
    {.name = "phi3", .arch = "Phi3ForCausalLM", .keys = kPhi3Keys, .names = kGateInUp},
    {.name = "phimoe", .arch = "PhiMoEForCausalLM", .experts = true, .keys = kPhiMoeKeys},
    {.name = "starcoder2",
     .arch = "Starcoder2ForCausalLM",
     .keys = kStarcoder2Keys,
     .constants = R"({"hidden_act": "gelu_pytorch_tanh"})"},
    {.name = "glm4", .arch = "Glm4ForCausalLM", .names = kGateInUp},
    {.name = "glm4moe",
     .arch = "Glm4MoeForCausalLM",
     .experts = true,
     .sigmoid = true,
     .keys = kGlm4MoeKeys,
     .names = kNormAfterAttention,
     .constants = R"({"norm_topk_prob": false, "first_k_dense_replace": 0})"},
    {.name = "deepseek2",
     .arch = "DeepseekV2ForCausalLM",
     .experts = true,
     .keys = kDeepseekKeys,
     .constants = R"({"norm_topk_prob": false})"},
    {.name = "deepseek2",
     .arch = "DeepseekV3ForCausalLM",
     .experts = true,
     .sigmoid = true,
     .keys = kDeepseekKeys,
     .constants = R"({"norm_topk_prob": false})"},
    {.name = "granite",
     .arch = "GraniteMoeHybridForCausalLM",
     .keys = kGraniteKeys,
     .constants = R"({"rope_interleave": true, "attention_multiplier": 0.0, "num_local_experts": 0})"},
    {.name = "granitehybrid",
     .arch = "GraniteMoeHybridForCausalLM",
     .keys = kGraniteKeys,
     .names = kMambaNames,
     .constants = R"({"rope_interleave": true, "attention_multiplier": 0.0, "num_local_experts": 0})"},
    {.name = "granitehybrid",
     .arch = "GraniteMoeHybridForCausalLM",
     .experts = true,
     .keys = kGraniteKeys,
     .names = kMambaNames,
     .constants = R"({"rope_interleave": true, "attention_multiplier": 0.0})"},
    {.name = "gpt-oss",
     .arch = "GptOssForCausalLM",
     .experts = true,
     .keys = kGptOssKeys,
     .names = kNormAfterAttention},
};

}  // namespace

std::span<const GgufDialect> gguf_dialects() {
  return kDialects;
}

bool any_layer_has(const GgufFacts& facts, std::string_view arch, std::string_view name) {
  const Json blocks = facts.value(fmt::format("{}.block_count", arch));
  const int64_t n = blocks.is_number_integer() ? blocks.get<int64_t>() : 0;
  for (int64_t l = 0; l < std::min<int64_t>(n, kMaxGgufLayers); ++l) {
    if (facts.has_tensor(fmt::format("blk.{}.{}", l, name))) return true;
  }
  return false;
}

const GgufDialect& find_gguf_dialect(const GgufFacts& facts) {
  const Json named = facts.value("general.architecture");
  const std::string name = named.is_string() ? named.get<std::string>() : "";
  const Json count = facts.value(fmt::format("{}.expert_count", name));
  const Json gating = facts.value(fmt::format("{}.expert_gating_func", name));
  const bool experts = count.is_number() && count != 0;
  // Where the file does not say, the correction of the choice does, which softmax routers have not.
  const bool unsaid = !gating.is_number() || gating == 0;
  const bool sigmoid = experts && (unsaid ? any_layer_has(facts, name, "exp_probs_b.bias") : gating == 2);
  std::set<std::string_view> known;
  for (const GgufDialect& dialect : kDialects) {
    if (dialect.name == name && dialect.experts == experts && dialect.sigmoid == sigmoid) return dialect;
    known.insert(dialect.name);
  }
  throw Error(ErrorCode::unsupported, fmt::format("GGUF architecture \"{}\"{}{} is not supported; Arc knows {}", name,
                                                  experts ? " with experts" : "", sigmoid ? " of sigmoid routers" : "",
                                                  fmt::join(known, ", ")));
}

}  // namespace arc
