#!/usr/bin/env python3
"""Compares Arc's tokenizers with the PyPI package `tokenizers`: ids of each text, and the text decoded from them.

usage: compare_tokenizers.py [--random N] [--quick] TOOL SHARED_FOLDER [NAME...]

TOOL is arc_tokenize_tool (tests/text), SHARED_FOLDER the one with data/tokenizers; NAMEs pick tokenizers there. Texts
are the WikiText-2 test set and the essays whole and by lines, the .inp files, every assigned code point in three
contexts, and N random Unicode strings (a million). Prints one line per tokenizer; exit status 1 when anything differs.
"""

import argparse
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import threading
import time
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Regex, Tokenizer, pre_tokenizers  # noqa: E402

BATCH = 10_000
UNASSIGNED = pre_tokenizers.Split(Regex(r"\p{Cn}+"), "removed")  # Python's Unicode is older than the package's
ASSIGNED = [c for piece, _ in UNASSIGNED.pre_tokenize_str("".join(chr(c) for c in range(0x110000) if c >> 11 != 0x1B))
            for c in piece]
BY_KIND = {}
for character in ASSIGNED:
    BY_KIND.setdefault(unicodedata.category(character)[0], []).append(character)
COMMON = [chr(c) for c in range(0x20, 0x7F)] + [" "] * 30 + list("\n\t\r'")
PIECES = ["'s", "'LL", "\u2581", "\u0120", "<0x0A>", "</s>", "<s>", "[MASK]", "<|endoftext|>", "<pad>", " the", "123",
          "\r\n", "\u0300", "\u0327", "\u200d", "\ufe0f", "\u094d", "\u0915", "\u1100", "\u1161", "\u11a8", "\uac00",
          "\U0001f468", "\U0001f1e9", "\u0130", "\ufb01", "\ufdfa", "\u3000", "\u00a0", "\ufeff", "\ufffd", "\x00"]


def random_text(rng):
    """Mostly common characters, or of one kind and neighbourhood, or of all kinds."""
    mode, n = rng.random(), rng.randint(1, 24)
    if mode < 0.3:
        pick = lambda: rng.choice(COMMON if rng.random() < 0.8 else PIECES)
    elif mode < 0.6:
        kind = BY_KIND[rng.choice("LLLMNPSZC")]
        start = rng.randrange(len(kind))
        pick = lambda: rng.choice(kind[start:start + 40] if rng.random() < 0.7 else COMMON)
    elif mode < 0.8:
        pick = lambda: rng.choice(BY_KIND[rng.choice("LMNPSZ")])
    else:
        pick = lambda: rng.choice(ASSIGNED) if rng.random() < 0.7 else rng.choice(PIECES)
    return "".join(pick() for _ in range(n))


def corpora(shared, n_random, quick):
    data = shared / "data"
    read = lambda path: path.read_text(encoding="utf-8")
    wiki = read(data / "text/wiki.test.raw")
    essays = [read(path) for path in sorted((data / "text/PaulGrahamEssays").glob("*.txt"))]
    inputs = [part for path in sorted((data / "gguf-vocab").glob("*.inp"))
              for part in read(path).split("\n__ggml_vocab_test__\n")]
    lines = [line + "\n" for text in [wiki] + essays for line in text.split("\n")]
    yield "texts", essays + inputs + lines + ([] if quick else [wiki])
    points = ASSIGNED[::17] if quick else ASSIGNED
    yield "code points", [around.format(c) for c in points for around in ("{}", "a{}b", "1 {0}{0} .")]
    rng = random.Random(4)
    for start in range(0, n_random, BATCH):
        yield "random", [random_text(rng) for _ in range(min(BATCH, n_random - start))]


