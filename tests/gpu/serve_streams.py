#!/usr/bin/env python3
"""Many streams at once on `arc serve`: every answer must be the one that the same request got alone.

    tests/gpu/serve_streams.py [--arc PROGRAM] [--streams 256] [--seconds 300] [--log FILE] [-- OPTIONS OF ARC SERVE]

First each case (a prompt with its sampling, greedy or sampled with a seed) is asked alone, twice. Then the streams ask
for random cases until the time is over: most as server-sent events, some as whole answers, half with their token ids;
some clients leave in the middle. In the end the server's own counters must account for every request, and nothing may
still run. Exit status: 0 all is right, 1 something is wrong. Needs only Python's standard library and Linux.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

WORDS = """the a weather alarm bread river code light story friend small green quickly because under number seven light
train letter music garden question answer window winter system function value list of to and in with for""".split()
LEAVES, WHOLE, TOKEN_IDS = 0.08, 0.1, 0.5  # shares of the requests
KEPT = 5  # differences that are told in full
ENDS = ("finished", "cancelled", "failed")
OPTIONS = "--executor cuda --max-seqs 256 --max-seq-len 1024 --kv-memory 128MB".split()  # for speed ask for 512MB


def make_cases(n, most_tokens, randomness):
    """Requests. Every third prompt begins like the one before; every third case is sampled."""
    cases, prompt = [], ""
    for i in range(n):
        shared = prompt[: len(prompt) // 2] if i % 3 == 1 else ""
        prompt = shared + " ".join(randomness.choices(WORDS, k=randomness.choice([3, 12, 60, 240])))
        case = {"prompt": prompt, "max_tokens": randomness.randint(1, most_tokens), "temperature": 0}
        if i % 3 == 2:
            case |= {"temperature": 0.9, "top_p": 0.95, "seed": 1000 + i}
        if i % 5 == 4:
            case["ignore_eos"] = True
        cases.append(case)
    return cases


# ---- HTTP ----------------------------------------------------------------------------------------------------------


class Connection:
    """One connection that stays open; after any failure it is closed, and the next request opens another."""

    def __init__(self, port):
        self.port, self.reader, self.writer = port, None, None

    async def send(self, method, path, body=None):
        """The status, once the answer's head is there."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        data = b"" if body is None else json.dumps(body).encode()
        head = [f"{method} {path} HTTP/1.1", "Host: x", "Content-Type: application/json",
                f"Content-Length: {len(data)}", "", ""]
        self.writer.write("\r\n".join(head).encode() + data)
        await self.writer.drain()
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1])

    async def chunk(self):
        """The next piece of a chunked body; empty at its end."""
        size = int(await self.reader.readline(), 16)
        data = await self.reader.readexactly(size + 2)
        return data[:-2]

    async def body(self):
        if "content-length" in self.headers:
            return await self.reader.readexactly(int(self.headers["content-length"]))
        pieces = []
        while piece := await self.chunk():
            pieces.append(piece)
        return b"".join(pieces)

    def close(self, reset=False):
        if self.writer is None:
            return
        if reset:
            self.writer.transport.abort()
        else:
            self.writer.close()
        self.writer = None


async def metrics(port):
    connection = Connection(port)
    await connection.send("GET", "/metrics")
    text = (await connection.body()).decode()
    connection.close()
    return {name: float(value) for name, value in re.findall(r"^arc_(\w+) (\S+)$", text, re.M)}


# ---- one request ---------------------------------------------------------------------------------------------------


def request_of(case, stream, token_ids):
    body = case | {"stream": stream}
    if token_ids:
        body |= {"logprobs": 0, "return_tokens_as_token_ids": True}
    return body


def answer_of(body, stream):
    """Text, token ids (None where they were not asked for), reason of the end."""
    if stream:
        events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
        if not events or events.pop() != b"[DONE]":
            raise ValueError("the stream has no end")
        events = [json.loads(event) for event in events]
    else:
        events = [json.loads(body)]
    text, ids, finish = [], [], None
    for event in events:
        if "error" in event:
            raise ValueError(f"an error: {event['error']}")
        for choice in event["choices"]:
            text.append(choice["text"])
            finish = choice["finish_reason"] or finish
            if choice.get("logprobs"):
                ids += choice["logprobs"]["tokens"]
    return "".join(text), ids or None, finish


