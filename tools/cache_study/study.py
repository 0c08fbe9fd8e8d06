"""What a coding of keys and values costs, in plain PyTorch: an oracle for Arc's own figures, and a place for ablations that Arc has not.

    python tools/cache_study/study.py share/arc/arc.gguf --text share/arc/eval/text.jsonl POLICY...

A policy is settings joined by commas, such as k=4,v=3,boundary=2 or k=4,v=3,rotation=random,nc=0; DEFAULTS has all. Each is compared with
no coding at all: mean KL in nats, its 99th percentile, the share of positions with the same most likely token. rotation=calibrated learns
from the windows that are not compared.
"""
import argparse
import functools
import json
import math
import pathlib
import sys

import numpy as np
import tokenizers
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "training"))
import gguf  # noqa: E402
import trellis  # noqa: E402

TILE = 64
DEFAULTS = dict(k="4", v="3", boundary=0, sinks=0, previous=0, nc=1, rotation="wht", layers="all")


class Model:
    """Qwen3's dense decoder from a GGUF file of F32 and Q8_0, in float32."""

    def __init__(self, path):
        file = gguf.Reader(pathlib.Path(path))
        meta = {k.removeprefix("qwen3."): v for k, v in file.metadata.items()}
        self.n_layers = meta["block_count"] - meta.get("nextn_predict_layers", 0)
        self.heads, self.kv_heads = meta["attention.head_count"], meta["attention.head_count_kv"]
        self.dim, self.eps, self.theta = meta["attention.key_length"], meta["attention.layer_norm_rms_epsilon"], meta["rope.freq_base"]
        self.w = {name: torch.from_numpy(np.array(t, np.float32)) for name, t in file.tensors.items()}
        merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
        vocabulary = {t: i for i, t in enumerate(meta["tokenizer.ggml.tokens"])}
        self.tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges))
        split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        self.tokenizer.normalizer = tokenizers.normalizers.NFC()
        self.tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(split), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    def norm(self, x, name):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.w[name]

    def qkv(self, x, layer, rope):
        """q [H, T, D], k and v [K, T, D], rotated by position."""
        T = len(x)
        q, k, v = ((x @ self.w[f"blk.{layer}.attn_{n}.weight"].T).view(T, -1, self.dim).transpose(0, 1) for n in "qkv")
        return (*(turn(self.norm(y, f"blk.{layer}.attn_{n}_norm.weight"), rope) for y, n in ((q, "q"), (k, "k"))), v)

    def logits(self, tokens, code=None, see=None):
        """[T, V]. code(layer, k, v) gives the coded k and v and [T, T] where they are read; see(layer, q, k, v) looks on."""
        T = len(tokens)
        angles = torch.arange(T)[:, None] * self.theta ** -(torch.arange(0, self.dim, 2, dtype=torch.float64) / self.dim)
        rope, causal = (angles.cos().float(), angles.sin().float()), torch.ones(T, T).triu(1).bool()
        x = self.w["token_embd.weight"][tokens]
        for l in range(self.n_layers):
            q, k, v = self.qkv(self.norm(x, f"blk.{l}.attn_norm.weight"), l, rope)
            if see:
                see(l, q, k, v)
            group = self.heads // self.kv_heads
            wide = lambda y: y.repeat_interleave(group, 0)
            scores = q @ wide(k).transpose(1, 2)
            coded = code(l, k, v) if code else None
            if coded:
                ck, cv, packed = coded
                scores = torch.where(packed, q @ wide(ck).transpose(1, 2), scores)
            p = (scores / math.sqrt(self.dim)).masked_fill(causal, -math.inf).softmax(-1)
            out = (p * packed) @ wide(cv) + (p * ~packed) @ wide(v) if coded else p @ wide(v)
            x = x + out.transpose(0, 1).reshape(T, -1) @ self.w[f"blk.{l}.attn_output.weight"].T
            y = self.norm(x, f"blk.{l}.ffn_norm.weight")
            gate, up = (y @ self.w[f"blk.{l}.ffn_{n}.weight"].T for n in ("gate", "up"))
            x = x + (torch.nn.functional.silu(gate) * up) @ self.w[f"blk.{l}.ffn_down.weight"].T
        return self.norm(x, "output_norm.weight") @ self.w.get("output.weight", self.w["token_embd.weight"]).T


