"""Would a golden notice? Changes each tensor and each config key a little and compares with the golden's tolerance.

A change counts as noticed when some output moves by more than a reader may err: 4 times transformers' float32 error.
"""

from __future__ import annotations

import copy
from typing import Any, Iterator

import numpy as np
import torch

from golden import reference
from golden.artifact import Golden
from golden.family import Family

READER_FACTOR = 4.0
TENSOR_SCALE = 1.0 + 2.0**-6
OTHER_WORDS = {"silu": "gelu", "gelu_pytorch_tanh": "gelu", "sliding_attention": "full_attention"}


def _loudness(golden: Golden, run: reference.Run) -> float:
    """The largest change of any output, in units of what a reader may err."""
    change = 0.0
    for allowed, (name, value) in zip(golden.tensors["f32_error"], run.outputs().items(), strict=True):
        stored = golden.tensors[name]
        floor = np.finfo(np.float32).eps * np.abs(stored).max()  # a plain lookup has no error
        change = max(change, np.abs(value - stored).max() / (READER_FACTOR * max(allowed, floor)))
    return float(change)


def tensor_mutants(family: Family, golden: Golden) -> Iterator[tuple[str, float]]:
    """Each tensor and how loudly the golden notices that it is 1/64 larger (or, where only order counts, reversed)."""
    entries = reference.manifest(family)
    weights = reference.checkpoint(entries, golden.manifest["seed"])
    for entry in entries:
        if entry.ignored:
            continue
        value = weights[entry.name]
        for changed in (value * TENSOR_SCALE, np.ascontiguousarray(np.flip(value))):
            mutant = weights | {entry.name: changed}
            run = reference.run(family.config, entries, mutant, golden.tensors["tokens"], torch.float64)
            loudness = _loudness(golden, run)
            if loudness >= 1:
                break
        yield entry.name, loudness


def _neighbours(value: Any) -> list[Any]:
    """Config values near to this one; none for what has no neighbour."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    if isinstance(value, float):
        return [value * 1.25, value * 0.75] if value else []
    if isinstance(value, list):
        return [[OTHER_WORDS.get(item, item) for item in value], value[:-1]]
    return [OTHER_WORDS[value]] if value in OTHER_WORDS else []


def _leaves(config: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _leaves(value, path + (key,))
        else:
            yield path + (key,), value


def _replaced(config: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    config = copy.deepcopy(config)
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return config


def config_mutants(family: Family, golden: Golden) -> Iterator[tuple[str, float | None]]:
    """Each config key (dotted) and the loudness of its loudest neighbour; None when transformers refuses them all."""
    entries = reference.manifest(family)
    weights = reference.checkpoint(entries, golden.manifest["seed"])
    for path, value in _leaves(family.config):
        heard: list[float] = []
        neighbours = [neighbour for neighbour in _neighbours(value) if neighbour != value]
        for neighbour in neighbours:
            config = _replaced(family.config, path, neighbour)
            try:
                run = reference.run(config, entries, weights, golden.tensors["tokens"], torch.float64)
            except Exception:  # transformers refuses with errors of many types
                continue
            heard.append(_loudness(golden, run))
        if neighbours:
            yield ".".join(path), max(heard, default=None)