def parting(what, got, wanted):
    """Where two lists or texts that are not the same part."""
    at = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b), min(len(got), len(wanted)))
    return (f"{len(got)} {what} instead of {len(wanted)}, other from {at} on: "
            f"{got[at:at + 5]!r} instead of {wanted[at:at + 5]!r}")


def difference(got, expected):
    """Empty, or where an answer parts from the one that came alone."""
    (text, ids, finish), (wanted_text, wanted_ids, wanted_finish) = got, expected
    if ids is not None and ids != wanted_ids:
        return parting("tokens", ids, wanted_ids)
    if text != wanted_text:
        return parting("characters", text, wanted_text)
    return "" if finish == wanted_finish else f"ended with {finish} instead of {wanted_finish}"


async def ask(connection, case, stream=True, token_ids=True):
    status = await connection.send("POST", "/v1/completions", request_of(case, stream, token_ids))
    body = await connection.body()
    if status != 200:
        raise ValueError(f"status {status}: {body[:200]!r}")
    return answer_of(body, stream)


# ---- the streams ---------------------------------------------------------------------------------------------------


async def one_request(connection, cases, expected, randomness, counts, told):
    i = randomness.randrange(len(cases))
    stream, token_ids = randomness.random() >= WHOLE, randomness.random() < TOKEN_IDS
    counts["sent"] += 1
    if randomness.random() < LEAVES:
        await connection.send("POST", "/v1/completions", request_of(cases[i], True, token_ids))
        for _ in range(randomness.randrange(12)):
            if not await connection.chunk():
                break
        connection.close(reset=randomness.random() < 0.5)
        counts["left"] += 1
        return
    wrong = difference(await ask(connection, cases[i], stream, token_ids), expected[i])
    counts["whole"] += 1
    counts["tokens"] += len(expected[i][1])
    counts["with token ids"] += token_ids
    counts["sampled"] += cases[i]["temperature"] > 0
    if wrong:
        counts["wrong"] += 1
        told.append(f"case {i}: {wrong}")


async def client(port, cases, expected, seed, end, counts, told):
    randomness, connection = random.Random(seed), Connection(port)
    while time.monotonic() < end:
        try:
            await one_request(connection, cases, expected, randomness, counts, told)
        except (OSError, EOFError, ValueError, KeyError) as e:
            counts["broken"] += 1
            told.append(f"{type(e).__name__}: {e}")
            connection.close()
            await asyncio.sleep(0.1)
    connection.close()


def run_clients(port, cases, expected, seeds, end, results):
    """A process: as many clients as there are seeds."""
    counts, told = Counter(), []

    async def run():
        await asyncio.gather(*(client(port, cases, expected, seed, end, counts, told) for seed in seeds))

    asyncio.run(run())
    results.put((counts, told[:KEPT]))


def all_streams(port, cases, expected, n_streams, seconds):
    end = time.monotonic() + seconds
    n_processes = max(1, min(8, (os.cpu_count() or 1) // 2))
    results = multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=run_clients,
                                args=(port, cases, expected, range(p, n_streams, n_processes), end, results))
        for p in range(n_processes)
    ]
    for process in processes:
        process.start()
    counts, told = Counter(), []
    for _ in processes:
        some, lines = results.get(timeout=seconds + 120)
        counts += some
        told += lines
    for process in processes:
        process.join()
    return counts, told[:KEPT]


# ---- the server ----------------------------------------------------------------------------------------------------


