#!/usr/bin/env python3
"""Proves that a CPU kernel file compiled for one instruction set leaves nothing that others could pick up.

    tools/check_isa_symbols.py build/release  check src/kernels/cpu/isa/*.cc as that build folder compiles them
    tools/check_isa_symbols.py --self-test    compile toys with and without the fault

An inline function of a header (std::vector, std::sort, a helper of base/) compiled with AVX-512 flags is a weak symbol,
and the linker may keep that copy for the whole program, which then dies on older machines. So an object of
isa/avx512.cc may hold weak symbols of namespace arc::cpu::avx512 only. Optimised code inlines most of them away and
hides the fault until the day it doesn't: each file is compiled again here with -O0. Needs python3, nm, and
compile_commands.json of the build folder.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ISA_FOLDER = "src/kernels/cpu/isa"
# Weak by the C++ ABI and only a pointer to the runtime's own routine.
HARMLESS = re.compile(r"^DW\.ref\.__gxx_personality_v0$")


def foreign_symbols(obj, isa):
    """Weak definitions in `obj` outside namespace arc::cpu::<isa>, mangled."""
    # Mangled names count the letters of each part, so "4avx2" cannot be the start of another namespace's name.
    own = re.compile(rf"^_Z(GV|T[VTISC])?[NZKrV]*3arc3cpu{len(isa)}{isa}")
    listing = subprocess.run(["nm", "--defined-only", obj], capture_output=True, text=True, check=True).stdout
    found = []
    for line in listing.splitlines():
        kind, name = line.split()[-2:]
        if kind in "WwVvu" and not own.match(name) and not HARMLESS.match(name):
            found.append(name)
    return found


def demangled(names):
    filt = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return filt.stdout.splitlines()


def compile_unoptimised(command, directory, obj):
    """Runs a compile command with its optimisation and output replaced."""
    words = shlex.split(command)
    out = words.index("-o")
    words = [w for w in words[:out] + words[out + 2:] if not re.match(r"-O.?$", w)]
    subprocess.run([*words, "-O0", "-o", obj], cwd=directory, check=True)


def check(build):
    database = Path(build, "compile_commands.json")
    if not database.exists():
        sys.exit(f"{database} is missing: configure the build folder first (cmake --preset release)")
    entries = [e for e in json.loads(database.read_text()) if Path(e["file"]).parent.as_posix().endswith(ISA_FOLDER)]
    if not entries:
        print("isa symbols: nothing to check")
        return 0
    faults = 0
    with tempfile.TemporaryDirectory() as temp:
        for entry in entries:
            isa = Path(entry["file"]).stem
            obj = str(Path(temp, isa + ".o"))
            compile_unoptimised(entry["command"], entry["directory"], obj)
            names = foreign_symbols(obj, isa)
            faults += len(names)
            for name in demangled(names):
                print(f"{ISA_FOLDER}/{isa}.cc: weak symbol outside arc::cpu::{isa}: {name}")
    print(f"isa symbols: {len(entries)} files, {faults} foreign weak symbols")
    return 1 if faults else 0


_CLEAN_TOY = """
namespace arc::cpu::avx2 {
struct Lane { float v[8]; virtual ~Lane() {} };
template <typename T> T twice(T x) { static T calls = 0; calls += x; return calls + x; }
inline float helper(const Lane& a) { return twice(a.v[0]); }
float kernel(const Lane* a) { Lane b = *a; return helper(b); }
}
"""
_FAULTY_TOY = """
#include <algorithm>
#include <vector>
namespace arc::cpu::avx2 {
void kernel(float* a, int n) { std::vector<float> b(a, a + n); std::sort(b.begin(), b.end()); a[0] = b[0]; }
}
"""
_NEIGHBOUR_TOY = """
namespace arc::cpu { inline int shared(int x) { return x; } }
namespace arc::cpu::avx2 { int kernel() { return shared(1); } }
"""


def self_test():
    with tempfile.TemporaryDirectory() as temp:
        counts = []
        for i, text in enumerate((_CLEAN_TOY, _FAULTY_TOY, _NEIGHBOUR_TOY)):
            source, obj = Path(temp, f"avx2_{i}.cc"), str(Path(temp, f"{i}.o"))
            source.write_text(text)
            compile_unoptimised(f"c++ -std=c++20 -O2 -mavx2 -c {source} -o unused.o", temp, obj)
            counts.append(len(foreign_symbols(obj, "avx2")))
    clean, faulty, neighbour = counts
    assert clean == 0, f"{clean} symbols reported in a clean file"
    assert faulty > 10, f"only {faulty} symbols found in a file that sorts a std::vector"
    assert neighbour == 1, "an inline function of the enclosing namespace was not found"
    print(f"check_isa_symbols self-test: clean 0, with std::sort and std::vector {faulty}, shared helper {neighbour}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("build", nargs="?", help="configured build folder")
    args = parser.parse_args()
    if args.self_test:
        self_test()
        return 0
    if not args.build:
        parser.error("name a build folder")
    return check(args.build)


if __name__ == "__main__":
    sys.exit(main())
