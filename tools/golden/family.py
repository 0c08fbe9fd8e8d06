"""What a golden's family is: its config as it stands on the hub, and how its weights are drawn."""

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


def base_config(architecture: str, model_type: str, **keys: Any) -> dict[str, Any]:
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
