#!/usr/bin/env python3
"""Compares speeds on a GPU with those kept: which cells and products lost more than 4% of their share of the ceiling.

    tools/compare_speeds.py bench.jsonl [--store bench/gpu/speeds.tsv]     exit status 1: something became slower
    tools/compare_speeds.py bench.jsonl --update                           keep what this run has from now on

bench.jsonl is what `arc-gpu-bench --part table --out bench.jsonl` writes; several files add up. Shares are compared, not times: each is
of the ceiling that its own run measured, so that boards of one kind in another state compare. The store has a line for each kind of
device and cell; `--update` replaces those that the run has and leaves the others.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from gpu_tables import Results

LOSS = 0.04
HEAD = "device\tshape or weights\tcache\tbatch (0: a prompt)\tcontext or size\tshare\n"


def measured(paths: list[str]) -> dict[tuple[str, ...], float]:
    """{(device, shape or weights, cache or "-", batch, context or size): share}"""
    results = Results(paths)
    devices = {machine["device"] for machine in results.machines}
    if len(devices) != 1:
        sys.exit(f"compare_speeds: runs of one kind of device, please, not of {sorted(devices)}")
    device = devices.pop()
    speeds = {(device, shape, cache, str(batch), str(context)): cell["share"]
              for (shape, cache, batch, context), cell in results.cells.items() if "share" in cell}
    for (code, batch, out, width), product in results.products.items():
        speeds[device, code, "-", str(batch), f"{out}x{width}"] = product["share"]
    return speeds


def read_store(path: pathlib.Path) -> dict[tuple[str, ...], float]:
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
    return {tuple(fields[:-1]): float(fields[-1]) for line in lines if len(fields := line.split("\t")) == 6}


def write_store(path: pathlib.Path, speeds: dict[tuple[str, ...], float]) -> None:
    path.write_text(HEAD + "".join("\t".join(key) + f"\t{share:.4f}\n" for key, share in speeds.items()), encoding="utf-8")


def compare(now: dict, kept: dict) -> list[str]:
    """Prints what changed and returns those that are slower."""
    common = [key for key in now if key in kept]
    slower = []
    for key in common:
        change = now[key] / kept[key] - 1
        if abs(change) > LOSS:
            line = f"{' '.join(key[1:])}: {100 * kept[key]:.1f}% -> {100 * now[key]:.1f}% of the ceiling"
            print(("SLOWER  " if change < 0 else "faster  ") + line)
            if change < 0:
                slower.append(line)
    print(f"{len(common)} speeds compared, {len(slower)} slower by more than {100 * LOSS:.0f}%; {len(now) - len(common)} are not in the store")
    return slower


def self_test() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run, store = pathlib.Path(folder, "bench.jsonl"), pathlib.Path(folder, "speeds.tsv")
        run.write_text('{"device": "D", "read_ceiling_gb_s": 1.0}\n'
                       '{"shape": "s", "cache": "auto", "batch": 1, "context": 512, "ms": 1.0, "share": 0.9}\n'
                       '{"code": "Q4_K", "batch": 1, "out": 8, "in": 4, "us": 1.0, "share": 0.5}\n')
        now = measured([str(run)])
        write_store(store, now)
        kept = read_store(store)
        assert kept == now and len(now) == 2, kept
        assert not compare(now, kept)
        cell, product = kept
        assert len(compare({**now, cell: 0.9 * 0.97}, kept)) == 0
        assert len(compare({**now, cell: 0.9 * 0.95}, kept)) == 1
        assert len(compare({**now, product: 0.6}, kept)) == 0
    print("self-test: ok")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", help="bench.jsonl of one kind of device")
    parser.add_argument("--store", type=pathlib.Path, default=HERE.parent / "bench/gpu/speeds.tsv")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    if not options.runs:
        parser.error("which bench.jsonl?")
    now, kept = measured(options.runs), read_store(options.store)
    slower = compare(now, kept)
    if options.update:
        write_store(options.store, {**kept, **now})
    elif slower:
        sys.exit(1)


if __name__ == "__main__":
    main()
