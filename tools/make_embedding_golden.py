#!/usr/bin/env python3
"""Makes tests/goldens/embeddings/heads.json: what sentence-transformers itself makes of a text's last hidden states.

    pip install -r tools/requirements-golden.txt sentence-transformers
    tools/make_embedding_golden.py            # write
    tools/make_embedding_golden.py --check    # recompute and compare

The states are those of the golden `embeddinggemma` after its final norm, as 32-bit floats. Each case is a model's folder in small: files
(modules.json and the configs that it names) and the tensors of its dense layers, drawn as golden/generator.py says.
sentence-transformers loads its modules from that folder and runs them in float64.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch
from sentence_transformers.util import import_from_string

from golden.family import BIAS, FanIn
from golden.generator import generate

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens"
MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
OLD = "sentence_transformers.models."
NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}
TOLERANCE = 1e-12


def flags(dim: int, *modes: str) -> dict[str, Any]:
    """A pooling config as sentence-transformers 2 to 5 wrote it."""
    names = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    words = {name: name.removesuffix("_tokens").removesuffix("_token") for name in names} | {
        "mean_sqrt_len_tokens": "mean_sqrt_len_tokens"
    }
    return {"word_embedding_dimension": dim} | {f"pooling_mode_{name}": words[name] in modes for name in names}


def dense(n_in: int, n_out: int, act: str | None, **more: Any) -> dict[str, Any]:
    """A dense layer's config; without `act` the file does not name one."""
    return {"in_features": n_in, "out_features": n_out} | ({"activation_function": act} if act else {}) | more


def cases(dim: int) -> dict[str, dict[str, Any]]:
    """Modules after the transformer, in order; `prompt`: tokens of the prompt before the text; `old`: old names."""
    identity = "torch.nn.modules.linear.Identity"
    found = {
        "embeddinggemma": {
            "old": True,
            "modules": [
                ("Pooling", flags(dim, "mean") | {"include_prompt": True}),
                ("Dense", dense(dim, 70, identity, bias=False)),
                ("Dense", dense(70, dim, identity, bias=False)),
                ("Normalize", None),
            ],
        },
        "qwen3_embedding": {
            "old": True,
            "modules": [("Pooling", flags(dim, "lasttoken") | {"include_prompt": True}), ("Normalize", None)],
        },
        "all_modes": {"modules": [("Pooling", {"embedding_dimension": dim, "pooling_mode": list(MODES)})]},
        "all_modes_old": {"old": True, "modules": [("Pooling", flags(dim, *MODES))]},
        "without_prompt": {
            "prompt": 5,
            "modules": [
                ("Pooling", {"embedding_dimension": dim, "pooling_mode": list(MODES), "include_prompt": False})
            ],
        },
        "with_prompt": {
            "prompt": 5,
            "modules": [("Pooling", {"embedding_dimension": dim, "pooling_mode": ["mean", "cls"]}), ("Normalize", {})],
        },
        "no_mode": {"old": True, "modules": [("Pooling", {"word_embedding_dimension": dim})]},
        "default_dense": {"modules": [("Pooling", {"pooling_mode": "max", "embedding_dimension": dim}),
                                      ("Dense", dense(dim, 9, None))]},
        "normalized_twice": {"modules": [("Pooling", {"pooling_mode": "cls", "embedding_dimension": dim}),
                                         ("Normalize", {}), ("Dense", dense(dim, 20, identity)), ("Normalize", {})]},
    }
    for name in ("Tanh", "ReLU", "GELU", "SiLU", "Sigmoid"):
        layer = dense(dim, 11, f"torch.nn.modules.activation.{name}", bias=name != "ReLU")
        found[name.lower()] = {"modules": [("Pooling", flags(dim, "weightedmean")), ("Dense", layer)]}
    return found


