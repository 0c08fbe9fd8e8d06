"""Qwen 2, 3, 3 MoE and 3-Next."""

from __future__ import annotations

from golden.family import Family, NEAR_ONE, ZERO_CENTRED_NORMS, base_config
from golden.generator import Grid

QWEN2 = Family(
    config=base_config(
        "Qwen2ForCausalLM",
        "qwen2",
        hidden_act="silu",
        hidden_size=60,
        intermediate_size=86,
        max_window_layers=1,
        num_attention_heads=6,
        num_hidden_layers=3,
        num_key_value_heads=2,
        rope_scaling={
            "factor": 4.0,
            "original_max_position_embeddings": 20,
            "rope_type": "yarn",
        },
        rope_theta=20.0,
        sliding_window=8,
        tie_word_embeddings=True,
        use_sliding_window=True,
    ),
)

QWEN3 = Family(
    config=base_config(
        "Qwen3ForCausalLM",
        "qwen3",
        attention_bias=True,
        head_dim=18,
        hidden_act="silu",
        hidden_size=48,
        intermediate_size=102,
        max_window_layers=1,
        num_attention_heads=4,
        num_hidden_layers=3,
        num_key_value_heads=2,
        rope_scaling={  # ramp over the pairs: 0, 1/3, 2/3, 1 ...
            "attention_factor": 1.1,
            "factor": 16.0,
            "original_max_position_embeddings": 16,
            "rope_type": "yarn",
        },
        rope_theta=64.0,
        sliding_window=8,
        tie_word_embeddings=True,
        use_sliding_window=True,
        vocab_size=129,
    ),
)

QWEN3_MOE = Family(
    config=base_config(
        "Qwen3MoeForCausalLM",
        "qwen3_moe",
        attention_bias=True,
        decoder_sparse_step=2,
        head_dim=14,
        hidden_act="silu",
        hidden_size=44,
        intermediate_size=70,
        max_window_layers=6,
        mlp_only_layers=[3],
        moe_intermediate_size=34,
        norm_topk_prob=True,
        num_attention_heads=6,
        num_experts=8,
        num_experts_per_tok=3,
        num_hidden_layers=6,
        num_key_value_heads=2,
        output_router_logits=False,
        rope_scaling=None,
        rope_theta=500.0,
        router_aux_loss_coef=0.001,
        sliding_window=None,
        tie_word_embeddings=False,
        use_sliding_window=False,
    ),
)

QWEN3_NEXT = Family(
    config=base_config(
        "Qwen3NextForCausalLM",
        "qwen3_next",
        attention_bias=True,
        decoder_sparse_step=1,
        full_attention_interval=3,
        head_dim=20,
        hidden_act="silu",
        hidden_size=48,
        intermediate_size=70,
        linear_conv_kernel_dim=4,
        linear_key_head_dim=12,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_value_head_dim=10,
        mlp_only_layers=[1],
        moe_intermediate_size=22,
        norm_topk_prob=True,
        num_attention_heads=4,
        num_experts=8,
        num_experts_per_tok=3,
        num_hidden_layers=4,
        num_key_value_heads=2,
        output_router_logits=False,
        partial_rotary_factor=0.3,
        rope_scaling=None,
        rope_theta=1000.0,
        router_aux_loss_coef=0.001,
        shared_expert_intermediate_size=38,
        tie_word_embeddings=False,
    ),
    rules=(
        (r"linear_attn\.norm\.weight$", NEAR_ONE),
        ZERO_CENTRED_NORMS,
        (r"A_log$", Grid(6, -5, -0.5)),  # -2.5 to 1.5: decays from fast to slow
        (r"dt_bias$", Grid(8, -8)),
    ),
    ignored={"mtp.fc.weight": (48, 96), "mtp.norm.weight": (48,)},
)

FAMILIES: dict[str, Family] = {
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "qwen3_moe": QWEN3_MOE,
    "qwen3_next": QWEN3_NEXT,
}
