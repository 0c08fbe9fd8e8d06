"""Measures a checkpoint or GGUF file on the held-out sets and prints a table; `arc eval` prints the same figures.

    python training/evaluate.py --data DIR --model arc.gguf --json OUT.json
    python training/evaluate.py --data DIR --write-sets FOLDER      (tasks.jsonl and needle.jsonl, for other programs)
"""
import argparse
import json
import math
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "data")]

import numpy as np
import tokenizers
import torch
import torch.nn.functional as F

import dialogue
import heldout
import mixture
from model import causal, rotary
from ngram import NGram


class Cache:
    """Keys and values of one layer for B rows; the rows may have different lengths."""

    def __init__(self):
        self.k = self.v = None

    def prefill(self, room):
        def attend(q, k, v):
            self.k, self.v = (F.pad(x, (0, 0, 0, room)) for x in (k, v))
            return causal(q, k, v)

        return attend

    def decode(self, positions):
        def attend(q, k, v):
            rows = torch.arange(len(positions), device=q.device)
            self.k[rows, :, positions], self.v[rows, :, positions] = k[:, :, 0], v[:, :, 0]
            mask = torch.arange(self.k.shape[2], device=q.device) <= positions[:, None]
            groups = q.view(len(q), self.k.shape[1], -1, q.shape[3])  # the query heads of a KV head as its queries
            return F.scaled_dot_product_attention(groups, self.k, self.v, attn_mask=mask[:, None, None]).view(q.shape)

        return attend


@torch.no_grad()
def generate_batch(model, prompts, max_new, stop_ids, device):
    """Greedy answers (token lists without the stop token) of prompts padded to one length."""
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    tokens = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
    for i, prompt in enumerate(prompts):
        tokens[i, : len(prompt)] = torch.tensor(prompt)
    caches = [Cache() for _ in model.model.layers]
    rope = rotary(torch.arange(tokens.shape[1], device=device), model.shape)
    _, normed = model.states(tokens.to(device), rope, [cache.prefill(max_new) for cache in caches])
    following = model.logits(normed[torch.arange(len(prompts)), lengths - 1]).argmax(-1)
    answers, alive = [[] for _ in prompts], [True] * len(prompts)
    for n in range(max_new):
        for i, token in enumerate(following.tolist()):
            alive[i] = alive[i] and token not in stop_ids
            if alive[i]:
                answers[i].append(token)
        if not any(alive) or n + 1 == max_new:
            break
        positions = lengths + n
        rope = tuple(x[:, None] for x in rotary(positions[:, None], model.shape))
        _, normed = model.states(following[:, None], rope, [cache.decode(positions) for cache in caches])
        following = model.logits(normed[:, 0]).argmax(-1)
    return answers