def start_server(arc, options, log):
    """The process and its port."""
    server = subprocess.Popen([arc, "serve", "-p", "0", *options], stdout=log, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        if found := re.search(r"listening on http://[^ ]*:(\d+)/v1", Path(log.name).read_text(errors="replace")):
            return server, int(found.group(1))
        time.sleep(0.1)
    server.kill()
    sys.exit(f"arc serve did not start:\n{Path(log.name).read_text(errors='replace')}")


async def settled(port):
    """The counters once nothing runs any more, or as they are after 60 s."""
    for _ in range(600):
        now = await metrics(port)
        if now["requests_running"] == now["requests_waiting"] == 0:
            return now
        await asyncio.sleep(0.1)
    return now


async def alone(port, cases):
    """Answers of each case asked alone, a second time through the prefix cache."""
    connection, answers = Connection(port), []
    for i, case in enumerate(cases):
        answers.append(await ask(connection, case))
        if wrong := difference(await ask(connection, case, stream=False), answers[-1]):
            sys.exit(f"alone and asked again, case {i} parts: {wrong}")
    connection.close()
    return answers


def accounts(counts, before, after):
    """What the server's counters say against what the clients saw; what is not as it should be."""
    d = {name: after[name] - before[name] for name in after}
    rules = {
        "every request that was sent was accepted": d["requests_total"] == counts["sent"],
        "each has one end": d["requests_total"] == sum(d[f"requests_{end}_total"] for end in ENDS),
        "what the clients read whole was finished": d["requests_finished_total"] >= counts["whole"],
        "only those were cancelled whose clients left": d["requests_cancelled_total"] <= counts["left"],
        "none failed": d["requests_failed_total"] == 0,
        "none was refused": d["requests_refused_total"] == 0,
        "none still runs": after["requests_running"] == after["requests_waiting"] == 0,
    }
    return d, [rule for rule, holds in rules.items() if not holds]


def run(server, port, args):
    cases = make_cases(args.cases, args.max_tokens, random.Random(args.seed))
    start = time.monotonic()
    expected = asyncio.run(alone(port, cases))
    n_tokens = sum(len(answer[1]) for answer in expected)
    print(f"{len(cases)} cases alone, twice: {n_tokens} tokens each time, {time.monotonic() - start:.1f} s", flush=True)
    before = asyncio.run(metrics(port))
    start = time.monotonic()
    counts, told = all_streams(port, cases, expected, args.streams, args.seconds)
    seconds = time.monotonic() - start
    if server.poll() is not None:
        print(f"the server died with status {server.returncode}")
        return 1
    d, broken_rules = accounts(counts, before, asyncio.run(settled(port)))
    print(f"{args.streams} streams, {seconds:.0f} s: {counts['sent']} requests, {counts['whole']} answers read whole "
          f"({counts['sampled']} sampled, {counts['with token ids']} with token ids), {counts['left']} clients left")
    print(f"wrong {counts['wrong']}, broken {counts['broken']}; {counts['tokens'] / seconds:.0f} tokens/s read, "
          f"{d['generated_tokens_total'] / seconds:.0f} generated")
    print("server: " + ", ".join(f"{name.removesuffix('_total')} {d[name]:.0f}" for name in sorted(d)
                                 if name.endswith("_total")))
    steps, execute, host = (d[name] for name in ("steps_total", "execute_seconds_total", "host_seconds_total"))
    print(f"{steps / seconds:.0f} steps/s of {d['generated_tokens_total'] / steps:.1f} tokens; each {1e3 * execute / steps:.2f} ms "
          f"in the executor and {1e6 * host / steps:.0f} us around it")
    for line in told:
        print(f"  {line}")
    for rule in broken_rules:
        print(f"  NOT SO: {rule}")
    good = counts["whole"] > 0 and not (counts["wrong"] or counts["broken"] or broken_rules)
    print("every request complete and right" if good else "FAILED")
    return 0 if good else 1


def main():
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Many streams at once on arc serve.")
    parser.add_argument("--arc", default=here / "arc", help="the program; default: beside this file")
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--cases", type=int, default=36, help="different requests")
    parser.add_argument("--max-tokens", type=int, default=200, help="of the longest answer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", default="serve.log", help="what the server says")
    parser.add_argument("options", nargs="*", default=OPTIONS,
                        help=f"of arc serve, behind --; default: {' '.join(OPTIONS)}, less cache than the streams want")
    args = parser.parse_args()
    with open(args.log, "w") as log:
        server, port = start_server(str(args.arc), args.options, log)
        try:
            status = run(server, port, args)
            server.send_signal(signal.SIGTERM)
            if (end := server.wait(timeout=60)) != 0:
                print(f"the server ended with status {end}")
                status = 1
        finally:
            server.kill()
    return status


if __name__ == "__main__":
    sys.exit(main())
