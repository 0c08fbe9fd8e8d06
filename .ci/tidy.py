#!/usr/bin/env python3
"""Runs clang-tidy on what changed, then on as much of the rest as a time limit allows.

    .ci/tidy.py BUILD_FOLDER --seconds 120 --jobs 2

Changed is what differs from the parent commit, and for a header one source file that includes it. The rest comes in an
order that depends on the commit, so that every file has its turn. Exit status 1 when a changed file has findings; those
of the others are printed, to be mended with the next change there.
"""

import argparse
import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def git(*words):
    """Lines that git prints; none when it fails (no parent commit)."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()


def includer(header, units):
    """A unit that shows `header` to clang-tidy: its own .cc, or the first that includes it, or None."""
    own = header.with_suffix(".cc")
    if own in units:
        return own
    name = Path(*header.parts[1:]).as_posix()
    return next((Path(f) for f in git("grep", "-l", "--untracked", f'#include "{name}"', "--", "*.cc")
                 if Path(f) in units), None)


def ordered(units):
    """(changed units, the others in a random order that depends on the commit only)."""
    changed = set()
    for name in git("diff", "--name-only", "HEAD^") + git("ls-files", "--others", "--exclude-standard"):
        path = Path(name)
        changed.add(includer(path, units) if path.suffix == ".h" else path)
    first = sorted(changed & units)
    rest = sorted(units - changed)
    random.Random("".join(git("rev-parse", "HEAD"))).shuffle(rest)
    return first, rest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="folder with compile_commands.json, configured for clang")
    parser.add_argument("--seconds", type=float, default=120, help="start no file after this time")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()

    database = json.loads(Path(args.build, "compile_commands.json").read_text())
    units = {Path(entry["file"]).relative_to(ROOT) for entry in database}
    changed, rest = ordered(units)
    deadline = time.monotonic() + args.seconds

    def tidy(unit):
        """None when there was no time, else what clang-tidy found."""
        if time.monotonic() > deadline:
            return None
        run = subprocess.run(["clang-tidy-19", "--quiet", "-p", args.build, str(unit)], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return run.stdout if run.returncode else ""

    with ThreadPoolExecutor(args.jobs) as pool:
        results = list(pool.map(tidy, changed + rest))
    for text in sorted(set(filter(None, results))):
        print(text.rstrip())
    done = [r is not None for r in results]
    bad = [sum(1 for r in part if r) for part in (results[:len(changed)], results[len(changed):])]
    print(f"clang-tidy: {sum(done[:len(changed)])} of {len(changed)} changed files, findings in {bad[0]}; "
          f"{sum(done[len(changed):])} of {len(rest)} others, findings in {bad[1]}")
    return 1 if bad[0] else 0


if __name__ == "__main__":
    sys.exit(main())
