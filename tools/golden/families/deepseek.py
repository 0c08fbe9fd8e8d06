"""DeepSeek V2, V2 Lite and V3: attention by latents."""

from __future__ import annotations

from golden.family import FanIn, Family, base_config
from golden.generator import Grid

DEEPSEEK_V3 = Family(
    config=base_config(
        "DeepseekV3ForCausalLM",
        "deepseek_v3",
        attention_bias=True,
        ep_size=1,
        first_k_dense_replace=1,
        hidden_act="silu",
        hidden_size=56,
        intermediate_size=70,
        kv_lora_rank=18,
        moe_intermediate_size=26,
        moe_layer_freq=1,
        n_group=4,
        n_routed_experts=12,
        n_shared_experts=2,
        norm_topk_prob=True,
        num_attention_heads=4,
        num_experts_per_tok=4,
        num_hidden_layers=3,
        num_key_value_heads=4,
        num_nextn_predict_layers=1,
        q_lora_rank=22,
        qk_nope_head_dim=10,
        qk_rope_head_dim=8,
        rope_scaling={  # ramp over the pairs: 0, 0, 1/2, 1; a little less of any number and it is another
            "beta_fast": 1.6,
            "beta_slow": 0.5,
            "factor": 8,
            "mscale": 1.0,
            "mscale_all_dim": 0.7,
            "original_max_position_embeddings": 32,
            "type": "yarn",
        },
        rope_theta=100.0,
        routed_scaling_factor=1.5,
        scoring_func="sigmoid",
        tie_word_embeddings=False,
        topk_group=2,
        topk_method="noaux_tc",
        v_head_dim=14,
    ),
    rules=(
        (r"e_score_correction_bias$", Grid(6, -8, -0.25)),  # below 0: so are many corrected scores
        (r"mlp\.gate\.weight$", FanIn(4.0)),
    ),
    ignored={  # the extra layer that predicts one token more
        "model.layers.3.eh_proj.weight": (56, 112),
        "model.layers.3.embed_tokens.weight": (131, 56),
        "model.layers.3.enorm.weight": (56,),
        "model.layers.3.input_layernorm.weight": (56,),
        "model.layers.3.shared_head.head.weight": (131, 56),
        "model.layers.3.shared_head.norm.weight": (56,),
    },
)

DEEPSEEK_V2_CONFIG = DEEPSEEK_V3.config | {
    "architectures": ["DeepseekV2ForCausalLM"],
    "aux_loss_alpha": 0.001,
    "mlp_bias": True,
    "model_type": "deepseek_v2",
    "norm_topk_prob": False,
    "scoring_func": "softmax",
    "seq_aux": True,
    "topk_method": "group_limited_greedy",
}
del DEEPSEEK_V2_CONFIG["num_nextn_predict_layers"]
DEEPSEEK_V2 = Family(  # fewer experts: softmax's scores lie closer together
    config=DEEPSEEK_V2_CONFIG | {"n_routed_experts": 8, "num_experts_per_tok": 3},
    rules=((r"mlp\.gate\.weight$", FanIn(2.0)),),
    n_tokens=31,
)

DEEPSEEK_V2_LITE = Family(
    config=DEEPSEEK_V2_CONFIG
    | {
        "attention_bias": False,
        "mlp_bias": False,
        "n_group": 1,
        "q_lora_rank": None,
        "topk_group": 1,
        "topk_method": "greedy",
    },
    rules=((r"mlp\.gate\.weight$", FanIn(2.0)),),
)

FAMILIES: dict[str, Family] = {
    "deepseek_v2": DEEPSEEK_V2,
    "deepseek_v2_lite": DEEPSEEK_V2_LITE,
    "deepseek_v3": DEEPSEEK_V3,
}
