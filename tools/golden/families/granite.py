"""Granite 4, dense and hybrid (Mamba 2)."""

from __future__ import annotations

from golden.family import FanIn, Family, NEAR_ONE, base_config
from golden.generator import Grid

GRANITE_DENSE = Family(
    config=base_config(
        "GraniteMoeHybridForCausalLM",
        "granitemoehybrid",
        attention_bias=True,
        attention_multiplier=0.25,
        embedding_multiplier=3,
        hidden_act="silu",
        hidden_size=64,
        init_method="mup",
        intermediate_size=74,
        layer_types=["attention", "attention", "attention"],
        logits_scaling=2.5,
        normalization_function="rmsnorm",
        num_attention_heads=4,
        num_experts_per_tok=0,
        num_hidden_layers=3,
        num_key_value_heads=2,
        num_local_experts=0,
        output_router_logits=False,
        pad_token_id=0,
        position_embedding_type="rope",
        residual_multiplier=0.375,
        rope_scaling=None,
        rope_theta=300.0,
        router_aux_loss_coef=0.01,
        shared_intermediate_size=74,
        tie_word_embeddings=True,
    ),
    rules=((r"embed_tokens\.weight$", Grid(8, -9)),),
)

GRANITE_HYBRID = Family(
    config=base_config(
        "GraniteMoeHybridForCausalLM",
        "granitemoehybrid",
        attention_bias=False,
        attention_multiplier=0.25,
        embedding_multiplier=3,
        hidden_act="silu",
        hidden_size=40,
        init_method="mup",
        intermediate_size=26,
        layer_types=["mamba", "attention", "mamba", "mamba"],
        logits_scaling=2.5,
        mamba_chunk_size=16,
        mamba_conv_bias=True,
        mamba_d_conv=4,
        mamba_d_head=10,
        mamba_d_state=12,
        mamba_expand=2,
        mamba_n_groups=2,
        mamba_n_heads=8,
        mamba_proj_bias=True,
        normalization_function="rmsnorm",
        num_attention_heads=4,
        num_experts_per_tok=2,
        num_hidden_layers=4,
        num_key_value_heads=2,
        num_local_experts=6,
        output_router_logits=False,
        pad_token_id=0,
        position_embedding_type="nope",
        residual_multiplier=0.375,
        rope_scaling=None,
        rope_theta=300.0,
        router_aux_loss_coef=0.01,
        shared_intermediate_size=38,
        tie_word_embeddings=False,
        time_step_limit=[0.25, 1.5],
    ),
    rules=(
        (r"A_log$", Grid(6, -5, -0.5)),  # -2.5 to 1.5: decays from fast to slow
        (r"dt_bias$", Grid(8, -8)),
        (r"mamba\.D$", NEAR_ONE),
        (r"router\.layer\.weight$", FanIn(2.0)),
    ),
)

FAMILIES: dict[str, Family] = {
    "granite_dense": GRANITE_DENSE,
    "granite_hybrid": GRANITE_HYBRID,
}