def folder_of(case: dict[str, Any]) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """The texts of the folder's files, and its tensors."""
    def type_of(kind: str) -> str:
        return OLD + kind if case.get("old") else NEW[kind]

    modules = [{"idx": 0, "name": "0", "path": "", "type": type_of("Transformer")}]
    files, tensors = {}, []
    for i, (kind, config) in enumerate(case["modules"], 1):
        path = f"{i}_{kind}"
        modules.append({"idx": i, "name": str(i), "path": path, "type": type_of(kind)})
        if config is not None:
            files[f"{path}/config.json"] = json.dumps(config)
        if kind == "Dense":
            shapes = {"linear.weight": (config["out_features"], config["in_features"])}
            if config.get("bias", True):
                shapes["linear.bias"] = (config["out_features"],)
            for name, shape in shapes.items():
                grid = BIAS if name.endswith("bias") else FanIn().grid(shape)
                tensors.append({"name": f"{path}/{name}", "shape": list(shape)} | grid.__dict__)
    return {"modules.json": json.dumps(modules)} | files, tensors


def run(files: dict[str, str], tensors: list[dict[str, Any]], prompt: int, states: np.ndarray) -> np.ndarray:
    """sentence-transformers' vector of the states [T, C]."""
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        weights: dict[str, dict[str, np.ndarray]] = {}
        for tensor in tensors:
            path, tensor_name = tensor["name"].split("/")
            grid = FanIn().grid((1,)).__class__(tensor["bits"], tensor["log2_scale"], tensor["offset"])
            values = generate(tensor["name"], 0, tuple(tensor["shape"]), grid)
            weights.setdefault(path, {})[tensor_name] = values.astype(np.float32)
        for path, text in files.items():
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_text(text)
        for path, of_module in weights.items():
            safetensors.numpy.save_file(of_module, root / path / "model.safetensors", {"format": "pt"})
        features: dict[str, Any] = {
            "token_embeddings": torch.from_numpy(states)[None],
            "attention_mask": torch.ones(1, len(states), dtype=torch.int64),
        }
        if prompt:
            features["prompt_length"] = prompt
        for module in json.loads(files["modules.json"])[1:]:
            loaded = import_from_string(module["type"]).load(str(root), subfolder=module["path"]).double()
            features = loaded(features)
    return features["sentence_embedding"][0].detach().numpy()


def make() -> dict[str, Any]:
    """The whole file's content."""
    with safetensors.safe_open(GOLDENS / "embeddinggemma" / "golden.safetensors", "numpy") as file:
        states = file.get_tensor("logits").astype(np.float32).astype(np.float64)  # as an engine hands them over
    out = {}
    for name, case in cases(states.shape[1]).items():
        files, tensors = folder_of(case)
        prompt = case.get("prompt", 0)
        vector = run(files, tensors, prompt, states)
        out[name] = {"files": files, "tensors": tensors, "prompt": prompt, "vector": vector.tolist()}
    return out


def check(path: pathlib.Path, fresh: dict[str, Any]) -> bool:
    """Compares with the stored file and prints what differs."""
    stored = json.loads(path.read_text())
    same = stored.keys() == fresh.keys()
    for name in stored.keys() & fresh.keys():
        error = np.abs(np.array(stored[name].pop("vector")) - np.array(fresh[name].pop("vector"))).max()
        same &= bool(error < TOLERANCE) and stored[name] == fresh[name]
        print(f"{name:18} {error:.1e}")
    return same


def main() -> int:
    """Writes or checks; the exit status is 1 when the file differs."""
    parser = argparse.ArgumentParser(description="Makes tests/goldens/embeddings/heads.json.")
    parser.add_argument("--check", action="store_true", help="recompute and compare")
    options = parser.parse_args()
    path = GOLDENS / "embeddings" / "heads.json"
    fresh = make()
    if options.check:
        return 0 if check(path, fresh) else 1
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(fresh, indent=1) + "\n")
    print(f"{len(fresh)} cases, {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
