#!/usr/bin/env python3
"""Writes tests/goldens/tinystories/expected.json: greedy continuations by transformers in float32.

    tools/make_tinystories_expectations.py [MODEL_DIR]     (default: data/models/tinystories-656k of ARC_SHARED)

The file holds our prompts and token ids only. Per prompt: `text`; `prompt`, its ids with BOS; `output`, 128 greedy ids
(the end token counts as any other); `gaps`, for each of them how far the best logit was above the second, rounded.
The script refuses a prompt whose ids depend on the tokenizer's implementation, or whose output depends on the cache.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys

import tokenizers
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "tests" / "goldens" / "tinystories" / "expected.json"
N_OUTPUT = 128
PROMPTS = (
    "Once upon a time, there was a little girl named Lily.",
    "Tom had a red ball. One day the ball rolled into",
    "The old dog slept under the big tree. A small bird came and said,",
    "Ben and Mia went to the park with their mom.",
    '"Can you help me?" asked the rabbit.',
    "It was raining, so Anna could not play outside.",
    "There once was a brave knight who lost his sword",
    "Max wanted to bake a cake for his friend",
    "Deep in the forest",
    "One sunny morning, a boat sailed on the lake. The captain was a cat who loved to",
)


def ids_of(folder: pathlib.Path, text: str) -> list[int]:
    """The prompt's ids, BOS first, on which tokenizer.json alone and transformers agree."""
    ids = transformers.AutoTokenizer.from_pretrained(folder)(text).input_ids
    plain = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    if ids != plain:
        raise ValueError(f"the ids of {text!r} depend on the tokenizer: {ids} or {plain}")
    return ids


def continue_greedily(model: torch.nn.Module, prompt: list[int]) -> tuple[list[int], list[float]]:
    """N_OUTPUT ids, one step at a time with the cache, and the gap below the best logit at each step."""
    output: list[int] = []
    gaps: list[float] = []
    step = model(torch.tensor([prompt]), use_cache=True)
    for _ in range(N_OUTPUT):
        best = step.logits[0, -1].topk(2)
        output.append(int(best.indices[0]))
        gaps.append(float(best.values[0] - best.values[1]))
        step = model(torch.tensor([output[-1:]]), past_key_values=step.past_key_values, use_cache=True)
    whole = model(torch.tensor([prompt + output]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    if whole.argmax(dim=-1).tolist() != output:
        raise ValueError(f"one pass and {N_OUTPUT} steps give different tokens; choose another prompt")
    return output, gaps


def load(folder: pathlib.Path) -> torch.nn.Module:
    """The model in float32. The head is stored, the embedding is tied to it."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    if info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"]:
        raise ValueError(f"checkpoint and model differ: {info}")
    if model.get_input_embeddings().weight is not model.get_output_embeddings().weight:
        raise ValueError("the head is not tied to the embedding")
    return model.eval()


def main() -> int:
    """Writes the file and prints how near the nearest tie is."""
    shared = pathlib.Path(os.environ.get("ARC_SHARED", ROOT.parent / "shared"))
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else shared / "data" / "models" / "tinystories-656k"
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    model = load(folder)
    rows = []
    for text in PROMPTS:
        prompt = ids_of(folder, text)
        output, gaps = continue_greedily(model, prompt)
        print(f"{len(prompt):3} tokens, nearest tie {min(gaps):.5f} at {gaps.index(min(gaps)):3}: {text}")
        rows.append({"text": text, "prompt": prompt, "output": output, "gaps": [float(f"{g:.3g}") for g in gaps]})
    head = {"model": folder.name, "dtype": "float32", "transformers": transformers.__version__}
    lines = ",\n".join(json.dumps(row) for row in rows)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(f'{json.dumps(head)[:-1]}, "cases": [\n{lines}\n]}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
