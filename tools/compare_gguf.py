#!/usr/bin/env python3
"""Blocks of every code that Arc reads, with the values that the `gguf` package gives them: what arc_quant_test compares.

    pip install -r tools/requirements-golden.txt
    tools/compare_gguf.py                                   # writes tests/goldens/gguf/blocks.safetensors, a few blocks each
    tools/compare_gguf.py --blocks 20000 --out FILE         # many; then ARC_BLOCKS=FILE arc_quant_test
    tools/compare_gguf.py ... --ggml libggml-base.so        # encoded blocks of codes that only ggml's library writes

Per code the file holds `<code>.blocks` (bytes), `<code>.values`, and where something can write the code, `<code>.input` and
`<code>.encoded`. Half of the blocks have scales of a usual size, the others are random bytes, infinities included.
"""

from __future__ import annotations

import argparse
import ctypes
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file

DEFAULT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens" / "gguf" / "blocks.safetensors"

# Byte offsets of the f16 numbers in a block.
CODES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q2_K: [80, 82],
    Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.IQ4_NL: [0], Type.IQ4_XS: [0],
    Type.MXFP4: [],
}
WRITTEN_BY_PACKAGE = [Type.Q8_0, Type.Q4_0]
WRITTEN_BY_LIBRARY = [Type.Q4_K, Type.Q5_K, Type.Q6_K]


def random_blocks(code: Type, count: int, random: np.random.Generator) -> np.ndarray:
    size = gguf.GGML_QUANT_SIZES[code][1]
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in CODES[code]:
        usual = random.normal(0, 0.01, (count // 2, 1)).astype(np.float16).view(np.uint8)
        blocks[: count // 2, offset : offset + 2] = usual
    if code == Type.MXFP4:
        blocks[: count // 2, 0] = random.integers(110, 130, count // 2)
        blocks[:4, 0] = (0, 1, 254, 255)[: len(blocks[:4])]
    return blocks


def inputs(code: Type, count: int, random: np.random.Generator) -> np.ndarray:
    """Rows of one block: normal, with outliers, of one sign, constant, zero, tiny."""
    elements = gguf.GGML_QUANT_SIZES[code][0]
    x = random.normal(0, 0.02, (count, elements)).astype(np.float32)
    kinds = np.arange(count) % 8
    x[kinds == 1, 0] *= 100
    x[kinds == 2] = np.abs(x[kinds == 2])
    x[kinds == 3, elements // 2 :] = 0
    x[kinds == 4] = x[kinds == 4, :1]
    x[kinds == 5] *= np.float32(1e-6)
    x[kinds == 6] = np.round(x[kinds == 6] * 64) / 64
    x[count // 2] = 0
    return x


def encode_with_library(library: ctypes.CDLL, code: Type, x: np.ndarray) -> np.ndarray:
    out = np.zeros((x.shape[0], gguf.GGML_QUANT_SIZES[code][1]), dtype=np.uint8)
    quantize = library.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    size = quantize(int(code), x.ctypes.data, out.ctypes.data, 0, x.shape[0], x.shape[1], None)
    assert size == out.nbytes
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=8, help="of each code")
    parser.add_argument("--out", type=pathlib.Path, default=DEFAULT)
    parser.add_argument("--ggml", type=pathlib.Path, help="ggml's shared library")
    options = parser.parse_args()
    library = ctypes.CDLL(str(options.ggml.resolve())) if options.ggml else None

    tensors = {}
    for code in CODES:
        random = np.random.default_rng(int(code))
        name = code.name.lower()
        tensors[f"{name}.blocks"] = random_blocks(code, options.blocks, random)
        with np.errstate(all="ignore"):
            tensors[f"{name}.values"] = gguf.dequantize(tensors[f"{name}.blocks"], code)
        if code in WRITTEN_BY_PACKAGE or (library and code in WRITTEN_BY_LIBRARY):
            x = inputs(code, options.blocks, random)
            encoded = gguf.quantize(x, code) if code in WRITTEN_BY_PACKAGE else encode_with_library(library, code, x)
            tensors |= {f"{name}.input": x, f"{name}.encoded": encoded}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, options.out, metadata={"made_with": f"gguf of {len(CODES)} codes, {options.blocks} blocks each"})
    size = options.out.stat().st_size
    print(f"{options.out}: {len(CODES)} codes, {options.blocks} blocks each, {size:,} bytes")


if __name__ == "__main__":
    main()