def turn(x, rope):
    (a, b), (c, s) = x.chunk(2, -1), rope
    return torch.cat((a * c - b * s, b * c + a * s), -1)


# ---- codings of unit vectors [.., D]

@functools.cache
def levels(dim, bits):
    """Lloyd-Max levels of a coordinate of a uniform point on the sphere, times sqrt(dim)."""
    t = np.linspace(-1, 1, 400001)[1:-1]
    density = (1 - t * t) ** ((dim - 3) / 2)
    mass, moment = np.cumsum(density), np.cumsum(density * t)
    x = np.linspace(-2.5, 2.5, 2**bits) / math.sqrt(dim)
    for _ in range(3000):
        edges = np.searchsorted(t, (x[1:] + x[:-1]) / 2)
        cut = np.concatenate(([0], edges, [len(t) - 1]))
        x = np.diff(moment[cut]) / np.maximum(np.diff(mass[cut]), 1e-300)
    return torch.tensor(x * math.sqrt(dim), dtype=torch.float32)


def nearest(x, book):
    return book[torch.bucketize(x.contiguous(), (book[1:] + book[:-1]) / 2)]


def uniform_book(bits):
    """Levels k + 1/2 times the step that is best for a Gaussian."""
    best = {2: 0.9957, 3: 0.5860, 4: 0.3352}[bits]
    return (torch.arange(2**bits) - (2**bits - 1) / 2) * best


@functools.cache
def trellis_table(bits, window=8):
    table = trellis.train(bits, window, rounds=12)
    top = table.abs().max()
    return (table / top * 127).round() * top / 127


def rotation(kind, dim):
    g = torch.Generator().manual_seed(1)
    if kind == "random":
        return torch.linalg.qr(torch.randn(dim, dim, generator=g, dtype=torch.float64))[0].float()
    if kind == "none":
        return torch.eye(dim)
    h = torch.ones(1, 1)
    while len(h) < dim:
        h = torch.cat((torch.cat((h, h), 1), torch.cat((h, -h), 1)))
    a, b = (torch.randint(0, 2, (dim,), generator=g) * 2.0 - 1 for _ in range(2))
    return a[:, None] * h * b / math.sqrt(dim)


def code_side(x, how, R, nc):
    """x [K, T, D] as its coding gives it back. how: bits, u4 (uniform levels), q3 (3 bits and a sign of the residual), t3
    (trellis), raw, 8, q8."""
    if how == "raw":
        return x
    if how == "q8":
        blocks = x.unflatten(-1, (-1, 32))
        scale = (blocks.abs().amax(-1, keepdim=True) / 127).half().float()
        return ((blocks / scale.clamp_min(1e-30)).round() * scale).flatten(-2)
    y = x @ R
    if how == "8":
        top = y.abs().amax(-1, keepdim=True).half().float()
        return ((y / top * 127).round() / 127 * top) @ R.T
    dim = x.shape[-1]
    length = y.norm(dim=-1, keepdim=True)
    unit = y / length.clamp_min(1e-30) * math.sqrt(dim)
    bits = int(how.lstrip("uqt"))
    if how[0] == "t":
        table = trellis_table(bits)
        c = table[trellis.encode(unit.flatten(0, -2), table, bits)].view(unit.shape)
    else:
        c = nearest(unit, uniform_book(bits) if how[0] == "u" else levels(dim, bits))
    if how[0] == "q":
        S = torch.randn(dim, dim, generator=torch.Generator().manual_seed(2))
        r = unit - c
        c = c + math.sqrt(math.pi / 2) / dim * r.norm(dim=-1, keepdim=True) * (torch.sign(r @ S.T) @ S)
        nc = 0
    scale = length / (c.norm(dim=-1, keepdim=True) if nc else math.sqrt(dim))
    return (scale.half().float() * c) @ R.T


