"""Phi 2, 3 and 3.5 MoE; LongRoPE within its original context and beyond."""

from __future__ import annotations

from typing import Any

from golden.family import FanIn, Family, NEAR_ONE, Rule, base_config

PHI = Family(
    config={
        key: value
        for key, value in base_config(
            "PhiForCausalLM",
            "phi",
            embd_pdrop=0.0,
            hidden_act="gelu_new",
            hidden_size=60,
            intermediate_size=82,
            layer_norm_eps=0.001,
            num_attention_heads=6,
            num_hidden_layers=3,
            num_key_value_heads=2,
            partial_rotary_factor=0.4,
            qk_layernorm=True,
            resid_pdrop=0.0,
            rope_scaling=None,
            rope_theta=300.0,
            tie_word_embeddings=False,
        ).items()
        if key != "rms_norm_eps"
    },
    rules=((r"layernorm\.weight$", NEAR_ONE),),
)


def longrope(*, long: tuple[float, ...], short: tuple[float, ...], **keys: float) -> dict[str, Any]:
    return {"long_factor": list(long), "short_factor": list(short), "type": "longrope"} | keys


PHI3_CONFIG = base_config(
    "Phi3ForCausalLM",
    "phi3",
    attention_bias=False,
    embd_pdrop=0.0,
    full_attn_mod=1,
    hidden_act="silu",
    hidden_size=56,
    interpolate_factor=1,
    intermediate_size=74,
    lm_head_bias=False,
    mlp_bias=False,
    num_attention_heads=4,
    num_hidden_layers=3,
    num_key_value_heads=2,
    original_max_position_embeddings=20,
    pad_token_id=0,
    partial_rotary_factor=0.75,
    resid_pdrop=0.0,
    rope_scaling=longrope(long=(1.5, 2.0, 3.0, 4.5, 6.0), short=(1.0, 1.125, 1.25, 1.5, 1.75)),
    rope_theta=100.0,
    sliding_window=13,
    tie_word_embeddings=False,
)

PHI3_LONG = Family(config=PHI3_CONFIG)  # a prompt beyond the original context: the long factors
PHI3_SHORT = Family(config=PHI3_CONFIG, n_tokens=20)  # and one within it

PHI_MOE_CONFIG = base_config(
    "PhiMoEForCausalLM",
    "phimoe",
    attention_bias=True,
    head_dim=10,
    hidden_act="silu",
    hidden_dropout=0.0,
    hidden_size=44,
    input_jitter_noise=0.01,
    intermediate_size=30,
    lm_head_bias=True,
    num_attention_heads=4,
    num_experts_per_tok=2,
    num_hidden_layers=3,
    num_key_value_heads=2,
    num_local_experts=6,
    original_max_position_embeddings=20,
    output_router_logits=False,
    rope_scaling=longrope(
        long=(1.5, 2.0, 3.0, 4.5, 6.0),
        short=(1.0, 1.125, 1.25, 1.5, 1.75),
        long_mscale=1.25,
        original_max_position_embeddings=20,
        short_mscale=1.125,
    ),
    rope_theta=100.0,
    router_aux_loss_coef=0.0,
    router_jitter_noise=0.25,  # so wide that a choice often has a second near it
    sliding_window=None,
    tie_word_embeddings=False,
)

PHI_MOE_RULES: tuple[Rule, ...] = ((r"block_sparse_moe\.gate\.weight$", FanIn(2.0)),)
PHI_MOE_LONG = Family(config=PHI_MOE_CONFIG, rules=PHI_MOE_RULES)
PHI_MOE_SHORT = Family(config=PHI_MOE_CONFIG, rules=PHI_MOE_RULES, n_tokens=20)

FAMILIES: dict[str, Family] = {
    "phi": PHI,
    "phi3_long": PHI3_LONG,
    "phi3_short": PHI3_SHORT,
    "phimoe_long": PHI_MOE_LONG,
    "phimoe_short": PHI_MOE_SHORT,
}
