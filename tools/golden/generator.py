"""The counter-based weight generator, identical here and in C++.

A tensor is determined by its name in the checkpoint, a seed and three numbers (`bits`, `log2_scale`, `offset`):

    key      = FNV-1a-64 over the UTF-8 bytes of  name + "#" + seed        (seed in decimal, e.g. "model.norm.weight#0")
               hash = 0xCBF29CE484222325; per byte: hash = (hash ^ byte) * 0x100000001B3  (mod 2^64)
    random_i = output i of SplitMix64 seeded with key, i = row-major element index from 0:
               z = key + (i + 1) * 0x9E3779B97F4A7C15
               z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
               z = (z ^ (z >> 27)) * 0x94D049BB133111EB
               random_i = z ^ (z >> 31)                                      (all mod 2^64)
    level_i  = random_i >> (64 - bits)                                       in [0, 2^bits)
    value_i  = (2 * level_i + 1 - 2^bits) * 2^log2_scale + offset            an odd integer on a grid, plus offset

Every value of every golden is exact in float32, float16 and bfloat16, so the tests may store a checkpoint in any of
them. Without an offset no value is zero.

Known values (`tools/make_golden.py --self-test` checks them):

    fnv1a64("")                                  = 0xCBF29CE484222325
    fnv1a64("model.norm.weight#0")               = 0x95B18BBB0C511DAF
    splitmix64(0, i = 0, 1, 2)                   = 0xE220A8397B1DCDAF 0x6E789E6AA1B965F4 0x06C45D188009454F
    "model.norm.weight" seed 0, bits 6, log2_scale -7, offset 1, elements 0 to 3:
                                                   1.3671875 0.8671875 0.6328125 0.6328125
    "model.embed_tokens.weight" seed 3, bits 8, log2_scale -7, offset 0, elements 4 to 7 and 1000:
                                                   -0.0859375 -0.7265625 0.0234375 1.2421875 1.7421875
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

_FNV_BASIS = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_MASK = 0xFFFFFFFFFFFFFFFF


@dataclasses.dataclass(frozen=True)
class Grid:
    """The values a tensor draws from: odd integers of `bits` bits times 2^log2_scale, plus offset."""

    bits: int
    log2_scale: int
    offset: float = 0.0


def fnv1a64(text: str) -> int:
    """FNV-1a, 64 bits, over the UTF-8 bytes of `text`."""
    value = _FNV_BASIS
    for byte in text.encode():
        value = ((value ^ byte) * _FNV_PRIME) & _MASK
    return value


def splitmix64(key: int, count: int) -> np.ndarray:
    """The first `count` outputs of SplitMix64 seeded with `key`, as uint64 [count]."""
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def generate(name: str, seed: int, shape: tuple[int, ...], grid: Grid) -> np.ndarray:
    """The tensor `name` in float64, row-major."""
    random = splitmix64(fnv1a64(f"{name}#{seed}"), math.prod(shape))
    level = (random >> np.uint64(64 - grid.bits)).astype(np.int64)
    odd = 2 * level + 1 - (1 << grid.bits)
    return np.ldexp(odd.astype(np.float64), grid.log2_scale).reshape(shape) + grid.offset


def require_exact(name: str, values: np.ndarray) -> None:
    """Raises ValueError unless all values survive a trip through bfloat16 and float16 (hence float32)."""
    as_f32 = values.astype(np.float32)
    bf16_exact = not np.any(as_f32.view(np.uint32) & np.uint32(0xFFFF))
    if np.any(as_f32 != values) or np.any(values.astype(np.float16) != values) or not bf16_exact:
        raise ValueError(f"{name}: the grid holds values that a 16-bit float cannot; use fewer bits or a nearer offset")


def self_test() -> None:
    """Checks the known values in this module's description; AssertionError when the generator has changed."""
    assert fnv1a64("") == 0xCBF29CE484222325
    assert fnv1a64("a") == 0xAF63DC4C8601EC8C  # published test vector
    assert fnv1a64("model.norm.weight#0") == 0x95B18BBB0C511DAF
    assert [int(v) for v in splitmix64(0, 3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    norm = generate("model.norm.weight", 0, (4,), Grid(6, -7, 1.0))
    assert norm.tolist() == [1.3671875, 0.8671875, 0.6328125, 0.6328125], norm.tolist()
    embed = generate("model.embed_tokens.weight", 3, (1001,), Grid(8, -7))
    assert embed[[4, 5, 6, 7, 1000]].tolist() == [-0.0859375, -0.7265625, 0.0234375, 1.2421875, 1.7421875]
    require_exact("norm", norm)
    require_exact("embed", embed)
    try:
        require_exact("too fine", generate("x", 0, (100,), Grid(8, -9, 1.0)))
    except ValueError:
        return
    raise AssertionError("require_exact accepts values that bfloat16 cannot hold")
