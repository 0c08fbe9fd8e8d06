"""The tiny models, one entry per family: the config as it stands on the hub, and how its weights are drawn.

To add a family, add one entry to FAMILIES: a config with every feature of the family on (windows and original contexts
shorter than the prompt, head_dim != hidden_size / heads, sizes that are not powers of two, an eps that shows), plus a
rule for each tensor that the rules below do not suit. Names and shapes of the tensors come from transformers.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

from golden.generator import Grid


@dataclasses.dataclass(frozen=True)
class FanIn:
    """A matrix whose products with inputs of size one have a standard deviation of about `gain`."""

    gain: float = 1.0
    axis: int = -1

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """The grid nearest to that deviation: uniform odd integers of b bits deviate by 2^b / sqrt(3)."""
        bits = 8
        deviation = self.gain / math.sqrt(shape[self.axis])
        return Grid(bits, round(math.log2(deviation * math.sqrt(3.0))) - bits)


Rule = tuple[str, Grid | FanIn]  # pattern searched for in the tensor's name; the first that is found decides


@dataclasses.dataclass(frozen=True)
class Family:
    """One golden: `config` is config.json; `ignored` are tensors that a loader must skip, name to shape."""

    config: dict[str, Any]
    rules: tuple[Rule, ...] = ()
    ignored: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    n_tokens: int = 37
    nested: bool = False  # config2.json holds the model under "text_config"

    def grid(self, name: str, shape: tuple[int, ...]) -> Grid:
        """How the tensor `name` is drawn."""
        for pattern, source in self.rules + DEFAULT_RULES:
            if re.search(pattern, name):
                return source.grid(shape) if isinstance(source, FanIn) else source
        raise ValueError(f"no rule draws the tensor {name} {list(shape)}; add one to its family")


NEAR_ONE = Grid(6, -7, 1.0)  # 0.51 to 1.49
NEAR_ZERO = Grid(6, -7)  # the same for norms that add one to their weight
BIAS = Grid(8, -9)  # within 0.5

DEFAULT_RULES: tuple[Rule, ...] = (
    (r"norm\.weight$", NEAR_ONE),
    (r"(\.|_)bias$", BIAS),
    (r"embed_tokens\.weight$", Grid(8, -8)),
    (r"lm_head\.weight$", FanIn(2.0)),
    (r"mlp\.(gate|router)\.weight$", FanIn(2.0)),
    (r"inv_freq$", BIAS),
    (r"\.weight$", FanIn()),
)

ZERO_CENTRED_NORMS: Rule = (r"norm\.weight$", NEAR_ZERO)


def _config(architecture: str, model_type: str, **keys: Any) -> dict[str, Any]:
    """The keys that every config shares, then `keys`."""
    return {
        "architectures": [architecture],
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.02,
        "max_position_embeddings": 256,
        "model_type": model_type,
        "rms_norm_eps": 0.001,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": 131,
    } | keys


LLAMA = Family(
    config=_config(
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

QWEN3 = Family(
    config=_config(
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
    config=_config(
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

GEMMA3 = Family(
    config=_config(
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
    config=_config(
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

DEEPSEEK_V3 = Family(
    config=_config(
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

QWEN3_NEXT = Family(
    config=_config(
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

GPT_OSS = Family(
    config=_config(
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

MISTRAL = Family(
    config=_config(
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

MIXTRAL = Family(
    config=_config(
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

QWEN2 = Family(
    config=_config(
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

GEMMA = Family(
    config=_config(
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
    config=_config(
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

STARCODER2 = Family(
    config={
        key: value
        for key, value in _config(
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

PHI = Family(
    config={
        key: value
        for key, value in _config(
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

GLM4 = Family(
    config=_config(
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

SMOLLM3 = Family(
    config=_config(
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

def _longrope(*, long: tuple[float, ...], short: tuple[float, ...], **keys: float) -> dict[str, Any]:
    return {"long_factor": list(long), "short_factor": list(short), "type": "longrope"} | keys


PHI3_CONFIG = _config(
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
    rope_scaling=_longrope(long=(1.5, 2.0, 3.0, 4.5, 6.0), short=(1.0, 1.125, 1.25, 1.5, 1.75)),
    rope_theta=100.0,
    sliding_window=13,
    tie_word_embeddings=False,
)
PHI3_LONG = Family(config=PHI3_CONFIG)  # a prompt beyond the original context: the long factors
PHI3_SHORT = Family(config=PHI3_CONFIG, n_tokens=20)  # and one within it

PHI_MOE_CONFIG = _config(
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
    rope_scaling=_longrope(
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

MINISTRAL3 = Family(
    config=_config(
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

GLM4_MOE = Family(
    config=_config(
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

GRANITE_DENSE = Family(
    config=_config(
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
    config=_config(
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
    "deepseek_v2": DEEPSEEK_V2,
    "deepseek_v2_lite": DEEPSEEK_V2_LITE,
    "deepseek_v3": DEEPSEEK_V3,
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "embeddinggemma": EMBEDDINGGEMMA,
    "gemma3": GEMMA3,
    "glm4": GLM4,
    "glm4_moe": GLM4_MOE,
    "glm4_moe_lite": GLM4_MOE_LITE,
    "gpt_oss": GPT_OSS,
    "granite_dense": GRANITE_DENSE,
    "granite_hybrid": GRANITE_HYBRID,
    "llama": LLAMA,
    "ministral3": MINISTRAL3,
    "mistral": MISTRAL,
    "mixtral": MIXTRAL,
    "phi": PHI,
    "phi3_long": PHI3_LONG,
    "phi3_short": PHI3_SHORT,
    "phimoe_long": PHI_MOE_LONG,
    "phimoe_short": PHI_MOE_SHORT,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "qwen3_moe": QWEN3_MOE,
    "qwen3_next": QWEN3_NEXT,
    "smollm3": SMOLLM3,
    "starcoder2": STARCODER2,
}
