"""Gemma 1 to 3 and EmbeddingGemma."""

from __future__ import annotations

from golden.family import Family, ZERO_CENTRED_NORMS, base_config
from golden.generator import Grid

GEMMA = Family(
    config=base_config(
        "GemmaForCausalLM",
        "gemma",
        attention_bias=True,
        head_dim=14,
        hidden_act="gelu_pytorch_tanh",
        hidden_size=48,
        intermediate_size=76,
        num_attention_heads=4,
        num_hidden_layers=3,
        num_key_value_heads=2,
        pad_token_id=0,
        rope_scaling=None,
        rope_theta=300.0,
    ),
    rules=(ZERO_CENTRED_NORMS, (r"embed_tokens\.weight$", Grid(8, -9))),
)

GEMMA2 = Family(
    config=base_config(
        "Gemma2ForCausalLM",
        "gemma2",
        attention_bias=True,
        attn_logit_softcapping=3.0,
        cache_implementation="hybrid",
        final_logit_softcapping=6.0,
        head_dim=14,
        hidden_act="gelu_pytorch_tanh",
        hidden_activation="gelu_pytorch_tanh",
        hidden_size=48,
        intermediate_size=76,
        num_attention_heads=4,
        num_hidden_layers=3,
        num_key_value_heads=2,
        pad_token_id=0,
        query_pre_attn_scalar=20,
        rope_theta=300.0,
        sliding_window=7,
        sliding_window_size=7,
    ),
    rules=(ZERO_CENTRED_NORMS, (r"embed_tokens\.weight$", Grid(8, -9))),
)

GEMMA3 = Family(
    config=base_config(
        "Gemma3ForCausalLM",
        "gemma3_text",
        attention_bias=True,
        attn_logit_softcapping=None,
        cache_implementation="hybrid",
        eos_token_id=[2, 3],
        final_logit_softcapping=6.0,
        head_dim=14,
        hidden_activation="gelu_pytorch_tanh",
        hidden_size=48,
        intermediate_size=76,
        num_attention_heads=4,
        num_hidden_layers=4,
        num_key_value_heads=2,
        pad_token_id=0,
        query_pre_attn_scalar=20,
        rope_local_base_freq=50.0,
        rope_scaling={"factor": 4.0, "rope_type": "linear"},
        rope_theta=1000.0,
        sliding_window=7,
        sliding_window_pattern=3,
    ),
    rules=(ZERO_CENTRED_NORMS, (r"embed_tokens\.weight$", Grid(8, -9))),
    nested=True,
)

EMBEDDINGGEMMA = Family(
    config=base_config(
        "Gemma3TextModel",
        "gemma3_text",
        attention_bias=True,
        attn_logit_softcapping=None,
        eos_token_id=[2, 3],
        final_logit_softcapping=None,
        head_dim=14,
        hidden_activation="gelu_pytorch_tanh",
        hidden_size=44,
        intermediate_size=70,
        num_attention_heads=4,
        num_hidden_layers=4,
        num_key_value_heads=2,
        pad_token_id=0,
        query_pre_attn_scalar=20,
        rope_local_base_freq=50.0,
        rope_scaling={"factor": 4.0, "rope_type": "linear"},
        rope_theta=1000.0,
        sliding_window=12,  # 7 to each side, the token included
        sliding_window_pattern=3,
        use_bidirectional_attention=True,
    ),
    rules=(ZERO_CENTRED_NORMS, (r"embed_tokens\.weight$", Grid(8, -9))),
)

FAMILIES: dict[str, Family] = {
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "embeddinggemma": EMBEDDINGGEMMA,
    "gemma3": GEMMA3,
}
