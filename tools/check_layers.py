#!/usr/bin/env python3
"""Proves the shape of the tree: dependencies between folders, rules of headers, sizes of files.

    tools/check_layers.py               check this checkout, print lines per folder and block kinds
    tools/check_layers.py --self-test   plant one violation of each rule in a temporary tree; each must be found

Exit status 1 when a rule is broken. Needs only Python's standard library.
"""

import argparse
import re
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

# What each folder may include, besides itself, the standard library and the plain types of include/arc.
# The same table as in docs/architecture.md; levels only go down.
_KERNEL = "base tensor quant sample kernels/api"
USES = {
    "include/arc": "",
    "base": "",
    "tensor": "base",
    "spec": "base",
    "quant": "base",
    "text": "base",
    "media": "base",
    "sample": "base",
    "models": "base spec",
    "kv": "base spec quant",
    "io": "base tensor quant",
    "comm": "base tensor",
    "kernels/api": "base tensor quant sample",
    "kernels/ref": _KERNEL,
    "kernels/cpu": _KERNEL,
    "kernels/cuda": _KERNEL,
    "sched": "base kv sample",
    "plan": "base tensor spec quant sample kv kernels/api",
    "weights": "base tensor spec quant io kernels/api plan",
    "exec": "base tensor quant sample kv comm kernels/api kernels/ref kernels/cpu kernels/cuda plan weights",
    "engine": "base tensor spec quant text media sample models kv io comm kernels/api kernels/ref kernels/cpu "
              "kernels/cuda sched plan weights exec",
    "serve": "base text",
    "eval": "base",
    "apps": "serve eval",
    "python": "",
}
USES = {folder: set(uses.split()) for folder, uses in USES.items()}
FREE = {"tests", "bench"}  # may include anything

# First part of a third-party include -> folders that may use it. Tests, wherever they lie, may use GoogleTest.
_SOURCES = set(USES) - {"include/arc", "python"}
THIRD_PARTY = {
    "fmt": _SOURCES,
    "nlohmann": _SOURCES,
    "spdlog": {"base"},
    "pcre2.h": {"text"},
    "xxhash.h": {"kv"},
    "boost": {"serve"},
    "CLI": {"apps"},
    "histedit.h": {"apps"},
    "pybind11": {"python"},
    "gtest": set(),
    "gmock": set(),
    "cuda": {"tensor", "quant", "sample", "comm", "kernels/cuda", "exec"},  # cuda_runtime.h and the like, NCCL
}

MAX_LINES = 600
LONG_FILES = {}  # path -> why it may be longer
MAX_BLOCK_KINDS = 30
# A model file describes; one that grows lacks a block kind.
MAX_MODEL_LINES, MAX_MEDIAN_MODEL_LINES = 150, 60

HEADERS = {".h", ".cuh"}
SOURCES = HEADERS | {".cc", ".cu", ".inl"}
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def is_test(path):
    return re.search(r"_(test|fuzz)$", path.stem) is not None


@dataclass(order=True)
class Error:
    path: str
    line: int
    rule: str
    text: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.text} [{self.rule}]"


