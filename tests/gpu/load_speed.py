#!/usr/bin/env python3
"""How fast `arc serve` loads weights: of a file made here, with cold and with warm page cache, beside what the disk reads.

    load_speed.py [--arc ./arc] [--tokenizer tinystories] [--layers 36] [--folder /tmp/arc-load] [-- OPTION...]

The file has the tensors of Qwen3-8B (16.4 GB) with random bf16 numbers. OPTIONs go to the server. The disk's figure is that
of eight threads that read the same file past the page cache. Needs Python's standard library only.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import threading
import time

VOCAB, DIM, HIDDEN, HEADS, KV_HEADS, HEAD_DIM = 151936, 4096, 12288, 32, 8, 128
BLOCK = 8 << 20
READERS = 8


def config(layers: int) -> dict:
    return {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "vocab_size": VOCAB,
            "hidden_size": DIM, "intermediate_size": HIDDEN, "num_hidden_layers": layers, "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "max_position_embeddings": 40960, "rms_norm_eps": 1e-6,
            "rope_theta": 1000000, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "bos_token_id": 1,
            "eos_token_id": 2}


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    out = {"model.embed_tokens.weight": (VOCAB, DIM)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        out |= {at + "input_layernorm.weight": (DIM,), at + "post_attention_layernorm.weight": (DIM,),
                at + "self_attn.q_proj.weight": (HEADS * HEAD_DIM, DIM),
                at + "self_attn.k_proj.weight": (KV_HEADS * HEAD_DIM, DIM),
                at + "self_attn.v_proj.weight": (KV_HEADS * HEAD_DIM, DIM),
                at + "self_attn.o_proj.weight": (DIM, HEADS * HEAD_DIM),
                at + "self_attn.q_norm.weight": (HEAD_DIM,), at + "self_attn.k_norm.weight": (HEAD_DIM,),
                at + "mlp.gate_proj.weight": (HIDDEN, DIM), at + "mlp.up_proj.weight": (HIDDEN, DIM),
                at + "mlp.down_proj.weight": (DIM, HIDDEN)}
    return out | {"model.norm.weight": (DIM,), "lm_head.weight": (VOCAB, DIM)}


def write_model(folder: pathlib.Path, tokenizer: pathlib.Path, layers: int) -> pathlib.Path:
    """Returns the file of weights, of which no page is in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in tokenizer.glob("*.json"):
        if file.name not in ("config.json", "model.safetensors"):
            shutil.copy(file, folder)
    (folder / "config.json").write_text(json.dumps(config(layers)))
    header, size = {}, 0
    for name, shape in shapes(layers).items():
        end = size + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [size, end]}
        size = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    small = bytearray(os.urandom(BLOCK))  # numbers of about 0.01
    small[1::2] = small[1::2].translate(bytes(0x3C | byte & 0x80 for byte in range(256)))
    path = folder / "model.safetensors"
    with open(path, "wb", buffering=0) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for begin in range(0, size, BLOCK):
            file.write(memoryview(small)[:min(BLOCK, size - begin)])
        os.fdatasync(file.fileno())
    forget(path)
    return path


def forget(path: pathlib.Path) -> None:
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk_speed(path: pathlib.Path) -> float:
    """GB/s past the page cache; 0: the file system has no such reads."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        return 0.0
    size = path.stat().st_size // BLOCK * BLOCK

    def read(first: int) -> None:
        buffer = mmap.mmap(-1, BLOCK)  # aligned to pages
        for at in range(first * BLOCK, size, READERS * BLOCK):
            os.preadv(file, [buffer], at)

    start = time.monotonic()
    threads = [threading.Thread(target=read, args=(i,)) for i in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(file)
    return size / 1e9 / (time.monotonic() - start)


def load(arc: str, folder: pathlib.Path, options: list[str]) -> str:
    """The line of the load report about weights, and the seconds until the server listens."""
    start = time.monotonic()
    server = subprocess.Popen([arc, "serve", "-m", str(folder), "--port", "0", *options], stderr=subprocess.PIPE,
                              text=True)
    said = []
    for line in server.stderr:
        said.append(line)
        if "listening on" in line:
            break
    seconds = time.monotonic() - start
    server.kill()
    server.wait()
    weights = re.search(r"^weights: .*$", "".join(said), re.MULTILINE)
    if weights is None:
        sys.exit("arc did not load the model:\n" + "".join(said))
    return f"{weights.group()}; {seconds:.1f} s until it listens"


def main() -> None:
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arc", default=here / "arc")
    parser.add_argument("--tokenizer", type=pathlib.Path, default=here / "tinystories", help="a folder with its files")
    parser.add_argument("--layers", type=int, default=36)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/tmp/arc-load"))
    parser.add_argument("options", nargs="*", default=["--executor", "cuda", "--max-seq-len", "4096"])
    args = parser.parse_args()
    try:
        start = time.monotonic()
        path = write_model(args.folder, args.tokenizer, args.layers)
        print(f"{path.stat().st_size / 1e9:.2f} GB written in {time.monotonic() - start:.1f} s", flush=True)
        print(f"disk, {READERS} readers: {disk_speed(path):.2f} GB/s", flush=True)
        print("cold:", load(str(args.arc), args.folder, args.options), flush=True)
        print("warm:", load(str(args.arc), args.folder, args.options), flush=True)
    finally:
        shutil.rmtree(args.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