class Tool:
    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)

    def number(self):
        data = self.process.stdout.read(4)
        if len(data) < 4:
            sys.exit(f"the tool ended: {self.process.stderr.read().decode()}")
        return struct.unpack("<I", data)[0]

    def answers(self, texts):
        """Ids and decoded text, or None where the text is refused."""
        def write():
            for text in texts:
                data = text.encode()
                self.process.stdin.write(struct.pack("<I", len(data)) + data)
            self.process.stdin.flush()

        writer = threading.Thread(target=write)
        writer.start()
        for _ in texts:
            n = self.number()
            if n == 0xFFFFFFFF:
                yield None
                continue
            ids = list(struct.unpack(f"<{n}I", self.process.stdout.read(4 * n)))
            yield ids, self.process.stdout.read(self.number()).decode()
        writer.join()


class Package:
    """`tokenizers`. It spells an added token that is normalised in its normal form when it decodes; Arc, as
    transformers, does not; so the one that decodes has no such tokens."""

    def __init__(self, path):
        document = json.loads(path.read_text(encoding="utf-8"))
        self.encoder = Tokenizer.from_str(json.dumps(document))
        self.encoder.no_truncation()
        self.encoder.no_padding()
        tokens = [{**token, "normalized": False} for token in document["added_tokens"]]
        self.decoder = Tokenizer.from_str(json.dumps({**document, "added_tokens": tokens}))

    def answers(self, texts):
        try:
            encoded = [one.ids for one in self.encoder.encode_batch(texts)]
        except Exception:  # the package's own type: one of them is refused
            if len(texts) == 1:
                return [None]
            return [self.answers([text])[0] for text in texts]
        return list(zip(encoded, self.decoder.decode_batch(encoded, skip_special_tokens=False)))


def compare_answers(name, package, tool, arguments):
    """Whether all ids and decoded texts agree. A package may have no text for some ids."""
    start, counts = time.time(), dict.fromkeys(["texts", "code points", "random"], 0)
    n_tokens = n_ids = n_decoded = 0
    for kind, texts in corpora(arguments.shared, arguments.random, arguments.quick):
        for first in range(0, len(texts), BATCH):
            batch = texts[first:first + BATCH]
            for text, want, got in zip(batch, package.answers(batch), tool.answers(batch)):
                counts[kind] += 1
                n_tokens += len(want[0]) if want else 0
                if want == got:
                    continue
                wrong_ids = want is None or got is None or want[0] != got[0]
                wrong_text = want is None or got is None or (want[1] is not None and want[1] != got[1])
                n_ids += wrong_ids
                n_decoded += wrong_text
                if (wrong_ids or wrong_text) and n_ids + n_decoded < 12:
                    print(f"  {name}: {text[:80]!r}\n    package {str(want)[:300]}\n    Arc     {str(got)[:300]}")
    print(f"{name}: {counts['texts']} texts, {counts['code points']} with code points, {counts['random']} "
          f"random; {n_tokens} tokens; {n_ids} differ in ids, {n_decoded} in decoded text "
          f"({time.time() - start:.0f} s)", flush=True)
    return n_ids + n_decoded == 0


def compare(tool_path, path, arguments):
    """Whether all agrees; so it does where both refuse the file."""
    refused = subprocess.run([tool_path, path], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    try:
        package = Package(path)
    except Exception as error:  # the package's own type
        print(f"{path.parent.name}: `tokenizers` refuses the file ({str(error)[:60]}), "
              f"Arc {'too' if refused.returncode else 'does NOT'}: {refused.stderr.decode().strip()[:120]}")
        return refused.returncode != 0
    return compare_answers(path.parent.name, package, Tool(tool_path, path), arguments)


def parse_arguments(doc):
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--random", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="a sample of the code points, and no long text")
    parser.add_argument("tool")
    parser.add_argument("shared", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    return parser.parse_args()


def main():
    arguments = parse_arguments(__doc__)
    found = [path for kind in ("tokenizers", "models")
             for path in sorted((arguments.shared / "data" / kind).glob("*/tokenizer.json"))]
    chosen = [path for path in found if not arguments.names or path.parent.name in arguments.names]
    results = [compare(arguments.tool, path, arguments) for path in chosen]
    sys.exit(0 if chosen and all(results) else 1)


if __name__ == "__main__":
    main()
