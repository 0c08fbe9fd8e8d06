#!/usr/bin/env python3
"""Speed of Arc's tokenizers beside the package `tokenizers`, one core each, rounds in turn; medians of CPU seconds.

    compare.py BENCH TEXT_FILE MODEL_FOLDER...      BENCH: the program tokenize_bench

Per folder and cut (the text whole, or line by line): MB/s of both, whether the ids agree, and Arc's time for 1 MB of one
repeated letter and for twice that.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers  # noqa: E402

ROUNDS = 5


class Arc:
    def __init__(self, bench, folder, text, *how):
        command = [bench, str(folder), str(text), *how]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.load_s = float(self.process.stdout.readline())

    def round(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        encode_s, decode_s, *counts = self.process.stdout.readline().split()
        return float(encode_s), float(decode_s), [int(count) for count in counts]

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def theirs(tokenizer, texts):
    begin = time.process_time()
    encoded = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    encode_s = time.process_time() - begin
    place, total = 0, 0
    for one in encoded:
        for token in one.ids:
            place += 1
            total += token * place
    return encode_s, [place, total % 2**64]


def compare(bench, folder, text_file, how):
    text = text_file.read_text()
    texts = text.splitlines(keepends=True) if how else [text]
    assert not how or texts == [line + "\n" for line in text.split("\n")[:-1]] + [line for line in text.split("\n")[-1:] if line]
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    arc = Arc(bench, folder, text_file, *how)
    ours, decode, others = [], [], []
    for _ in range(ROUNDS):
        encode_s, decode_s, (n_tokens, _, total) = arc.round()
        other_s, counts = theirs(tokenizer, texts)
        ours.append(encode_s)
        decode.append(decode_s)
        others.append(other_s)
    arc.end()
    mb = len(text.encode()) / 1e6
    speed = [mb / statistics.median(times) for times in (ours, decode, others)]
    same = "same ids" if [n_tokens, total] == counts else "DIFFERENT IDS"
    print(f"{folder.name:20} {'lines' if how else 'whole':6} encode {speed[0]:7.2f} MB/s, decode {speed[1]:7.2f}; "
          f"tokenizers {speed[2]:6.2f} MB/s, x{speed[0] / speed[2]:.1f}; {n_tokens} tokens, {same}; load {arc.load_s:.2f} s")


def repeated(bench, folder):
    seconds = []
    for size in (1_000_000, 2_000_000):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("a" * size)
            file.flush()
            arc = Arc(bench, folder, file.name)
            seconds.append(arc.round()[0])
            arc.end()
    print(f"{folder.name:20} one letter: 1 MB {seconds[0]:.3f} s, 2 MB {seconds[1]:.3f} s")


def main():
    bench, text_file, *folders = sys.argv[1:]
    print(f"tokenizers {tokenizers.__version__}, load {os.getloadavg()[0]:.1f}")
    for folder in map(pathlib.Path, folders):
        compare(bench, folder, pathlib.Path(text_file), [])
        compare(bench, folder, pathlib.Path(text_file), ["lines"])
        repeated(bench, folder)


if __name__ == "__main__":
    main()
