#!/usr/bin/env python3
"""What each form of the cache costs in quality: the tables of docs/turboquant.md.

    python tools/quality_table.py --arc build/release/arc --work build/quality

Divergence is that of the set's texts as one document, in windows of 4096 tokens, on a copy of the model with its weights as F32, made in
the work folder: with Q8_0 weights activations are rounded to 8 bits, and that noise hides small differences. Answers come from the model
as it is. What is done is kept in the work folder and not done again: name another folder for another model. Needs numpy.
"""
import argparse
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "training"))

PRESETS = ["auto", "turboquant", "turboquant-3", "turboquant-aggressive", "turboquant-t3", "turboquant-t4", "q8", "f8e4m3"]
ABLATIONS = [
    "turboquant,recent=0,open=16", "turboquant,open=16", "turboquant,recent=2", "turboquant,recent=4", "turboquant,boundary=0",
    "turboquant,boundary=2", "turboquant,k=8,v=8", "turboquant,k=8,v=3", "turboquant,k=4,v=8", "turboquant,k=4,v=4",
    "turboquant,code=trellis", "turboquant-aggressive,code=trellis", "turboquant-t3,boundary=0", "turboquant-t4,boundary=0",
]


def exact_copy(model, path):
    """The model with F32 weights."""
    import numpy as np

    import gguf

    class Reader(gguf.Reader):
        def value(self, kind):
            value = super().value(kind)
            return gguf.Float(value) if kind == gguf.FLOAT else value

    if path.exists():
        return
    file = Reader(model)
    gguf.quantize, gguf.Q8_0 = lambda matrix: np.asarray(matrix, "<f4").tobytes(), gguf.F32
    gguf.write(path, file.metadata, file.tensors)


class Runs:
    def __init__(self, options):
        self.options, self.file = options, options.work / "results.json"
        self.done = json.loads(self.file.read_text()) if self.file.exists() else {}

    def get(self, row, part):
        key = f"{row} {part}"
        if key not in self.done and not self.options.print_only:
            self.done[key] = self.run(row, part)
            self.file.write_text(json.dumps(self.done, indent=1))
        return self.done.get(key)

    def run(self, row, part):
        o = self.options
        command = [str(o.arc), "eval", part, "--json", "--pa-cache-type", row, "--dtype", "bf16", "--set"]
        if part == "kl":
            command += [str(o.work / "text.jsonl"), "-m", str(o.work / "exact.gguf"), "--window", "4096"]
            command += ["--against", "dtype=f32 pa-cache-type=auto"]
        else:
            command += [str(o.sets / f"{part}.jsonl"), "-m", str(o.model), "--every", str(o.every[part])]
            command += ["--lengths", o.lengths] if part == "needle" else []
        print(" ".join(command), file=sys.stderr, flush=True)
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compressed(run):
    return f"{100 * run['coded_keys_read'] / max(run['keys_read'], 1):.0f}%"


def text_cells(run):
    if run is None:
        return ["-"] * 6
    delta = 100 * (run["perplexity"] / run["reference_perplexity"] - 1)
    return [compressed(run), f"{run['mean']:.2g}", f"{run['p99']:.2g}", f"{100 * run['same_top']:.1f}%", f"{100 * run['catastrophic']:.2f}%",
            f"{delta:+.1f}%"]


def answer_cells(tasks, needle):
    right = "-" if tasks is None else f"{sum(t['right'] for t in tasks['tasks'].values())} of {sum(t['n'] for t in tasks['tasks'].values())}"
    return [right, "-" if needle is None else f"{needle['right']} of {needle['n']}"]


def print_table(head, rows):
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arc", type=pathlib.Path, required=True, help="the program")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for results and for what is made on the way")
    parser.add_argument("--model", type=pathlib.Path, default=HERE.parent / "share/arc/arc.gguf")
    parser.add_argument("--sets", type=pathlib.Path, default=HERE.parent / "share/arc/eval")
    parser.add_argument("--rows", nargs="*", help="cache types instead of all; the presets among them are asked for answers, too")
    parser.add_argument("--lengths", default="1024,2048,4096", help="contexts of the needle")
    parser.add_argument("--needle-every", type=int, default=10, help="ask each Nth needle")
    parser.add_argument("--tasks-every", type=int, default=4)
    parser.add_argument("--no-answers", action="store_true", help="texts only")
    parser.add_argument("--print-only", action="store_true", help="run nothing, print what is there")
    options = parser.parse_args()
    options.every = {"needle": options.needle_every, "tasks": options.tasks_every}
    options.work.mkdir(parents=True, exist_ok=True)
    exact_copy(options.model, options.work / "exact.gguf")
    lines = (options.sets / "text.jsonl").read_text()
    joined = "\n\n".join(json.loads(line)["text"] for line in lines.splitlines())
    (options.work / "text.jsonl").write_text(json.dumps({"text": joined}) + "\n")

    rows, runs = options.rows or PRESETS + ABLATIONS, Runs(options)
    names = ["compressed", "mean KL", "99th percentile", "same top token", "catastrophic", "perplexity"]
    print_table(["cache", *names], [[f"`{row}`", *text_cells(runs.get(row, "kl"))] for row in rows])
    if options.no_answers:
        return
    answers = []
    for row in [r for r in rows if r in PRESETS]:
        tasks, needle = runs.get(row, "tasks"), runs.get(row, "needle")
        answers.append([f"`{row}`", *answer_cells(tasks, needle), "-" if needle is None else compressed(needle)])
    print_table(["cache", "tasks right", "needles found", "compressed"], answers)


if __name__ == "__main__":
    main()