class Tree:
    """One checkout: its source files, its arc_module() calls, and the errors found."""

    def __init__(self, root, uses=USES):
        self.root = Path(root)
        self.uses = uses
        self.errors = []

    def error(self, path, line, rule, text):
        self.errors.append(Error(str(path), line, rule, text))

    @cached_property
    def files(self):
        """Path relative to the root -> lines."""
        found = {}
        for top in ("include", "src", "apps", "python", "tests", "bench"):
            for path in sorted((self.root / top).rglob("*")):
                if path.suffix in SOURCES and path.is_file():
                    found[path.relative_to(self.root)] = path.read_text(encoding="utf-8").splitlines()
        return found

    def folder(self, path):
        """The row of the table that a source file belongs to, or None."""
        if path.parts[0] in FREE | {"apps", "python"}:
            return path.parts[0]
        if path.parts[0] == "include":
            return "include/arc" if path.parts[1] == "arc" else None
        return self.folder_of_include("/".join(path.parts[1:]))

    def folder_of_include(self, name):
        """The row of the table that `name`, as written in an #include, belongs to, or None."""
        parts = name.split("/")
        if parts[0] == "arc" and len(parts) > 1:
            return "include/arc"
        for length in (2, 1):
            folder = "/".join(parts[:length])
            if len(parts) > length and folder in self.uses and folder not in ("apps", "python"):
                return folder
        return None

    def resolve(self, name):
        """The project file that an #include names, relative to the root, or None."""
        path = Path("include" if name.startswith("arc/") else "src", name)
        return path if path in self.files else None

    @cached_property
    def modules(self):
        """Folder -> (path of its CMakeLists.txt, keyword -> words of its arc_module call)."""
        found = {}
        for path in sorted((self.root / "src").rglob("CMakeLists.txt")):
            text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
            for call in re.findall(r"\barc_module\(([^)]*)\)", text):
                words = {"NAME": [], "USES": [], "LINK": [], "TEST_USES": []}
                key = None
                for word in call.split():
                    if word in words:
                        key = word
                    elif key:
                        words[key].append(word)
                where = path.relative_to(self.root)
                folder = path.parent.relative_to(self.root / "src").as_posix()
                if words["NAME"] != [folder]:
                    self.error(where, 1, "cmake", f"arc_module names {words['NAME']} but lies in src/{folder}")
                found[folder] = (where, words)
        return found

    # --- rules ---

    def check_table(self):
        """The table itself: only known folders, no cycle."""
        done, open_ = set(), []

        def visit(folder):
            if folder in open_:
                self.error("tools/check_layers.py", 1, "cycle", "table: " + " -> ".join([*open_, folder]))
            elif folder not in done:
                open_.append(folder)
                for used in sorted(self.uses.get(folder, ())):
                    visit(used)
                open_.pop()
                done.add(folder)

        for folder in self.uses:
            visit(folder)

    def check_file_cycles(self):
        """Headers that include each other: `#pragma once` would hide it until an order of includes breaks."""
        done, open_ = set(), []

        def visit(path):
            if path in open_:
                ring = open_[open_.index(path):] + [path]
                self.error(path, 1, "cycle", "headers include each other: " + " -> ".join(map(str, ring)))
            elif path not in done:
                open_.append(path)
                for line in self.files[path]:
                    match = INCLUDE.match(line)
                    target = self.resolve(match[2]) if match else None
                    if target:
                        visit(target)
                open_.pop()
                done.add(path)

        for path in self.files:
            visit(path)

    def check_cmake(self):
        for folder, (path, words) in self.modules.items():
            if folder not in self.uses:
                self.error(path, 1, "unknown-folder", f"folder {folder} is not in the table of tools/check_layers.py")
                continue
            for used in words["USES"]:
                if used not in self.uses[folder]:
                    self.error(path, 1, "cmake", f"USES {used}: {folder} may not depend on {used}")
        built = {self.folder(p) for p in self.files if p.parts[0] == "src" and p.suffix == ".cc"} - {None}
        for folder in sorted(built - set(self.modules)):
            self.error(f"src/{folder}", 1, "cmake", "holds sources but calls no arc_module()")

    def check_include(self, path, number, bracket, name):
        folder, test = self.folder(path), is_test(path)
        if path.suffix == ".h" and name.endswith(".cuh"):
            self.error(path, number, "cuh", f'"{name}" included from a .h: device code stays in .cu and .cuh')
        if folder in FREE:
            return
        third_party = THIRD_PARTY.get("cuda" if re.match("cu(da|blas)|nccl", name) else name.split("/")[0])
        if third_party is not None:
            if folder not in third_party and not (test and name.startswith(("gtest/", "gmock/"))):
                self.error(path, number, "third-party", f'"{name}" is not for {folder}')
            return
        target = self.folder_of_include(name)
        if bracket == "<":
            if target and self.resolve(name):
                self.error(path, number, "unknown-include", f"write \"{name}\", not <{name}>")
            return
        if target is None and folder in ("apps", "python") and path.with_name(name) in self.files:
            return  # a neighbour: these folders are not under the include root
        if target is None:
            self.error(path, number, "unknown-include", f'"{name}" is neither a project folder nor a known library')
            return
        if target in (folder, "include/arc"):
            return
        words = self.modules.get(folder, (None, None))[1]
        if test and words and target in words["TEST_USES"]:
            return
        if target not in self.uses[folder]:
            self.error(path, number, "layer", f'"{name}": {folder} may not include {target}')
        elif words and target not in words["USES"]:
            self.error(path, number, "cmake", f'"{name}": {target} is missing in USES of src/{folder}/CMakeLists.txt')

    def check_file(self, path, lines):
        if self.folder(path) is None:
            self.error(path, 1, "unknown-folder", "lies in no folder of the table of tools/check_layers.py")
            return
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if match:
                self.check_include(path, number, match[1], match[2])
            if path.suffix in HEADERS | {".inl"} and re.match(r"\s*using\s+namespace\b", line):
                self.error(path, number, "using-namespace", "`using namespace` in a header")
        if path.suffix in HEADERS and "#pragma once" not in lines:
            self.error(path, 1, "pragma-once", "no `#pragma once`")
        if len(lines) > MAX_LINES and str(path) not in LONG_FILES:
            self.error(path, len(lines), "long", f"{len(lines)} lines, more than {MAX_LINES}: split it")
        has_header = path.suffix == ".cc" and path.with_suffix(".h") in self.files
        first = lines[0] if lines else ""
        if not has_header and not re.match(r"//\s*\w.{9,}", first):
            self.error(path, 1, "first-line", "the first line is not a comment that says the file's job")

    def check_long_list(self):
        for name in LONG_FILES:
            if len(self.files.get(Path(name), [])) <= MAX_LINES:
                self.error(name, 1, "long", "listed in LONG_FILES but no longer that long: remove it from the list")

    def block_kinds(self):
        """(kinds, ops): alternatives of the `...Spec` variants under src/spec, and of Args under src/kernels/api."""
        kinds, ops = set(), set()
        for path, lines in self.files.items():
            into = {"spec": kinds, "kernels/api": ops}.get(self.folder(path))
            text = re.sub(r"//.*", "", "\n".join(lines))
            for alternatives in re.findall(r"using\s+\w*(?:Spec|Args)\s*=\s*std::variant<([^;]*)>\s*;", text):
                if into is not None:
                    into |= {name.strip() for name in alternatives.split(",")} - {"std::monostate"}
        return kinds, ops

    def check_block_kinds(self):
        kinds = self.block_kinds()[0]
        if len(kinds) > MAX_BLOCK_KINDS:
            self.error("src/spec", 1, "block-kinds", f"{len(kinds)} block kinds, more than {MAX_BLOCK_KINDS}")

    @cached_property
    def model_lines(self):
        """Model file -> its lines: those of src/models that define an architecture."""
        return {path: len(lines) for path, lines in self.files.items() if self.folder(path) == "models"
                and path.suffix == ".cc" and any(line.startswith("constinit const Arch ") for line in lines)}

    def check_model_lines(self):
        for path, count in self.model_lines.items():
            if count > MAX_MODEL_LINES:
                self.error(path, count, "model-lines",
                           f"{count} lines, more than {MAX_MODEL_LINES}: it lacks a block kind")
        if self.model_lines and median(self.model_lines.values()) > MAX_MEDIAN_MODEL_LINES:
            self.error("src/models", 1, "model-lines",
                       f"half of the model files are over {MAX_MEDIAN_MODEL_LINES} lines")

    def check(self):
        self.check_table()
        self.check_cmake()
        for path, lines in self.files.items():
            self.check_file(path, lines)
        self.check_file_cycles()
        self.check_long_list()
        self.check_block_kinds()
        self.check_model_lines()
        return sorted(self.errors)

    def print_sizes(self):
        code, tests, count = Counter(), Counter(), Counter()
        for path, lines in self.files.items():
            folder = self.folder(path) or "?"
            count[folder] += 1
            (tests if is_test(path) or folder == "tests" else code)[folder] += len(lines)
        print(f"{'folder':<14}{'files':>7}{'lines':>8}{'of tests':>10}")
        for folder in [f for f in [*self.uses, *sorted(FREE), "?"] if count[f]]:
            print(f"{folder:<14}{count[folder]:>7}{code[folder]:>8}{tests[folder]:>10}")
        print(f"{'total':<14}{count.total():>7}{code.total():>8}{tests.total():>10}")
        if self.model_lines:
            print(f"model files: {len(self.model_lines)} of {median(self.model_lines.values()):g} lines in the median "
                  f"(at most {MAX_MEDIAN_MODEL_LINES}), {max(self.model_lines.values())} at most "
                  f"(at most {MAX_MODEL_LINES})")
        kinds, ops = self.block_kinds()
        print(f"block kinds: {len(kinds)} (at most {MAX_BLOCK_KINDS}); ops: {len(ops)}")


