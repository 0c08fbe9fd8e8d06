"""What a golden is on disk: finding an unambiguous seed, config.json, config2.json, golden.safetensors, comparing.

golden.safetensors holds

    tokens            I32 [T]     one prompt at positions 0 to T-1
    hidden.0          F64 [T, C]  output of the embedding, scaled where the family scales it
    hidden.1 to .L    F64 [T, C]  residual stream after each layer, before the final norm
    logits            F64 [T, V]  of a model without a head [T, C], what the final norm gives
    f32_error         F64 [L+2]   largest |float32 - float64| of transformers in hidden.0 to hidden.L, logits

and as metadata `manifest`, a JSON object: arch, seed, torch, transformers, min_choice_margin (the closest top-k choice
of the run, null without any), min_logit_margin (the closest best and second logit), tensors: [{name, shape, bits,
log2_scale, offset (0 if absent), ignored (false if absent; a loader must skip these)}]. golden/generator.py says how a
tensor follows from it.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import tempfile
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch
import transformers

from golden import reference
from golden.family import Family

MIN_CHOICE_MARGIN = 1e-3  # of scores of size one; float32 errs by about 1e-6
MIN_LOGIT_MARGIN = 1e-3
MAX_SEED = 200
MAX_BYTES = 150_000
CHECK_TOLERANCE = 1e-11  # other processors sum in another order
CHECK_ERROR_FACTOR = 3.0  # and their float32 errs differently


@dataclasses.dataclass
class Golden:
    """The three files: texts of config.json and config2.json, tensors and manifest of golden.safetensors."""

    config: str
    config2: str
    tensors: dict[str, np.ndarray]
    manifest: dict[str, Any]


def _config_text(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=2, sort_keys=True) + "\n"


def _parse(config: dict[str, Any]) -> Any:
    """The text model's config as transformers understands it."""
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "config.json").write_text(json.dumps(config))
        return transformers.AutoConfig.from_pretrained(folder).get_text_config()


def second_dialect(family: Family) -> dict[str, Any]:
    """The same model as transformers 5 writes it, proven to parse to the same config."""
    config = json.loads(_parse(family.config).to_json_string())
    second = {key: value for key, value in config.items() if not key.startswith("_")}
    if family.nested:
        second["architectures"] = family.config["architectures"]
        top = {key: second.pop(key) for key in ("architectures", "dtype", "transformers_version")}
        second = top | {"model_type": second["model_type"].removesuffix("_text"), "text_config": second}
    first, again = (_parse(c).to_dict() for c in (family.config, second))
    differ = [key for key in first.keys() | again.keys() if first.get(key) != again.get(key)]
    if set(differ) - {"_name_or_path", "architectures", "dtype"}:
        raise ValueError(f"the two dialects differ in {differ}")
    return second


def logit_margin(logits: np.ndarray) -> float:
    """The smallest difference of best and second logit of any row."""
    best = np.sort(logits, axis=-1)[:, -2:]
    return float((best[:, 1] - best[:, 0]).min())


def _unambiguous(run: reference.Run) -> bool:
    """No choice that float32 could flip, and every choice of every top-k is taken somewhere."""
    return (
        min(run.choices.margins, default=1.0) >= MIN_CHOICE_MARGIN
        and run.choices.all_used
        and logit_margin(run.logits) >= MIN_LOGIT_MARGIN
    )


def _search(family: Family, entries: list[reference.TensorEntry]) -> tuple[int, np.ndarray, reference.Run]:
    """The first seed whose run is unambiguous: seed, prompt, float64 run."""
    for seed in range(MAX_SEED):
        prompt = reference.tokens(family, seed)
        run = reference.run(family.config, entries, reference.checkpoint(entries, seed), prompt, torch.float64)
        if _unambiguous(run):
            return seed, prompt, run
    raise ValueError(f"no seed below {MAX_SEED} gives an unambiguous run; widen the router's or the head's scale")


def _entry_json(entry: reference.TensorEntry) -> dict[str, Any]:
    row: dict[str, Any] = {"name": entry.name, "shape": list(entry.shape)}
    row |= {"bits": entry.grid.bits, "log2_scale": entry.grid.log2_scale}
    if entry.grid.offset:
        row["offset"] = entry.grid.offset
    if entry.ignored:
        row["ignored"] = True
    return row


def make(family: Family) -> Golden:
    """Computes the golden. ValueError when the family's entry is unfit."""
    entries = reference.manifest(family)
    seed, prompt, exact = _search(family, entries)
    single = reference.run(family.config, entries, reference.checkpoint(entries, seed), prompt, torch.float32)
    if any(not np.array_equal(a, b) for a, b in zip(exact.choices.indices, single.choices.indices, strict=True)):
        raise ValueError("transformers chooses other experts in float32 than in float64")
    error = [np.abs(value - single.outputs()[name]).max() for name, value in exact.outputs().items()]
    info = {
        "arch": family.config["architectures"][0],
        "seed": seed,
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "min_choice_margin": min(exact.choices.margins, default=None),
        "min_logit_margin": logit_margin(exact.logits),
        "tensors": [_entry_json(entry) for entry in entries],
    }
    tensors = exact.outputs() | {"tokens": prompt, "f32_error": np.array(error)}
    return Golden(_config_text(family.config), _config_text(second_dialect(family)), tensors, info)


def write(golden: Golden, folder: pathlib.Path) -> int:
    """Writes the three files and returns the size in bytes of golden.safetensors."""
    metadata = {"manifest": json.dumps(golden.manifest, separators=(",", ":"))}
    data = safetensors.numpy.save(golden.tensors, metadata)
    if len(data) > MAX_BYTES:
        raise ValueError(f"the golden has {len(data)} bytes, more than {MAX_BYTES}: fewer tokens, layers or channels")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(golden.config)
    (folder / "config2.json").write_text(golden.config2)
    (folder / "golden.safetensors").write_bytes(data)
    return len(data)


def read(folder: pathlib.Path) -> Golden:
    """Reads the three files back."""
    with safetensors.safe_open(folder / "golden.safetensors", "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        info = json.loads(file.metadata()["manifest"])
    return Golden((folder / "config.json").read_text(), (folder / "config2.json").read_text(), tensors, info)


def differences(stored: Golden, fresh: Golden) -> list[str]:
    """What a recomputed golden has otherwise than the stored one; empty when they agree."""
    found = [name for name in ("config", "config2") if getattr(stored, name) != getattr(fresh, name)]
    found += [key for key in ("arch", "seed", "tensors") if stored.manifest.get(key) != fresh.manifest.get(key)]
    if stored.tensors.keys() != fresh.tensors.keys():
        return found + ["names of the tensors"]
    for name, value in stored.tensors.items():
        other = fresh.tensors[name]
        if value.shape != other.shape:
            found.append(f"shape of {name}")
        elif name == "f32_error":
            if np.any(value > other * CHECK_ERROR_FACTOR) or np.any(other > value * CHECK_ERROR_FACTOR):
                found.append(f"f32_error: {value} became {other}")
        elif np.any(np.abs(value - other) > CHECK_TOLERANCE * (1 + np.abs(value))):
            found.append(f"{name} by {np.abs(value - other).max():.3g}")
    return found
