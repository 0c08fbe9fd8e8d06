#!/usr/bin/env python3
"""Writes tests/goldens/builtin/logits.safetensors: transformers' logits of the model that comes with Arc, in float64.

    tools/make_builtin_golden.py [MODEL.gguf]      (default: share/arc/arc.gguf; needs training/requirements.txt too)

The model runs as the float32 folder that training/export.py writes from the GGUF file. For each prompt i the file holds `tokens.i`
I32 [T], `rows.i` I32 [R] positions, `logits.i` F64 [R, V / STRIDE] every so-manieth logit at these positions, and `f32_error` F64
[prompts], the largest |float32 - float64| of transformers among them. To be made again when the model changes.
"""

from __future__ import annotations

import json
import pathlib
import sys
import tempfile

import numpy as np
import safetensors.numpy
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "training"), str(ROOT / "training" / "data"), str(ROOT / "tools")]

import export
from golden.float64 import Float64

STRIDE, ROWS = 61, 24  # an odd stride meets every kind of token
LONG = 2048
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Get the weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "description": "name of the city"}}, "required": ["city"]}}}
CHATS = (
    ([{"role": "user", "content": "What is Arc?"}], None),
    ([{"role": "user", "content": "The parcel KX-482 goes to Oslo.\n\nExtract parcel and city as JSON."},
      {"role": "assistant", "content": json.dumps({"parcel": "KX-482", "city": "Oslo"})}, {"role": "user", "content": "Thanks!"}], None),
    ([{"role": "user", "content": "How is the weather in Lima?"}], [TOOL]),
)


def prompts(folder):
    """Token ids of three conversations and of a long document."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for messages, tools in CHATS:
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
        yield tokenizer(text, add_special_tokens=False).input_ids
    yield tokenizer((ROOT / "docs" / "architecture.md").read_text(), add_special_tokens=False).input_ids[:LONG]


@torch.no_grad()
def logits(folder, ids, rows, dtype):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    return model(torch.tensor([ids]), use_cache=False).logits[0, rows, ::STRIDE].numpy().astype(np.float64)


def main() -> None:
    transformers.utils.logging.set_verbosity_error()  # the extra layer's tensors are unexpected to transformers
    transformers.utils.logging.disable_progress_bar()
    model = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "share" / "arc" / "arc.gguf"
    tensors, errors = {}, []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        export.write_hf(model, folder)
        for i, ids in enumerate(prompts(folder)):
            rows = np.unique(np.linspace(0, len(ids) - 1, ROWS).astype(np.int32))
            with Float64():
                exact = logits(folder, ids, rows, torch.float64)
            errors.append(np.abs(logits(folder, ids, rows, torch.float32) - exact).max())
            tensors |= {f"tokens.{i}": np.array(ids, np.int32), f"rows.{i}": rows, f"logits.{i}": exact}
            print(f"{len(ids):5} tokens, {len(rows)} rows, logits up to {np.abs(exact).max():.1f}, transformers' f32 error {errors[-1]:.2e}")
    output = ROOT / "tests" / "goldens" / "builtin" / "logits.safetensors"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(safetensors.numpy.save(tensors | {"f32_error": np.array(errors)}))
    print(f"{output.relative_to(ROOT)}: {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
