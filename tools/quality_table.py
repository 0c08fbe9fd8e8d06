#!/usr/bin/env python3
"""What each form of the cache costs in quality: the tables and pictures of docs/turboquant.md.

    python tools/quality_table.py --arc build/release/arc --work build/quality --jobs 16 --seconds 250
    python tools/quality_table.py --arc build/gpu/arc --work build/quality --executor cuda --whole --only answers --tasks-every 1

Divergence is that of the set's texts as one document, in windows of 4096 tokens, on a copy of the model with its weights as F32, made in
the work folder: with Q8_0 weights activations are rounded to 8 bits, and that noise hides small differences. Answers come from the model
as it is. The needle's grid is asked try by try, each one needle a cell, so what time is left for is even; only tries that every length and
both rows of GRID have are counted. On a GPU, --whole asks all needles of a length in one run, of every preset. What is done is kept in the
work folder and not done again: name another folder for another model. Needs numpy.
"""
import argparse
import concurrent.futures
import json
import pathlib
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "training"))

PRESETS = ["auto", "turboquant", "turboquant,code=trellis", "turboquant-t4", "turboquant-3", "turboquant-t3", "turboquant-aggressive", "q8", "f8e4m3"]
ABLATIONS = [
    "turboquant,recent=0,open=16", "turboquant,open=16", "turboquant,recent=2", "turboquant,recent=4", "turboquant,boundary=0",
    "turboquant,boundary=2", "turboquant,k=8,v=8", "turboquant,k=8,v=3", "turboquant,k=4,v=8", "turboquant,k=4,v=4",
    "turboquant,code=trellis,boundary=0", "turboquant,code=trellis,recent=2", "turboquant-aggressive,code=trellis", "turboquant-t3,boundary=0", "turboquant-t4,boundary=0",
]
GRID = ["auto", "turboquant"]
LENGTHS = [8192, 7168, 6144, 5120, 4096, 3072, 2048, 1024]  # the longest run first
SHORT = 4096  # of the other presets the needles up to here
PARTS = 2  # jobs of a try and length


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
    """Results by job, (cache type, what, ...): ("kl",), ("tasks",) or ("needle", length, first, every)."""

    def __init__(self, options):
        self.options, self.file, self.lock = options, options.work / "results.json", threading.Lock()
        self.done = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.end = time.monotonic() + options.seconds

    def get(self, *job):
        return self.done.get(" ".join(map(str, job)))

    def command(self, row, part, *grid):
        o = self.options
        command = [str(o.arc), "eval", part, "--json", "--executor", o.executor, "-t", str(o.threads), "--pa-cache-type", row, "--dtype", "bf16"]
        command += ["--kv-memory", o.kv_memory, "--max-seqs", str(o.seqs), "--max-num-batched-tokens", str(o.step_tokens), "--set"]
        if part == "kl":
            return [*command, str(o.work / "text.jsonl"), "-m", str(o.work / "exact.gguf"), "--window", "4096", "--against", "dtype=f32 pa-cache-type=auto"]
        command += [str(o.sets / f"{part}.jsonl"), "-m", str(o.model)]
        if part == "tasks":
            return [*command, "--every", str(o.tasks_every)]
        return [*command, "--lengths", str(grid[0]), "--from", str(grid[1]), "--every", str(grid[2])]

    def run(self, job):
        left = self.end - time.monotonic()
        if left <= 0 or self.get(*job) is not None:
            return
        begin = time.monotonic()
        try:
            done = subprocess.run(self.command(*job), check=True, capture_output=True, text=True, timeout=left)
        except subprocess.TimeoutExpired:
            return
        except subprocess.CalledProcessError as error:
            print(*job, error.stderr.strip(), file=sys.stderr, flush=True)
            return
        with self.lock:
            self.done[" ".join(map(str, job))] = {**json.loads(done.stdout), "seconds": round(time.monotonic() - begin, 1)}
            self.file.write_text(json.dumps(self.done, indent=1))
            print(*job, f"{time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)

    def needles(self, row, tries, longest):
        """Results of whole tries; None: not all are there."""
        jobs = [job for one in range(tries) for job in needle_jobs(self.options, row, one, longest)]
        found = [self.get(*job) for job in dict.fromkeys(jobs)]
        return found if found and all(found) else None


def needle_jobs(options, row, one, longest):
    """A try is one needle a cell; needles of a cell stand together in the set. With --whole all tries are one job a length."""
    if options.whole:
        return [(row, "needle", length, 0, 1) for length in LENGTHS if length <= longest]
    every = options.tries * PARTS
    return [(row, "needle", length, one + part * options.tries, every) for length in LENGTHS if length <= longest for part in range(PARTS)]


def all_jobs(options, rows):
    """The most wanted first."""
    presets, others = [row for row in rows if row in PRESETS], [row for row in rows if row not in PRESETS]
    grid = [row for row in GRID if row in rows]
    if options.only == "texts":
        return [(row, "kl") for row in presets + others]
    if options.whole:
        pairs = zip(*(needle_jobs(options, row, 0, LENGTHS[0]) for row in grid))
        first = [job for pair in pairs for job in pair] + [(row, "tasks") for row in grid]
        rest = [job for row in presets if row not in grid for job in (*needle_jobs(options, row, 0, LENGTHS[0]), (row, "tasks"))]
        return first + rest + ([] if options.only == "answers" else [(row, "kl") for row in presets + others])
    jobs = ([] if options.only == "answers" else [(row, "kl") for row in presets]) + [(row, "tasks") for row in grid]
    tries = [[job for row in grid for job in needle_jobs(options, row, one, LENGTHS[0])] for one in range(options.tries)]
    jobs += tries[0] + ([] if options.only == "answers" else [(row, "kl") for row in others]) + [(row, "tasks") for row in presets if row not in grid]
    jobs += [job for one in tries[1:3] for job in one]
    jobs += [job for row in presets if row not in grid for job in needle_jobs(options, row, 0, SHORT)]
    return jobs + [job for one in tries[3:] for job in one]


def compressed(runs):
    return f"{100 * sum(run['coded_keys_read'] for run in runs) / max(sum(run['keys_read'] for run in runs), 1):.0f}%"


def found(runs):
    return f"{sum(run['right'] for run in runs)} of {sum(run['n'] for run in runs)}"


def text_cells(run):
    if run is None:
        return ["-"] * 6
    delta = 100 * (run["perplexity"] / run["reference_perplexity"] - 1)
    return [compressed([run]), f"{run['mean']:.2g}", f"{run['p99']:.2g}", f"{100 * run['same_top']:.1f}%", f"{100 * run['catastrophic']:.2f}%",
            f"{delta:+.1f}%"]


def print_table(head, rows):
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def grid_of(runs):
    """{(length, depth): [found, asked]}"""
    cells = {}
    for run in runs:
        for length, shares in zip(run["lengths"], run["grid"]):
            n = run["n"] // len(run["depths"])
            for depth, share in zip(run["depths"], shares):
                cell = cells.setdefault((length, depth), [0, 0])
                cell[0] += round(share * n)
                cell[1] += n
    return cells


def grid_svg(grids):
    """Grids side by side, one cell a length and depth: found, of so many."""
    lengths, depths = (sorted({key[i] for _, cells in grids for key in cells}) for i in (0, 1))
    cell, height, left, top = 38, 26, 60, 56
    width = left + cell * len(depths) + 16
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * len(grids)}" height="{top + height * len(lengths) + 12}" '
           'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="#fff"/>']

    def text(x, y, what, anchor="middle"):
        out.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{what}</text>')

    for i, (title, cells) in enumerate(grids):
        x0 = i * width
        right, n = (sum(c[k] for c in cells.values()) for k in (0, 1))
        text(x0 + 12, 18, f"{title}: {right} of {n} found; rows: tokens, columns: depth", "start")
        for c, depth in enumerate(depths):
            text(x0 + left + cell * c + cell // 2, top - 8, f"{100 * depth:.0f}%")
        for r, length in enumerate(lengths):
            y = top + height * r
            text(x0 + left - 6, y + 17, length, "end")
            for c, depth in enumerate(depths):
                hits, asked = cells.get((length, depth), (0, 0))
                if not asked:
                    continue
                share = hits / asked
                mix = lambda a, b, part: round(a + (b - a) * part)  # noqa: E731
                low, high, part = ((165, 30, 38), (253, 219, 120), 2 * share) if share < 0.5 else ((253, 219, 120), (30, 140, 70), 2 * share - 1)
                colour = "".join(f"{mix(a, b, part):02x}" for a, b in zip(low, high))
                x = x0 + left + cell * c
                out.append(f'<rect x="{x}" y="{y}" width="{cell - 1}" height="{height - 1}" fill="#{colour}"/>')
                text(x + cell // 2, y + 17, f"{100 * share:.0f}")
    return "\n".join([*out, "</svg>", ""])


def bytes_svg(points):
    """Mean divergence over bytes a token and layer, both on logarithmic axes: [(name, bytes, divergence)]."""
    import math

    width, height, left, bottom = 640, 360, 60, 40
    x_of = lambda b: left + (math.log2(b) - 9.2) / (12.2 - 9.2) * (width - left - 20)  # noqa: E731
    y_of = lambda d: 20 + (-1 - math.log10(d)) / 4 * (height - bottom - 20)  # noqa: E731
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="#fff"/>']
    for power in range(-5, 0):
        y = y_of(10.0**power)
        out.append(f'<path d="M{left} {y:.0f}H{width - 20}" stroke="#ddd"/><text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{10.0**power:g}</text>')
    for size in (600, 1000, 2000, 4000):
        out.append(f'<path d="M{x_of(size):.0f} 20V{height - bottom}" stroke="#ddd"/><text x="{x_of(size):.0f}" y="{height - 22}" text-anchor="middle">{size}</text>')
    out.append(f'<text x="{left}" y="{height - 6}">bytes of a token and layer, 8 heads of 128, averaged over 64 layers; upwards: mean divergence in nats</text>')
    for name, size, divergence in points:
        x, y = x_of(size), y_of(divergence)
        out.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4" fill="#1e6fb4"/><text x="{x + 7:.0f}" y="{y + 4:.0f}">{name}</text>')
    return "\n".join([*out, "</svg>", ""])


BYTES = {"auto": 4096, "q8": 2176, "f8e4m3": 2048, "turboquant": 944, "turboquant,code=trellis": 944, "turboquant-t4": 1072,
         "turboquant-3": 840, "turboquant-t3": 820, "turboquant-aggressive": 712}


def print_results(options, runs, rows):
    names = ["compressed", "mean KL", "99th percentile", "same top token", "catastrophic", "perplexity"]
    print_table(["cache", *names], [[f"`{row}`", *text_cells(runs.get(row, "kl"))] for row in rows])
    if options.svg:
        points = [(row, BYTES[row], runs.get(row, "kl")["mean"]) for row in rows if row in BYTES and runs.get(row, "kl")]
        (options.svg / "turboquant-kl.svg").write_text(bytes_svg(points))
    if options.only == "texts":
        return
    short = LENGTHS[0] if options.whole else SHORT
    answers = []
    for row in (row for row in rows if row in PRESETS):
        tasks, needles = runs.get(row, "tasks"), runs.needles(row, 1, short)
        answers.append([f"`{row}`", "-" if tasks is None else found(tasks["tasks"].values()), "-" if needles is None else found(needles),
                        "-" if needles is None else compressed(needles)])
    print_table(["cache", "tasks right", f"needles found (to {short} tokens)", "compressed"], answers)
    tries = max((t for t in range(options.tries + 1) if all(runs.needles(row, t, LENGTHS[0]) for row in GRID if row in rows)), default=0)
    if not tries:
        return
    grids = [(row, whole) for row in rows if (whole := runs.needles(row, tries, LENGTHS[0]))]
    print(f"\nGrid: {tries} of {options.tries} tries")
    print_table(["cache", "needles found", "compressed", *map(str, reversed(LENGTHS))],
                [[f"`{row}`", found(whole), compressed(whole), *(found([run for run in whole if run["lengths"] == [length]]) for length in reversed(LENGTHS))]
                 for row, whole in grids])
    if options.svg:
        (options.svg / "turboquant-needle.svg").write_text(grid_svg([(row, grid_of(whole)) for row, whole in grids if row in GRID]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arc", type=pathlib.Path, required=True, help="the program")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for results and for what is made on the way")
    parser.add_argument("--model", type=pathlib.Path, default=HERE.parent / "share/arc/arc.gguf")
    parser.add_argument("--sets", type=pathlib.Path, default=HERE.parent / "share/arc/eval")
    parser.add_argument("--rows", nargs="*", help="cache types instead of all; the presets among them are asked for answers, too")
    parser.add_argument("--tries", type=int, default=10, help="needles that the set has for a cell (that of evaluate.py: 20)")
    parser.add_argument("--tasks-every", type=int, default=4)
    parser.add_argument("--only", choices=("texts", "answers"), help="a half of the jobs")
    parser.add_argument("--whole", action="store_true", help="all needles of a length in one run")
    parser.add_argument("--executor", default="cpu")
    parser.add_argument("--kv-memory", default="256MB", help="of each job; on a GPU 4GB")
    parser.add_argument("--seqs", type=int, default=4, help="of each job; on a GPU 64")
    parser.add_argument("--step-tokens", type=int, default=512, help="of each job; on a GPU 8192")
    parser.add_argument("--print-only", action="store_true", help="run nothing, print what is there")
    parser.add_argument("--jobs", type=int, default=1, help="at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each")
    parser.add_argument("--seconds", type=float, default=1e6, help="then jobs are ended")
    parser.add_argument("--svg", type=pathlib.Path, help="folder for pictures")
    options = parser.parse_args()
    rows, runs = options.rows or PRESETS + ABLATIONS, Runs(options)
    if not options.print_only:
        options.work.mkdir(parents=True, exist_ok=True)
        if options.only != "answers":
            exact_copy(options.model, options.work / "exact.gguf")
            lines = (options.sets / "text.jsonl").read_text()
            joined = "\n\n".join(json.loads(line)["text"] for line in lines.splitlines())
            (options.work / "text.jsonl").write_text(json.dumps({"text": joined}) + "\n")
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(runs.run, all_jobs(options, rows)))
    print_results(options, runs, rows)


if __name__ == "__main__":
    main()
