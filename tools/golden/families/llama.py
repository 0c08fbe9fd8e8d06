"""Llama and the families nearest to it: Mistral, Ministral, Mixtral, SmolLM3, StarCoder 2."""

from __future__ import annotations

from golden.family import FanIn, Family, NEAR_ONE, base_config

LLAMA = Family(
    config=base_config(
        "LlamaForCausalLM",
        "llama",
        attention_bias=True,
        head_dim=14,
        hidden_act="silu",
        hidden_size=60,
        intermediate_size=90,
        mlp_bias=True,
        num_attention_heads=6,
        num_hidden_layers=3,
        num_key_value_heads=2,
        pretraining_tp=1,
        rope_scaling={  # wavelengths from 6.3 on: the bands are below 8, up to 32, above
            "factor": 8.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 32,
            "rope_type": "llama3",
        },
        rope_theta=1000.0,
        tie_word_embeddings=False,
    ),
    ignored={"model.layers.0.self_attn.rotary_emb.inv_freq": (7,)},
    n_tokens=41,
)

MISTRAL = Family(
    config=base_config(
        "MistralForCausalLM",
        "mistral",
        head_dim=14,
        hidden_act="silu",
        hidden_size=52,
        intermediate_size=74,
        num_attention_heads=6,
        num_hidden_layers=3,
        num_key_value_heads=2,
        rope_theta=500.0,
        sliding_window=9,
        tie_word_embeddings=False,
    ),
)

MINISTRAL3 = Family(
    config=base_config(
        "Ministral3ForCausalLM",
        "ministral3",
        head_dim=14,
        hidden_act="silu",
        hidden_size=52,
        intermediate_size=74,
        num_attention_heads=6,
        num_hidden_layers=3,
        num_key_value_heads=2,
        rope_parameters={  # ramp over the pairs: 0, 1/3, 2/3, 1 ...; queries grow at 9, 18, 27, 36
            "beta_fast": 1.0,
            "beta_slow": 0.125,
            "factor": 16.0,
            "llama_4_scaling_beta": 0.25,
            "mscale": 1.0,
            "mscale_all_dim": 0.75,
            "original_max_position_embeddings": 9,
            "rope_theta": 64.0,
            "rope_type": "yarn",
            "type": "yarn",
        },
        sliding_window=None,
        tie_word_embeddings=True,
    ),
)

MIXTRAL = Family(
    config=base_config(
        "MixtralForCausalLM",
        "mixtral",
        head_dim=10,
        hidden_act="silu",
        hidden_size=44,
        intermediate_size=30,
        num_attention_heads=4,
        num_experts_per_tok=2,
        num_hidden_layers=3,
        num_key_value_heads=2,
        num_local_experts=6,
        output_router_logits=False,
        rope_theta=200.0,
        router_aux_loss_coef=0.02,
        sliding_window=None,
        tie_word_embeddings=False,
    ),
    rules=((r"block_sparse_moe\.gate\.weight$", FanIn(2.0)),),
)

SMOLLM3 = Family(
    config=base_config(
        "SmolLM3ForCausalLM",
        "smollm3",
        attention_bias=False,
        hidden_act="silu",
        hidden_size=56,
        intermediate_size=78,
        layer_types=["full_attention", "sliding_attention", "full_attention", "full_attention"],
        max_window_layers=28,
        mlp_bias=True,
        no_rope_layer_interval=4,
        no_rope_layers=[1, 0, 1, 0],
        num_attention_heads=4,
        num_hidden_layers=4,
        num_key_value_heads=2,
        pad_token_id=0,
        pretraining_tp=2,
        rope_scaling=None,
        rope_theta=300.0,
        sliding_window=9,
        tie_word_embeddings=True,
        use_sliding_window=True,
    ),
)

STARCODER2 = Family(
    config={
        key: value
        for key, value in base_config(
            "Starcoder2ForCausalLM",
            "starcoder2",
            activation_function="gelu",
            attention_softmax_in_fp32=True,
            embedding_dropout=0.0,
            hidden_act="gelu_pytorch_tanh",
            hidden_size=56,
            intermediate_size=82,
            layer_norm_epsilon=0.001,
            mlp_type="default",
            norm_epsilon=0.001,
            norm_type="layer_norm",
            num_attention_heads=4,
            num_hidden_layers=3,
            num_key_value_heads=2,
            residual_dropout=0.0,
            rope_theta=300.0,
            scale_attention_softmax_in_fp32=True,
            scale_attn_weights=True,
            sliding_window=9,
            use_bias=True,
        ).items()
        if key != "rms_norm_eps"
    },
    rules=((r"\.norm\.weight$|layernorm\.weight$", NEAR_ONE),),
)

FAMILIES: dict[str, Family] = {
    "llama": LLAMA,
    "ministral3": MINISTRAL3,
    "mistral": MISTRAL,
    "mixtral": MIXTRAL,
    "smollm3": SMOLLM3,
    "starcoder2": STARCODER2,
}