def generate(model, prompts, max_new, stop_ids, device, tokens_at_once):
    """Greedy answers of any number of prompts, in batches of similar length."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers, batch = [None] * len(prompts), []
    for at, i in enumerate(order):
        batch.append(i)
        following = order[at + 1] if at + 1 < len(order) else None
        if following is None or (len(batch) + 1) * (len(prompts[following]) + max_new) > tokens_at_once:
            for j, answer in zip(batch, generate_batch(model, [prompts[j] for j in batch], max_new, stop_ids, device)):
                answers[j] = answer
            batch = []
    return answers


class Evaluation:
    def __init__(self, model, sources, tokenizer, device, tokens_at_once):
        self.model, self.sources, self.tokenizer, self.device = model, sources, tokenizer, device
        self.tokens_at_once = tokens_at_once
        self.stop_ids = {tokenizer.token_to_id(token) for token in (dialogue.IM_END, dialogue.END_OF_TEXT)}

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def encode_all(self, texts):
        return [item.ids for item in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def answers(self, dialogues):
        """Greedy answers, a little longer than the longest right one may be; where facts are looked for, with words around them."""
        spare = 96 if any(made.check == "contains" for made in dialogues) else 12
        longest = max(map(len, self.encode_all(dialogue.answer_text(made.messages[-1]) for made in dialogues)))
        prompts = self.encode_all(dialogue.prompt_text(made) for made in dialogues)
        made = generate(self.model, prompts, longest + spare, self.stop_ids, self.device, self.tokens_at_once)
        return [self.tokenizer.decode(answer, skip_special_tokens=False) for answer in made]

    def judged(self, dialogues):
        """(whether each answer is right, some that are not)"""
        texts = self.answers(dialogues)
        right = [heldout.is_right(made, text) for made, text in zip(dialogues, texts)]
        wrong = [{"asked": made.messages[-2]["content"][-300:], "expected": dialogue.answer_text(made.messages[-1]), "got": text, **made.note}
                 for made, text, good in zip(dialogues, texts, right) if not good]
        return right, wrong[:12]

    def task(self, dialogues):
        right, wrong = self.judged(dialogues)
        share = sum(right) / len(right)
        return {"n": len(right), "right": sum(right), "accuracy": share, "error": math.sqrt(share * (1 - share) / len(right)), "wrong": wrong}

    def needle(self, dialogues):
        lengths, depths = (sorted({made.note[key] for made in dialogues}) for key in ("tokens", "depth"))
        right, wrong = self.judged(dialogues)
        grid = np.array(right).reshape(len(lengths), len(depths), -1).mean(axis=2)
        return {"n": len(right), "accuracy": float(np.mean(right)), "lengths": lengths, "depths": depths, "grid": grid.round(3).tolist(), "wrong": wrong}

    @torch.no_grad()
    def perplexity(self, n_documents):
        """Of held-out prose: the model, the 5-gram model of the training prose, bits per byte; and how often the extra layer's guess
        equals the token that the model itself finds most likely."""
        training = np.concatenate(self.encode_all(text + dialogue.END_OF_TEXT for text in self.sources.documents["train"]))
        baseline = NGram(training, self.model.shape.vocab_size)
        total, total_baseline, n_tokens, n_bytes, agreed, guessed = 0.0, 0.0, 0, 0, 0, 0
        for text in self.sources.documents["held"][:n_documents]:
            ids = self.encode(text)[: self.model.shape.max_context]
            tokens = torch.tensor([ids], device=self.device)
            rope = rotary(torch.arange(len(ids), device=self.device), self.model.shape)
            state, normed = self.model.states(tokens, rope, causal)
            logits = self.model.logits(normed[0]).float()
            total += F.cross_entropy(logits[:-1], tokens[0, 1:], reduction="sum").item()
            total_baseline -= baseline.log_probabilities(np.array(ids)).sum()
            n_tokens += len(ids) - 1
            n_bytes += len(text.encode())
            ahead = self.model.mtp(self.model.embed(tokens[:, 1:]), state[:, :-1], tuple(x[:-1] for x in rope), causal)
            agreed += (self.model.logits(ahead[0]).argmax(-1) == logits[1:].argmax(-1)).sum().item()
            guessed += len(ids) - 1
        return {"tokens": n_tokens, "perplexity": math.exp(total / n_tokens), "perplexity_5gram": math.exp(total_baseline / n_tokens),
                "bits_per_byte": total / n_bytes / math.log(2), "extra_layer_agreement": agreed / guessed}


def make_sets(sources, tokenizer, parts, n, longest, tries):
    """{task or "needle": dialogues}"""
    sets = {task: heldout.task_set(sources, task, n) for task in heldout.TASKS} if "tasks" in parts else {}
    if "needle" in parts:
        lengths = [longest * i // 8 for i in range(1, 9)]
        sets["needle"] = heldout.needle_set(sources, lambda text: len(tokenizer.encode(text).ids), lengths, heldout.DEPTHS, tries)
    return sets


def write_sets(folder, sets):
    folder.mkdir(parents=True, exist_ok=True)
    for name, chosen in (("tasks", heldout.TASKS), ("needle", ("needle",))):
        lines = [heldout.as_line(made, task) for task in chosen for made in sets[task]]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def read_sets(folder):
    sets = {}
    for name in ("tasks", "needle"):
        for line in (folder / f"{name}.jsonl").read_text().splitlines():
            task, made = heldout.from_line(line)
            sets.setdefault(task, []).append(made)
    return sets


def show(result):
    for name, figures in result.get("tasks", {}).items():
        print(f"{name:12} {figures['right']:5} of {figures['n']:5}  {figures['accuracy']:7.1%} +- {figures['error']:.1%}")
    if needle := result.get("needle"):
        print(f"\nneedle {needle['accuracy']:.1%} of {needle['n']}; rows: context length, columns: depth from the beginning to the end")
        for length, row in zip(needle["lengths"], needle["grid"]):
            print(f"{length:6}  " + " ".join(f"{cell:4.0%}" for cell in row))
    if text := result.get("perplexity"):
        print(f"\nperplexity {text['perplexity']:.2f} on {text['tokens']} held-out tokens (5-gram {text['perplexity_5gram']:.2f}), "
              f"{text['bits_per_byte']:.3f} bits per byte; extra layer agrees {text['extra_layer_agreement']:.1%}")


def main():
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="checkpoint.pt or a GGUF file")
    parser.add_argument("--only", nargs="+", choices=("tasks", "needle", "perplexity"), default=("tasks", "needle", "perplexity"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write-sets", type=Path)
    parser.add_argument("--sets", type=Path, help="folder of an earlier --write-sets, to save the time of making them")
    parser.add_argument("--every", type=int, default=1, help="take only each so-manieth dialogue of the sets: a quick look")
    parser.add_argument("--n", type=int, default=400, help="dialogues per task")
    parser.add_argument("--tries", type=int, default=20, help="per cell of the needle grid")
    parser.add_argument("--longest", type=int, default=8192, help="longest context of the needle grid")
    parser.add_argument("--documents", type=int, default=200, help="held-out documents for perplexity")
    options = parser.parse_args()
    sources = mixture.Sources(options.data)
    tokenizer = tokenizers.Tokenizer.from_file(str(options.data / "tokenizer.json"))
    sets = read_sets(options.sets) if options.sets else make_sets(sources, tokenizer, options.only, options.n, options.longest, options.tries)
    if options.write_sets:
        write_sets(options.write_sets, sets)
    sets = {task: made[:: options.every if task != "arc" else 1] for task, made in sets.items()}
    if not options.model:
        return
    from export import read_model
    from train import load_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = (read_model if options.model.suffix == ".gguf" else load_model)(options.model)[0].to(device).eval()
    if device == "cuda":
        model.compute_type = torch.bfloat16
    evaluation = Evaluation(model, sources, tokenizer, device, 524288 if device == "cuda" else 16384)
    result = {"model": options.model.name, "device": device}
    if "tasks" in options.only:
        result["tasks"] = {name: evaluation.task(sets[name]) for name in heldout.TASKS}
    if "needle" in options.only:
        result["needle"] = evaluation.needle(sets["needle"])
    if "perplexity" in options.only:
        result["perplexity"] = evaluation.perplexity(options.documents)
    result["seconds"] = round(time.monotonic() - started)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
