#!/usr/bin/env python3
"""Tables for docs/gpu.md and docs/performance.md from what tests/gpu/run_all.sh leaves behind.

    tools/gpu_tables.py check.jsonl bench.jsonl [MORE.jsonl...]

Files of several runs add up: of a check, a pair or a cell that stands in more than one, the last counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable


class Results:
    """Lines of all files: of arc-gpu-check rows of checks, of arc-gpu-bench cells and products; of both the machine."""

    def __init__(self, paths: Iterable[str]):
        self.machines: list[dict] = []
        self.checks: dict[tuple, dict] = {}
        self.cells: dict[tuple, dict] = {}
        self.products: dict[tuple, dict] = {}
        for path in paths:
            with open(path, encoding="utf-8") as file:
                for line in file:
                    if line.endswith("\n"):  # else it was cut off
                        self._take(json.loads(line))

    def _take(self, row: dict) -> None:
        if "device" in row:
            self.machines.append(row)
        elif "check" in row:
            self.checks[row["suite"], row["check"]] = row
        elif "cache" in row:
            self.cells[row["shape"], row["cache"], row.get("batch", 0), row["context"]] = row
        elif "code" in row:
            self.products[row["code"], row["batch"], row["out"], row["in"]] = row

    def pairs(self) -> list[dict]:
        return [pair for row in self.checks.values() for pair in row.get("pairs", [])]


def in_order(values: Iterable) -> list:
    return list(dict.fromkeys(values))


def table(head: list[str], rows: Iterable[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def check_tables(results: Results) -> str:
    families: dict[str, list[dict]] = {}
    for row in results.checks.values():
        families.setdefault(row["suite"].split("/")[0], []).append(row)

    def line(name: str, rows: list[dict]) -> list:
        skipped = [row for row in rows if row["skipped"]]
        failed = [row for row in rows if not row["ok"]]
        shares = [row["share"] for row in rows if "share" in row]
        worst = f"{max(shares):.3g}" if shares else "equal bits"
        return [name, len(rows) - len(failed) - len(skipped), len(failed), len(skipped), worst]

    text = table(["suites", "well", "failed", "skipped", "worst share of a bound"],
                 [line(name, rows) for name, rows in families.items()])
    for row in results.checks.values():
        if not row["ok"]:
            text += f"\nfailed: {row['suite']}, {row['check']}: {'; '.join(row['details'])}\n"
    return text


def pair_tables(pairs: list[dict]) -> str:
    def reasons(some: list[dict]) -> str:
        why = [pair["skipped"].removeprefix("stays uncompressed: ") for pair in some if pair["skipped"]]
        return "; ".join(f"{why.count(reason)}: {reason}" for reason in in_order(why))

    def line(name: str, some: list[dict]) -> list:
        compared = [pair["share"] for pair in some if not pair["skipped"]]
        return [name, len(compared), f"{max(compared, default=0):.3f}", reasons(some)]

    text = table(["pairs of", "compared", "worst share", "left out"], [line("all", pairs)])
    for what, title in (("architecture", "architecture"), ("format", "weights"), ("cache", "cache")):
        names = in_order(pair[what] for pair in pairs)
        if what == "architecture":
            names.sort()
        text += "\n" + table([title, "compared", "worst share", "left out"],
                             [line(name, [pair for pair in pairs if pair[what] == name]) for name in names])
    return text


def cell_text(cell: dict | None) -> str:
    if cell is None:
        return "-"
    if "ms" not in cell:
        return cell["words"]
    ms = f"{cell['ms']:.2f}" if "batch" in cell else f"{cell['ms']:.0f}"
    return f"{ms} ms, {100 * cell['share']:.1f}%" + ("" if cell.get("same", True) else " WRONG")


def speed_tables(results: Results) -> str:
    text = ""
    shapes = in_order(key[0] for key in results.cells)
    caches = in_order(key[1] for key in results.cells)
    places = sorted({key[2:] for key in results.cells}, key=lambda place: (place[0] == 0, place))
    for cache in caches:
        def name(batch: int, context: int) -> str:
            return f"{batch}, {context}" if batch else f"a prompt of {context}"

        rows = [[name(*place), *(cell_text(results.cells.get((shape, cache, *place))) for shape in shapes)]
                for place in places if any((shape, cache, *place) in results.cells for shape in shapes)]
        text += f"\n`{cache}`:\n\n" + table(["batch, context", *shapes], rows)
    measured = [cell for cell in results.cells.values() if "ms" in cell]
    decoded = [cell for cell in measured if "decoded" in cell]
    text += (f"\n{len(results.cells)} cells: {len(measured)} measured, {len(results.cells) - len(measured)} do not fit; "
             f"{sum(cell['decoded'] * cell['batch'] for cell in decoded)} tokens decoded in leases, "
             f"{sum(cell['checked'] * cell['batch'] for cell in decoded)} of them once more in single steps, "
             f"{sum(not cell['same'] for cell in decoded)} cells differ\n")
    if results.products:
        sizes = in_order(key[2:] for key in results.products)
        text += "\n" + table(
            ["weights", "batch", *(f"{out} x {width}" for out, width in sizes)],
            [[code, batch, *(f"{p['us']:.1f}, {100 * p['share']:.0f}%"
                             if (p := results.products.get((code, batch, *size))) else "-" for size in sizes)]
             for code, batch in in_order(key[:2] for key in results.products)])
    return text


def main(paths: list[str]) -> None:
    if not paths or paths[0].startswith("-"):
        sys.exit(__doc__)
    results = Results(paths)
    for machine in results.machines:
        print(", ".join(f"{key} {value}" for key, value in machine.items()))
    if results.checks:
        print("\n" + check_tables(results))
    if pairs := results.pairs():
        print(pair_tables(pairs))
    if results.cells:
        print(speed_tables(results))


if __name__ == "__main__":
    main(sys.argv[1:])
