"""GLM 4, dense and of experts; the light one attends by latents."""

from __future__ import annotations

from golden.families.deepseek import DEEPSEEK_V3
from golden.family import Family, base_config

GLM4 = Family(
    config=base_config(
        "Glm4ForCausalLM",
        "glm4",
        attention_bias=True,
        eos_token_id=[2, 3],
        head_dim=20,
        hidden_act="silu",
        hidden_size=52,
        intermediate_size=66,
        num_attention_heads=4,
        num_hidden_layers=3,
        num_key_value_heads=2,
        pad_token_id=0,
        partial_rotary_factor=0.5,
        rope_theta=300.0,
        tie_word_embeddings=False,
    ),
)

GLM4_MOE = Family(
    config=base_config(
        "Glm4MoeForCausalLM",
        "glm4_moe",
        attention_bias=True,
        eos_token_id=[2, 3],
        first_k_dense_replace=1,
        head_dim=20,
        hidden_act="silu",
        hidden_size=52,
        intermediate_size=66,
        moe_intermediate_size=26,
        n_group=4,
        n_routed_experts=12,
        n_shared_experts=2,
        norm_topk_prob=True,
        num_attention_heads=4,
        num_experts_per_tok=4,
        num_hidden_layers=3,
        num_key_value_heads=2,
        num_nextn_predict_layers=1,
        pad_token_id=0,
        partial_rotary_factor=0.5,
        rope_scaling=None,
        rope_theta=300.0,
        routed_scaling_factor=1.5,
        tie_word_embeddings=False,
        topk_group=2,
        use_qk_norm=True,
    ),
    rules=DEEPSEEK_V3.rules,
    ignored={
        "model.layers.3.eh_proj.weight": (52, 104),
        "model.layers.3.enorm.weight": (52,),
        "model.layers.3.shared_head.norm.weight": (52,),
    },
)

GLM4_MOE_LITE = Family(
    config={
        key: value
        for key, value in (
            DEEPSEEK_V3.config
            | {
                "architectures": ["Glm4MoeLiteForCausalLM"],
                "model_type": "glm4_moe_lite",
                "partial_rotary_factor": 1.0,
                "rope_scaling": None,
                "rope_theta": 300.0,
                "routed_scaling_factor": 1.75,
            }
        ).items()
        if key not in ("ep_size", "moe_layer_freq", "scoring_func")
    },
    rules=DEEPSEEK_V3.rules,
    ignored={
        "model.layers.3.eh_proj.weight": (56, 112),
        "model.layers.3.enorm.weight": (56,),
        "model.layers.3.shared_head.norm.weight": (56,),
    },
)

FAMILIES: dict[str, Family] = {
    "glm4": GLM4,
    "glm4_moe": GLM4_MOE,
    "glm4_moe_lite": GLM4_MOE_LITE,
}
