#!/usr/bin/env python3
"""Makes a model folder with random weights of a real model's shape, for speed measurements and load tests.

    pip install -r tools/requirements-golden.txt
    tools/make_random_model.py --config CONFIG.json --tokenizer FOLDER --out FOLDER [--layers N] [--seed N]

CONFIG.json is the config of a decoder that transformers knows; the tokenizer's files are copied. Matrices are normal with
the config's initializer_range, norms are near 1; the same seed gives the same file.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model")


def parameters(config: dict, layers: int | None) -> dict[str, torch.Size]:
    """Names and shapes of the model's tensors, without a tied head."""
    settings = dict(config)
    if layers is not None:
        settings["num_hidden_layers"] = layers
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**settings))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if config.get("tie_word_embeddings", False):
        shapes.pop("lm_head.weight", None)
    return shapes


def random_tensor(name: str, shape: torch.Size, scale: float, generator: torch.Generator) -> torch.Tensor:
    values = torch.empty(shape).normal_(0.0, scale, generator=generator)
    return (values + 1.0 if len(shape) == 1 and "norm" in name else values).to(torch.bfloat16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--layers", type=int, help="fewer or more than the config says")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    config = json.loads(options.config.read_text())
    shapes = parameters(config, options.layers)
    if options.layers is not None:
        config["num_hidden_layers"] = options.layers
    generator = torch.Generator().manual_seed(options.seed)
    scale = config.get("initializer_range", 0.02)
    tensors = {name: random_tensor(name, shape, scale, generator) for name, shape in sorted(shapes.items())}

    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in TOKENIZER_FILES:
        if (options.tokenizer / name).exists():
            shutil.copyfile(options.tokenizer / name, options.out / name)
    save_file(tensors, options.out / "model.safetensors", metadata={"format": "pt"})
    size = sum(tensor.nbytes for tensor in tensors.values())
    print(f"{options.out}: {len(tensors)} tensors, {size:,} bytes")


if __name__ == "__main__":
    main()
