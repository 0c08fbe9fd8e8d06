"""GPT-OSS: sinks, MXFP4 experts, clamped activations."""

from __future__ import annotations

from golden.family import FanIn, Family, base_config
from golden.generator import Grid

GPT_OSS = Family(
    config=base_config(
        "GptOssForCausalLM",
        "gpt_oss",
        attention_bias=True,
        experts_per_token=3,
        head_dim=10,
        hidden_act="silu",
        hidden_size=48,
        initial_context_length=16,
        intermediate_size=30,
        layer_types=["sliding_attention", "full_attention", "full_attention", "sliding_attention"],
        num_attention_heads=6,
        num_experts_per_tok=3,
        num_hidden_layers=4,
        num_key_value_heads=2,
        num_local_experts=6,
        output_router_logits=False,
        pad_token_id=0,
        rope_scaling={
            "beta_fast": 2.0,
            "beta_slow": 0.25,
            "factor": 16.0,
            "original_max_position_embeddings": 16,
            "rope_type": "yarn",
            "truncate": False,
        },
        rope_theta=150.0,
        router_aux_loss_coef=0.9,
        sliding_window=7,
        swiglu_limit=7.0,
        tie_word_embeddings=False,
    ),
    rules=(
        (r"sinks$", Grid(8, -7)),
        (r"experts\.gate_up_proj$", FanIn(3.5, axis=1)),  # some gates and ups must reach the clamp at 7
        (r"experts\.down_proj$", FanIn(0.25, axis=1)),
    ),
)

FAMILIES: dict[str, Family] = {
    "gpt_oss": GPT_OSS,
}
