#!/usr/bin/env python3
"""Compares what ptxas says of each kernel with the store, so that no change costs registers or spills unseen.

    .ci/kernel_facts.py --release 13.0 LOG...            compares; exit status 1 when anything differs
    .ci/kernel_facts.py --release 13.0 --write LOG...    writes the store: bench/gpu/kernel_facts.tsv

LOG is what `nvcc -Xptxas -v` printed for one unit; the units of the product are those of src. Facts depend on the
compiler, so the store names its release, and another release is not compared.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

STORE = Path(__file__).resolve().parent.parent / "bench/gpu/kernel_facts.tsv"
COLUMNS = ("registers", "shared", "stack", "spill stores", "spill loads")
ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for 'sm_90a'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)\n", re.S)
SHARED = re.compile(r"(\d+) bytes smem")


def short(name):
    """A kernel's name and template arguments, without the namespaces and parameters that all have."""
    name = re.sub(r"\(anonymous namespace\)::|arc::cuda::|arc::|^void ", "", name)
    depth, end = 0, len(name)
    for i, c in enumerate(name):  # the parameters begin at the first parenthesis outside of < >
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            end = i
            break
    return re.sub(r"\((?:int|bool|unsigned int)\)", "", name[:end])


def facts_of(logs):
    """{"unit kernel": facts in the order of COLUMNS}."""
    facts = {}
    for log in logs:
        text = Path(log).read_text()
        unit = Path(log).name.removesuffix(".cu.log").removeprefix("src_kernels_cuda_")
        entries = [m.groupdict() for m in ENTRY.finditer(text)]
        names = subprocess.run(["c++filt"], input="\n".join(e["name"] for e in entries), text=True,
                               capture_output=True, check=True).stdout.splitlines()
        for entry, name in zip(entries, names):
            shared = SHARED.search(entry["rest"])
            facts[f"{unit} {short(name)}"] = (int(entry["registers"]), int(shared[1]) if shared else 0, int(entry["stack"]),
                                              int(entry["stores"]), int(entry["loads"]))
    return facts


def read_store():
    """(the compiler's release, facts)."""
    head, *rows = STORE.read_text().splitlines()
    cells = [row.split("\t") for row in rows[1:]]
    return head.removeprefix("# nvcc release "), {row[0]: tuple(map(int, row[1:])) for row in cells}


def write_store(release, facts):
    rows = ["\t".join([name, *map(str, values)]) for name, values in sorted(facts.items())]
    STORE.write_text("\n".join([f"# nvcc release {release}", "\t".join(["kernel", *COLUMNS]), *rows]) + "\n")


def differences(was, now):
    for name in sorted(was.keys() | now.keys()):
        if name not in was:
            yield f"new: {name}: " + ", ".join(f"{v} {c}" for v, c in zip(now[name], COLUMNS) if v)
        elif name not in now:
            yield f"gone: {name}"
        elif was[name] != now[name]:
            yield f"changed: {name}: " + ", ".join(
                f"{c} {a} -> {b}" for c, a, b in zip(COLUMNS, was[name], now[name]) if a != b)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--release", required=True, help="the compiler's release, as 13.0")
    parser.add_argument("logs", nargs="+")
    args = parser.parse_args()
    facts = facts_of(args.logs)
    if args.write:
        write_store(args.release, facts)
        return 0
    release, stored = read_store()
    if release != args.release:
        print(f"kernel facts: not compared (the store is of nvcc {release}, this is {args.release})")
        return 0
    lines = list(differences(stored, facts))
    print("\n".join(lines + [f"kernel facts: {len(facts)} kernels, {len(lines)} differ from bench/gpu/kernel_facts.tsv"]))
    if lines:
        print("if that is meant: .ci/kernel_facts.py --write --release", release, "build/cuda-objects/src_*.log")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
