#!/usr/bin/env python3
"""Pictures of docs/performance.md from what the benches wrote as JSON.

    tools/plot_speed.py docs [--table bench.json] [--serve replay.json ...]

`arc-gpu-bench --part table --out bench.json` gives decode-speed.svg: tokens per second of one sequence over its context.
`arc-gpu-bench --part serve --trace FILE --out replay.json`, or replay_bench, gives serve-latency.svg: time to the first
token and from one to the next over what the engine takes in a second.
"""

import argparse
import json
import math
import pathlib

COLOURS = ["#1f6fb4", "#d9570e", "#2b8c3e", "#8a4fa3", "#b3261e", "#6b6b6b"]
LEFT, RIGHT, TOP, BOTTOM = 70, 620, 20, 320
LINE = 13  # of text
DASHES = {"auto": "5 3", "p99": "5 3"}  # the rest is drawn through


def ticks(low, high):
    """1, 2 and 5 times powers of ten around [low, high]."""
    marks = [m * 10.0**e for e in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2) for m in (1, 2, 5)]
    first = max(m for m in marks if m <= low * 1.0001)
    last = min(m for m in marks if m >= high / 1.0001)
    return [m for m in marks if first <= m <= last]


def picture(lines, caption):
    """lines: (name, [(x, y)], colour, dashes); both axes logarithmic. A name stands where its line ends, or beside it."""
    xs, ys = ([p[i] for _, points, *_ in lines for p in points] for i in (0, 1))
    marks = [ticks(min(v), max(v)) for v in (xs, ys)]

    def place(v, axis, a, b):
        return round(a + (b - a) * math.log(v / marks[axis][0]) / max(math.log(marks[axis][-1] / marks[axis][0]), 1e-9))

    def x(v):
        return place(v, 0, LEFT, RIGHT)

    def y(v):
        return place(v, 1, BOTTOM, TOP)

    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="800" height="372" font-family="sans-serif" font-size="11">',
           '<rect width="100%" height="100%" fill="#fff"/>']
    for v in marks[0]:
        out.append(f'<path d="M{x(v)} {TOP}V{BOTTOM}" stroke="#ddd"/><text x="{x(v)}" y="338" text-anchor="middle">{v:g}</text>')
    for v in marks[1]:
        out.append(f'<path d="M{LEFT} {y(v)}H{RIGHT}" stroke="#ddd"/><text x="{LEFT - 6}" y="{y(v) + 4}" text-anchor="end">{v:g}</text>')
    at = -math.inf
    for name, points, colour, dashes in sorted(lines, key=lambda line: y(max(line[1])[1])):
        path = "L".join(f"{x(a)} {y(b)}" for a, b in sorted(points))
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dashes}"/>')
        out += [f'<circle cx="{x(a)}" cy="{y(b)}" r="3" fill="{colour}"/>' for a, b in points]
        at = max(at + LINE, y(max(points)[1]) + 4)
        out.append(f'<text x="{RIGHT + 8}" y="{at}" fill="{colour}">{name}</text>')
    out.append(f'<text x="{LEFT}" y="358">{caption}</text>')
    return "\n".join([*out, "</svg>", ""])


def decode_speed(cells, device):
    lines = {}
    for cell in cells:
        if cell.get("batch") == 1 and "tokens_per_s" in cell and cell["cache"] in ("auto", "turboquant"):
            lines.setdefault((cell["shape"], cell["cache"]), []).append((cell["context"], cell["tokens_per_s"]))
    shapes = sorted({shape for shape, _ in lines})
    return picture([(f"{shape}, {cache}", points, COLOURS[shapes.index(shape)], DASHES.get(cache, ""))
                    for (shape, cache), points in lines.items() if len(points) > 1],
                   f"tokens of context; upwards: tokens per second of one sequence ({device})")


def serve_latency(files):
    lines, colours = [], iter(COLOURS)
    for data in files:
        name = data["trace"].split("_")[0].split(".")[0]
        for key, what in (("first_token_ms", "first token"), ("token_ms", "next token")):
            colour = next(colours)
            for share in ("p50", "p99"):
                points = [(r["answer_tokens_per_s"], r[key][share]) for r in data["runs"] if r[key][share] > 0]
                if points:
                    lines.append((f"{name}, {what}, {share}", points, colour, DASHES.get(share, "")))
    return picture(lines, f"answer tokens per second; upwards: ms ({files[0]['model']})")


def main():
    parser = argparse.ArgumentParser(description="Pictures of docs/performance.md.")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--table", type=pathlib.Path)
    parser.add_argument("--serve", type=pathlib.Path, nargs="+")
    options = parser.parse_args()
    if options.table:
        rows = [json.loads(line) for line in options.table.read_text().splitlines()]
        device = next(row["device"] for row in rows if "device" in row)
        (options.folder / "decode-speed.svg").write_text(decode_speed(rows, device))
    if options.serve:
        files = [json.loads(path.read_text()) for path in options.serve]
        (options.folder / "serve-latency.svg").write_text(serve_latency(files))


if __name__ == "__main__":
    main()
