#!/usr/bin/env python3
"""Arc beside llama.cpp on this machine's CPU, in turns, as one table in Markdown.

    python3 bench/cpu/beside_llama.py --arc build/release/arc --llama-bench path/to/llama-bench \
        --model BF16=folder,file.bf16.gguf --model Q8_0=file.q8_0.gguf --model Q4_K_M=file.q4_k_m.gguf

In each round both programs measure the same file: prefill, then decoding of one sequence behind each context, llama.cpp
with and without flash attention where the cache is long; the better one counts. Speeds are medians over the rounds, in
tokens per second. Shares are of the read ceiling (decode) and of the matrix peak (prefill) that `arc bench` measures
between its repetitions. Then the first model decodes beside one other busy process, and under each instruction set.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

LONG_CONTEXT = 1024  # from here on llama.cpp runs with both settings of -fa
INSTRUCTION_SETS = ["scalar", "avx2", "avx512", "avx512_bf16"]


def run_json(command, env=None):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def arc(options, model, prompt, context, n, env=None):
    """[(test name, tokens/s, share of its ceiling)] of one process."""
    report = run_json([options.arc, "bench", "-m", model, "-p", str(prompt), "-n", str(n), "--context", str(context),
                       "--pa-cache-type", "auto", "-r", str(options.repetitions), "-t", str(options.threads), "--json"], env)
    return report["runs_on"], [(test_name(r["test"], r["context"] if r["test"] == "decode" else prompt),
                                r["tokens_per_second"]["median"], r["share"]) for r in report["results"]]


def test_name(kind, size):
    return f"prefill {size}" if kind == "prefill" else f"decode at {size}"


def llama(options, model, prompt, context, n, flash_attention):
    """[(test name, tokens/s)]; llama-bench decodes behind `-d` tokens, and its prefill starts at 0."""
    base = [options.llama_bench, "-m", model, "-t", str(options.threads), "-r", str(options.repetitions), "-fa",
            str(flash_attention), "-o", "json"]
    found = []
    if prompt:
        row, = run_json([*base, "-p", str(prompt), "-n", "0"])
        found.append((test_name("prefill", prompt), row["avg_ts"]))
    if n:
        row, = run_json([*base, "-p", "0", "-n", str(n), "-d", str(context)])
        found.append((test_name("decode", context), row["avg_ts"]))
    return found


def compare(options, name, arc_model, llama_model):
    ours, shares, theirs = {}, {}, {}
    for i in range(options.rounds):
        for context in options.contexts:
            prompt = options.prompt if context == options.contexts[0] else 0
            progress(f"{name}, round {i + 1} of {options.rounds}, context {context}")
            for test, speed, share in arc(options, arc_model, prompt, context, options.n)[1]:
                ours.setdefault(test, []).append(speed)
                shares.setdefault(test, []).append(share)
            for setting in (0, 1) if context >= LONG_CONTEXT else (0,):
                for test, speed in llama(options, llama_model, prompt, context, options.n, setting):
                    theirs.setdefault(test, {}).setdefault(setting, []).append(speed)
    for test in ours:
        mine = statistics.median(ours[test])
        setting, other = max(((s, statistics.median(v)) for s, v in theirs[test].items()), key=lambda x: x[1])
        note = f" (-fa {setting})" if len(theirs[test]) > 1 else ""
        ratio = statistics.median(a / b for a, b in zip(ours[test], theirs[test][setting]))
        print(f"| {name} | {test} | {mine:.1f} | {statistics.median(shares[test]):.1%} | {other:.1f}{note} | {ratio:.2f} |",
              flush=True)


def beside_a_busy_process(options, model):
    def decode():
        return arc(options, model, 0, options.contexts[0], options.n)[1][0][1]
    alone, beside = [], []
    for i in range(options.rounds):
        progress(f"one busy process, round {i + 1} of {options.rounds}")
        alone.append(decode())
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
            beside.append(decode())
            busy.kill()
    fair = options.threads / (options.threads + 1)
    print(f"\nBeside one busy process: {statistics.median(beside):.1f} of {statistics.median(alone):.1f} tokens/s, "
          f"{statistics.median(beside) / statistics.median(alone):.0%}; its part of the processors is {fair:.0%}.\n")


def each_instruction_set(options, model):
    print("| instruction set | prefill 64, tokens/s | decode, tokens/s | runs on |\n|---|---|---|---|")
    for name in INSTRUCTION_SETS:
        progress(f"instruction set {name}")
        where, tests = arc(options, model, 64, options.contexts[0], 16, {"ARC_CPU_ISA": name})
        print(f"| {name} | {tests[0][1]:.1f} | {tests[1][1]:.1f} | {where} |", flush=True)


def progress(text):
    print(text, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arc", default="build/release/arc")
    parser.add_argument("--llama-bench", default="llama-bench")
    parser.add_argument("--model", action="append", required=True, metavar="NAME=ARC[,LLAMA]")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--contexts", type=lambda s: [int(x) for x in s.split(",")], default=[64, 2048])
    parser.add_argument("-n", type=int, default=64, help="tokens decoded")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    models = []
    for text in options.model:
        name, _, paths = text.partition("=")
        ours, _, theirs = paths.partition(",")
        models.append((name, ours, theirs or ours))
    print("| weights | test | Arc | share of ceiling | llama.cpp | ratio |\n|---|---|---|---|---|---|")
    for model in models:
        compare(options, *model)
    beside_a_busy_process(options, models[0][1])
    each_instruction_set(options, models[0][1])


if __name__ == "__main__":
    main()
