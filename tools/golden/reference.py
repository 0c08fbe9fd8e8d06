"""Runs a tiny model with transformers: checkpoint from the generator, then float64 and stock float32."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import pathlib
import tempfile
from typing import Any, Callable, Iterator

import numpy as np
import safetensors
import safetensors.numpy
import torch
import transformers
from torch.overrides import TorchFunctionMode

from golden.family import Family
from golden.float64 import Float64
from golden.generator import Grid, fnv1a64, generate, require_exact, splitmix64

Weights = dict[str, np.ndarray]  # by name in the checkpoint, float64

FIRST_PLAIN_TOKEN = 4  # ids below are padding, begin and end

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
torch.set_grad_enabled(False)


@dataclasses.dataclass(frozen=True)
class TensorEntry:
    """One tensor of the checkpoint, as listed in the golden's manifest."""

    name: str
    shape: tuple[int, ...]
    grid: Grid
    ignored: bool = False


@dataclasses.dataclass
class Choices:
    """The top-k choices of one run, in order of the calls: chosen indices, and how clear each was."""

    indices: list[np.ndarray] = dataclasses.field(default_factory=list)
    margins: list[float] = dataclasses.field(default_factory=list)
    all_used: bool = True


@dataclasses.dataclass
class Run:
    """hidden[0..L] [T, C], logits [T, V] and the routing of one forward pass. Without a head, logits are what the final
    norm gives [T, C]."""

    hidden: list[np.ndarray]
    logits: np.ndarray
    choices: Choices

    def outputs(self) -> dict[str, np.ndarray]:
        """By the names that they have in a golden."""
        return {f"hidden.{i}": value for i, value in enumerate(self.hidden)} | {"logits": self.logits}


class _ChoiceProbe(TorchFunctionMode):
    """Records every top-k."""

    def __init__(self, choices: Choices) -> None:
        super().__init__()
        self._choices = choices

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.topk, torch.Tensor.topk):
            self._record(args[0], result[1])
        return result

    def _record(self, scores: torch.Tensor, indices: torch.Tensor) -> None:
        k, n = indices.shape[-1], scores.shape[-1]
        if k < n:
            ordered = scores.sort(dim=-1, descending=True).values
            self._choices.margins.append((ordered[..., k - 1] - ordered[..., k]).min().item())
        self._choices.indices.append(indices.sort(dim=-1).values.numpy())
        self._choices.all_used &= indices.unique().numel() == n


def _auto_class(config: dict[str, Any]) -> Any:
    """What transformers loads the config's architecture with."""
    causal = config["architectures"][0].endswith("ForCausalLM")
    return transformers.AutoModelForCausalLM if causal else transformers.AutoModel


def manifest(family: Family) -> list[TensorEntry]:
    """All tensors of the checkpoint in hub naming, by name. transformers itself says which there are."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        (path / "config.json").write_text(json.dumps(family.config))
        config = transformers.AutoConfig.from_pretrained(path)
        _auto_class(family.config).from_config(config).save_pretrained(path)
        with safetensors.safe_open(path / "model.safetensors", "numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    entries = [TensorEntry(name, shape, family.grid(name, shape)) for name, shape in shapes.items()]
    entries += [TensorEntry(name, shape, family.grid(name, shape), True) for name, shape in family.ignored.items()]
    return sorted(entries, key=lambda entry: entry.name)


def checkpoint(entries: list[TensorEntry], seed: int) -> Weights:
    """The values of all tensors, float64."""
    tensors = {entry.name: generate(entry.name, seed, entry.shape, entry.grid) for entry in entries}
    for name, values in tensors.items():
        require_exact(name, values)
    return tensors


def tokens(family: Family, seed: int) -> np.ndarray:
    """The prompt, int32 [T]."""
    random = splitmix64(fnv1a64(f"tokens#{seed}"), family.n_tokens)
    n_plain = family.config["vocab_size"] - FIRST_PLAIN_TOKEN
    return (random % np.uint64(n_plain)).astype(np.int32) + FIRST_PLAIN_TOKEN


@contextlib.contextmanager
def _folder(config: dict[str, Any], weights: Weights) -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name)
        (path / "config.json").write_text(json.dumps(config))
        safetensors.numpy.save_file(weights, path / "model.safetensors", {"format": "pt"})
        yield path


def _load(path: pathlib.Path, dtype: torch.dtype, ignored: set[str]) -> torch.nn.Module:
    """Loads the checkpoint, with no tensor missing and none left over but the ignored."""
    config = json.loads((path / "config.json").read_text())
    model, info = _auto_class(config).from_pretrained(
        path, dtype=dtype, attn_implementation="eager", experts_implementation="eager", output_loading_info=True
    )
    left_over = set(info["unexpected_keys"]) - ignored
    if info["missing_keys"] or left_over or info["mismatched_keys"]:
        raise ValueError(f"checkpoint and model differ: {info}")
    return model.eval()


def _forward(model: torch.nn.Module, prompt: np.ndarray) -> tuple[list[torch.Tensor], torch.Tensor]:
    """hidden[0..L] before the final norm, and the logits."""
    hidden: list[torch.Tensor] = []
    layers = (model.get_decoder() if model.can_generate() else model).layers
    first = layers[0].register_forward_pre_hook(lambda _, args: hidden.append(args[0][0]))
    after = [
        layer.register_forward_hook(lambda _, args, out: hidden.append((out[0] if isinstance(out, tuple) else out)[0]))
        for layer in layers
    ]
    out = model(torch.from_numpy(prompt.astype(np.int64))[None], use_cache=False)
    logits = (out.logits if "logits" in out else out.last_hidden_state)[0]
    for hook in [first, *after]:
        hook.remove()
    return hidden, logits


def _pass_length_to_longrope(model: torch.nn.Module, n_tokens: int) -> None:
    """Phi-3.5-MoE as its authors and transformers 4 have it: 5.17 asks for the frequencies without a length, so that
    the long factors are never used."""
    rotation = model.model.rotary_emb
    rotation.rope_init_fn = functools.partial(rotation.rope_init_fn, seq_len=n_tokens)


REPAIRS: dict[str, Callable[[torch.nn.Module, int], None]] = {"PhiMoEForCausalLM": _pass_length_to_longrope}


def run(config: dict[str, Any], entries: list[TensorEntry], weights: Weights, prompt: np.ndarray, dtype: Any) -> Run:
    """One forward pass. float64 runs in float64 to the last operation; float32 is transformers as it stands."""
    choices = Choices()
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(_folder(config, weights))
        if dtype == torch.float64:
            stack.enter_context(Float64())
        model = _load(path, dtype, {entry.name for entry in entries if entry.ignored})
        if repair := REPAIRS.get(config["architectures"][0]):
            repair(model, len(prompt))
        stack.enter_context(_ChoiceProbe(choices))
        hidden, logits = _forward(model, prompt)
    return Run([h.numpy().astype(np.float64) for h in hidden], logits.numpy().astype(np.float64), choices)