class Calibration:
    """Per layer: means of k and v, and matrices in front of the rotation that even out what an error costs: (tr A C A')(tr A'^-1 M A^-1)
    is least, C what is coded (around its mean), M what weighs errors: q q' of the queries, and of values Wo' Wo."""

    def __init__(self, model, windows):
        self.model, self.sums, self.layers = model, {}, {}
        for tokens in windows:
            model.logits(tokens, see=self.see)
        for layer, (n, sk, skk, sv, svv, sqq) in self.sums.items():
            Wo = model.w[f"blk.{layer}.attn_output.weight"].T.view(model.kv_heads, -1, model.dim, len(model.w["blk.0.attn_norm.weight"]))
            out = (Wo @ Wo.transpose(2, 3)).sum(1)
            self.layers[layer] = tuple(self.even(s / n, ss / n, weight) for s, ss, weight in ((sk, skk, sqq / n), (sv, svv, out)))

    def see(self, layer, q, k, v):
        q = q.view(self.model.kv_heads, -1, self.model.dim)
        new = [k.shape[1], k.sum(1), k.transpose(1, 2) @ k, v.sum(1), v.transpose(1, 2) @ v, q.transpose(1, 2) @ q]
        self.sums[layer] = [a + b for a, b in zip(self.sums[layer], new)] if layer in self.sums else new

    @staticmethod
    def even(mean, square, weight):
        C = (square - mean[:, :, None] * mean[:, None]).double()
        C += 1e-3 * C.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(C.shape[-1])
        e, U = torch.linalg.eigh(C)
        root, inverse = (U * e[:, None].sqrt()) @ U.transpose(1, 2), (U / e[:, None].sqrt()) @ U.transpose(1, 2)
        e, U = torch.linalg.eigh(root @ weight.double() @ root)
        e = e.clamp_min(e.max() * 1e-6)
        return mean[:, None], (inverse @ (U * e[:, None] ** 0.25)).float(), ((U / e[:, None] ** 0.25).transpose(1, 2) @ root).float()


def coder(model, p, calibration=None):
    R = rotation("wht" if p["rotation"] == "calibrated" else p["rotation"], model.dim)
    chosen = range(model.n_layers) if p["layers"] == "all" else [int(l) for l in str(p["layers"]).split("+")]

    def code(layer, k, v):
        if layer not in chosen:
            return None
        edge = min(layer, model.n_layers - 1 - layer) < int(p["boundary"])
        T = k.shape[1]
        i, j = torch.arange(T)[:, None], torch.arange(T)
        packed = (i // TILE - j // TILE > int(p["previous"])) & (j >= int(p["sinks"]))
        if p["k"] == "q8":
            packed = torch.ones(T, T).bool()

        def side(x, how, place):
            if p["rotation"] != "calibrated":
                return code_side(x, how, R, int(p["nc"]))
            mean, A, back = calibration.layers[layer][place]
            return code_side((x - mean) @ A, how, R, int(p["nc"])) @ back + mean

        return side(k, "8" if edge else p["k"], 0), side(v, p["v"], 1), packed

    return code


def compare(model, windows, policies, calibration):
    rows = {p: [[], 0, 0.0] for p in policies}
    coders = {p: coder(model, {**DEFAULTS, **dict(s.split("=") for s in p.split(","))}, calibration) for p in policies}
    for tokens in windows:
        base = model.logits(tokens)[:-1].double().log_softmax(-1)
        for p in policies:
            other = model.logits(tokens, coders[p])[:-1].double().log_softmax(-1)
            rows[p][0].append((base.exp() * (base - other)).sum(-1))
            rows[p][1] += (base.argmax(-1) == other.argmax(-1)).sum().item()
            rows[p][2] += (base.gather(1, tokens[1:, None]) - other.gather(1, tokens[1:, None])).sum().item()
    for p, (kl, same, lost) in rows.items():
        kl = torch.cat(kl)
        print(f"{p:<44} mean {kl.mean():.3g} p99 {kl.quantile(0.99):.3g} top {100 * same / len(kl):.2f} nll {lost / len(kl):+.4f} n {len(kl)}", flush=True)


def read_windows(model, path, longest, count):
    windows = []
    for line in open(path):
        text = json.loads(line)
        ids = model.tokenizer.encode(text.get("text") or text["filler"], add_special_tokens=False).ids
        windows += [torch.tensor(ids[i : i + longest]) for i in range(0, len(ids) - 1, longest)]
        if len(windows) >= count:
            break
    return windows[:count]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("policies", nargs="+")
    parser.add_argument("--text", required=True)
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--windows", type=int, default=2)
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    model = Model(options.model)
    windows = read_windows(model, options.text, options.window, options.windows)
    print(f"{len(windows)} windows, {sum(map(len, windows))} tokens")
    calibrated = any("calibrated" in p for p in options.policies)
    rest = read_windows(model, options.text, options.window, 1000)[options.windows :] if calibrated else []
    compare(model, windows, options.policies, Calibration(model, rest) if calibrated else None)


if __name__ == "__main__":
    main()