# --- self-test: a small tree without errors, then one change for each rule ---

_LLAMA = "// The plainest model of all.\nconstinit const Arch kLlama{};\n"
_CLEAN = {
    "include/arc/error.h": "// The public exception.\n#pragma once\n#include <string>\n",
    "src/base/CMakeLists.txt": "arc_module(NAME base LINK fmt::fmt)\n",
    "src/base/a.h": '// Something for all of them.\n#pragma once\n#include "arc/error.h"\n',
    "src/base/a.cc": '#include "base/a.h"\n#include "fmt/format.h"\n',
    "src/base/a_test.cc": '// Tests of a, all of them.\n#include "base/a.h"\n#include "gtest/gtest.h"\n',
    "src/kernels/api/CMakeLists.txt": "# the vocabulary\narc_module(NAME kernels/api\n  USES base tensor)\n",
    "src/kernels/api/op.h": '// Names of operations.\n#pragma once\n#include "base/a.h"\n',
    "src/kernels/cuda/gemm.cu": '// Products of matrices.\n#include "kernels/cuda/mma.cuh"\n',
    "src/kernels/cuda/mma.cuh": "// Tensor-core instructions.\n#pragma once\n",
    "src/spec/spec.h": "// A model as data.\n#pragma once\nusing MixerSpec = std::variant<std::monostate, A, B>;\n",
    "apps/main.cc": '// The program and its commands.\n#include "arc/error.h"\n#include "tty.h"\n',
    "apps/tty.h": "// Lines for a terminal.\n#pragma once\n",
    "src/models/CMakeLists.txt": "arc_module(NAME models USES base spec)\n",
    "src/models/llama.cc": _LLAMA,
    "tests/deep_test.cc": '// Whole-engine tests here.\n#include "base/a.h"\n#include "tests/help.h"\n',
}
_PLANTS = [  # rule that must be reported, file, its new text
    ("layer", "src/base/a.h", '// Something for all.\n#pragma once\n#include "spec/spec.h"\n'),
    ("layer", "src/base/a_test.cc", '// Tests of a, all of them.\n#include "spec/spec.h"\n'),
    ("layer", "apps/main.cc", '// The program itself.\n#include "base/a.h"\n'),
    ("layer", "include/arc/error.h", '// The public exception.\n#pragma once\n#include "spec/spec.h"\n'),
    ("layer", "src/kernels/cuda/mma.cuh", '// Tensor-core maths.\n#pragma once\n#include "spec/spec.h"\n'),
    ("cmake", "src/kernels/api/CMakeLists.txt", "arc_module(NAME kernels/api USES tensor)\n"),
    ("cmake", "src/kernels/api/CMakeLists.txt", "arc_module(NAME kernels/api USES base spec)\n"),
    ("cmake", "src/kernels/api/CMakeLists.txt", "arc_module(NAME api USES base)\n"),
    ("cmake", "src/kv/pool.cc", "// Blocks that nobody builds.\n"),
    ("cycle", "src/base/b.h", '// One more header here.\n#pragma once\n#include "base/c.h"\n'),
    ("cuh", "src/kernels/cuda/api.h", '// Host side of kernels.\n#pragma once\n#include "kernels/cuda/mma.cuh"\n'),
    ("third-party", "src/base/a.cc", '#include <boost/asio.hpp>\n'),
    ("third-party", "src/base/a.cc", '#include "gtest/gtest.h"\n'),
    ("third-party", "src/base/a.cc", "#include <cuda_runtime.h>\n"),
    ("third-party", "include/arc/error.h", '// The public exception.\n#pragma once\n#include "fmt/format.h"\n'),
    ("unknown-include", "src/base/a.cc", '#include "a.h"\n'),
    ("unknown-include", "src/base/a.cc", '#include <base/a.h>\n'),
    ("unknown-folder", "src/misc/a.h", "// Something without a home.\n#pragma once\n"),
    ("using-namespace", "src/base/a.h", "// Something for all.\n#pragma once\nusing namespace std;\n"),
    ("pragma-once", "src/base/a.h", "// Something for all.\n"),
    ("long", "src/base/a.h", "// Something for all.\n#pragma once\n" + "\n" * MAX_LINES),
    ("model-lines", "src/models/llama.cc", _LLAMA + "\n" * MAX_MODEL_LINES),
    ("model-lines", "src/models/llama.cc", _LLAMA + "\n" * MAX_MEDIAN_MODEL_LINES),
    ("first-line", "src/base/a.h", "#pragma once\n"),
    ("first-line", "src/base/a_test.cc", '#include "base/a.h"\n'),
    ("block-kinds", "src/spec/spec.h", "// A model as data.\n#pragma once\nusing MixerSpec = std::variant<"
     + ", ".join(f"Kind{i}" for i in range(MAX_BLOCK_KINDS + 1)) + ">;\n"),
]


def errors_of(texts, uses=USES):
    with tempfile.TemporaryDirectory() as root:
        for name, text in texts.items():
            path = Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Tree(root, uses).check()


def self_test():
    extra = {"src/base/c.h": '// One more header here.\n#pragma once\n#include "base/b.h"\n'}
    assert not errors_of(_CLEAN), errors_of(_CLEAN)
    for rule, name, text in _PLANTS:
        found = errors_of(_CLEAN | (extra if rule == "cycle" else {}) | {name: text})
        assert found and {e.rule for e in found} == {rule}, f"{name}, planted {rule}, found {found}"
    ring = USES | {"base": {"engine"}}
    assert "cycle" in {e.rule for e in errors_of(_CLEAN, ring)}, "cycle in the table not found"
    print(f"check_layers self-test: {len(_PLANTS) + 1} violations planted, all found")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--root", default=Path(__file__).resolve().parent.parent, help="checkout to look at")
    args = parser.parse_args()
    if args.self_test:
        self_test()
        return 0
    tree = Tree(args.root)
    errors = tree.check()
    tree.print_sizes()
    for error in errors:
        print(error)
    print(f"layers: {len(tree.files)} files, {len(errors)} errors")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
