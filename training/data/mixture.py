"""Batches of packed documents: every batch is a pure function of (seed, index), so a run can stop and go on anywhere.

A document is a list of (text, loss weight) parts. Documents fill rows of a fixed length without being cut; the rest of a row is
filled with plain text. The families' shares are shares of tokens.
"""
import functools
import json
import lzma
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers

sys.path.insert(0, str(Path(__file__).resolve().parent))
import arc
import chat
import definitions
import dialogue
import extraction
import numbers_and_dates
import patterns
import phrasing
import pools
import retrieval
import tools
import wide
import wide_extraction
import wide_tools

MIN_GAP = 24  # tokens: a row with less space than this is filled up with plain text


@dataclass(frozen=True)
class Mixture:
    """Shares of tokens by family, and loss weights in percent: of plain text, of what the assistant only reads, and of what it says. Families
    of which few tokens are answers are `doubled`: there, what it says counts twice."""

    shares: dict
    text: int = 60
    read: int = 8
    said: int = 100
    doubled: tuple = ("retrieval",)

    def weight(self, family):
        return self.said * (2 if family in self.doubled else 1)


DOUBLED = ("wide needles", "wide calls", "retrieval", "calls", "sessions")
# The two stages of training, each while contexts are short and when they are long.
STAGES = {
    "first": (Mixture({"text": 14, "retrieval": 25, "stretch": 7, "copying": 7, "calls": 10, "answers": 1.5, "sessions": 11, "extraction": 13, "arithmetic": 2.5,
                       "conversion": 1, "dates": 2, "definition": 1, "arc": 5, "chat": 2}),
              Mixture({"text": 12, "retrieval": 42, "stretch": 4, "copying": 4, "calls": 7, "answers": 1, "sessions": 7, "extraction": 9, "arithmetic": 2.5,
                       "conversion": 1, "dates": 2, "definition": 1, "arc": 5, "chat": 2})),
    "second": (Mixture({"text": 4, "wide extraction": 24, "extraction": 4, "wide calls": 24, "calls": 3, "sessions": 3, "answers": 1.5, "wide needles": 14, "retrieval": 4, "stretch": 2,
                        "wide cases": 2, "copying": 4, "arithmetic": 2.5, "conversion": 1.2, "dates": 2, "definition": 1, "arc": 5, "chat": 2}, text=30, read=1, doubled=DOUBLED),
               Mixture({"text": 4, "wide extraction": 18, "extraction": 3, "wide calls": 18, "calls": 2, "sessions": 2, "answers": 1, "wide needles": 29, "retrieval": 8, "stretch": 1.5,
                        "wide cases": 1, "copying": 3, "arithmetic": 2.5, "conversion": 1.2, "dates": 2, "definition": 1, "arc": 5, "chat": 2}, text=30, read=1, doubled=DOUBLED)),
}
# Tokens of a usual document; others are shorter.
SIZES = {"calls": 400, "answers": 450, "sessions": 1100, "extraction": 150, "retrieval": 200, "stretch": 200, "wide extraction": 200, "wide calls": 900, "wide needles": 200, "wide cases": 200}
EXCHANGES = ("copying", "extraction", "arithmetic", "conversion", "dates", "definition", "arc", "chat")  # may be chained into one conversation


class Sources:
    """What the generators draw from: prose, WordNet, the facts about Arc. The folder is what data/corpus.py wrote."""

    def __init__(self, folder):
        folder = Path(folder)
        documents = [json.loads(line)["text"] for line in lzma.open(folder / "text.jsonl.xz", "rt", encoding="utf-8")]
        self.documents = {split: [] for split in pools.SPLITS}
        for text in documents:
            self.documents["held" if pools.stable_hash(text) % 33 == 0 else "train"].append(text)
        self.filler = retrieval.Filler(self.documents)
        self.dictionary = definitions.Dictionary(json.loads(lzma.open(folder / "wordnet.json.xz").read()))
        for pool, words in self.dictionary.names().items():
            pool.fill(words)
        pools.WORDS.fill(self.dictionary.words, pools.held_words())
        pools.TERMS.fill(terms(self.documents["train"]), pools.held_words())
        pools.SPANS.parts = self.documents
        self.arc = arc.Facts(Path(__file__).resolve().parent.parent / "arc_facts.toml")

    def exchange(self, family, rng, split):
        make = {"copying": patterns.copying, "extraction": extraction.extraction, "arithmetic": numbers_and_dates.arithmetic,
                "conversion": numbers_and_dates.conversion, "dates": numbers_and_dates.dates, "chat": chat.chat, "calls": tools.function_calls,
                "answers": tools.tool_answers, "sessions": tools.tool_session}
        if family == "arc":
            return arc.question(rng, split, self.arc)
        made = definitions.definition(rng, split, self.dictionary) if family == "definition" else make[family](rng, split)
        first = next(message for message in made.messages if message["role"] == "user")
        if family != "chat" and len(first["content"]) > 20:
            first["content"] = phrasing.opened(rng, split, first["content"])
        return made

    def conversation(self, family, rng):
        """A training dialogue of a family, sometimes with more exchanges before or after and with a system prompt."""
        made = self.exchange(family, rng, "train")
        messages, tool_list = made.messages, made.tools
        if family in EXCHANGES and messages[0]["role"] != "system":
            while rng.random() < 0.45:
                more = self.exchange(family if rng.random() < 0.5 else rng.choice(EXCHANGES), rng, "train").messages
                if more[0]["role"] == "system":
                    break
                messages = more + messages if rng.random() < 0.5 else messages + more
            if rng.random() < 0.35:
                messages = [dialogue.system(chat.SYSTEMS.draw(rng, "train")), *messages]
        return dialogue.Dialogue(messages, tool_list)

    def document(self, family, rng, limit, mixture):
        """Parts of one training document of at most about `limit` tokens."""
        said, read = mixture.weight(family), mixture.read
        if family == "text":
            return [(rng.choice(self.documents["train"]) + dialogue.END_OF_TEXT, mixture.text)]
        if family in ("stretch", "wide cases"):
            make = functools.partial(patterns.stretch, split="train") if family == "stretch" else wide.cases
            parts = make(rng, n_tokens=context_length(rng, limit))
            return [*((text, said if learned else read) for text, learned in parts), (dialogue.END_OF_TEXT, said)]
        if family in ("retrieval", "wide needles"):
            n_tokens = context_length(rng, limit)
            made = retrieval.retrieval(rng, "train", n_tokens, self.filler) if family == "retrieval" else wide.needles(rng, n_tokens, self.filler)
            if rng.random() < 0.3 and made.messages[0]["role"] != "system":
                made.messages.insert(0, dialogue.system(chat.SYSTEMS.draw(rng, "train")))
        elif family == "wide extraction":
            made = wide_extraction.dialogue(rng)
        elif family == "wide calls":
            made = wide_tools.function_calls(rng)
        else:
            made = self.conversation(family, rng)
        return [(text, said if learned else read) for text, learned in dialogue.segments(made.messages, made.tools)]


def terms(documents):
    """What the documents have besides plain words: every distinct name, abbreviation, identifier, path of every fourth one."""
    found = {}
    for text in documents[::4]:
        found.update(dict.fromkeys(re.findall(r"(?<![\w./-])(?=[\w./-]*[A-Z_\d./-])[A-Za-z][\w./-]{1,18}[A-Za-z\d](?![\w./-])", text)))
    return list(found)


def context_length(rng, limit):
    """Tokens that a retrieval context aims at: every fifth fills most of the limit, the others spread evenly over the logarithm."""
    return int(limit * rng.uniform(0.75, 1.0) if rng.random() < 0.2 else 150 * (limit * 0.95 / 150) ** rng.random())


class Packer:
    def __init__(self, sources, tokenizer_file, n_rows, row_length, seed):
        self.sources, self.n_rows, self.row_length, self.seed = sources, n_rows, row_length, seed
        self.tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_file))

    def encode(self, parts):
        """(tokens, weights) of one document."""
        encoded = self.tokenizer.encode_batch_fast([text for text, _ in parts], add_special_tokens=False)
        tokens = np.concatenate([np.array(item.ids, np.uint16) for item in encoded])
        weights = np.concatenate([np.full(len(item.ids), weight, np.uint8) for item, (_, weight) in zip(encoded, parts)])
        return tokens, weights

    def batch(self, index, mixture, max_context):
        """Arrays [rows, length]: tokens (uint16), loss weight in percent of predicting that token (uint8), document number (uint16)."""
        rng = random.Random(f"{self.seed}/{index}")
        rows = [[] for _ in range(self.n_rows)]
        space = [self.row_length] * self.n_rows
        shares = mixture.shares
        used = dict.fromkeys(shares, 0.0)
        while max(space) >= MIN_GAP:
            limit = min(max(space), max_context)
            family = min((name for name in shares if SIZES.get(name, 0) <= limit), key=lambda name: used[name] / shares[name])
            tokens, weights = self.encode(self.sources.document(family, rng, limit, mixture))
            if len(tokens) > limit and family in ("retrieval", "wide needles"):
                tokens, weights = self.encode(self.sources.document(family, rng, limit * limit // len(tokens), mixture))
            if family in ("text", "stretch", "wide cases"):
                tokens, weights = tokens[:limit], weights[:limit]
            fits = [i for i in range(self.n_rows) if space[i] >= len(tokens)]
            if len(tokens) > max_context or not fits:
                # Too long: plain text in its place, which may be cut.
                tokens, weights = self.encode(self.sources.document("text", rng, limit, mixture))
                tokens, weights = tokens[:limit], weights[:limit]
                fits = [i for i in range(self.n_rows) if space[i] >= len(tokens)]
            row = min(fits, key=lambda i: space[i])  # the fullest one: empty rows are kept for long documents
            rows[row].append((tokens, weights))
            space[row] -= len(tokens)
            used[family] += len(tokens)
        return self.arrays(rows)

    def arrays(self, rows):
        shape = (self.n_rows, self.row_length)
        tokens, weights, documents = np.zeros(shape, np.uint16), np.zeros(shape, np.uint8), np.zeros(shape, np.uint16)
        for i, parts in enumerate(rows):
            at = 0
            for number, (row_tokens, row_weights) in enumerate(parts):
                end = at + len(row_tokens)
                tokens[i, at:end], weights[i, at:end], documents[i, at:end] = row_tokens, row_weights, number
                weights[i, at] = 0  # the first token of a document has nothing to be predicted from
                at = end
            documents[i, at:] = len(parts)  # the gap: a document of its own with no loss
        return tokens, weights, documents


def worker(packer, plan, first, stride, queue):
    """Puts the batches first, first + stride, ... into the queue; plan(index) gives (mixture, max_context) or None at the end."""
    index = first
    while (stage := plan(index)) is not None:
        queue.put(packer.batch(index, *stage))
        index += stride


class Stream:
    """Batches in order from worker processes, starting at any index. Must be created before CUDA is initialised (fork)."""

    def __init__(self, packer, plan, start, n_workers):
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self.queues = [context.Queue(maxsize=3) for _ in range(n_workers)]
        self.processes = [context.Process(target=worker, args=(packer, plan, start + i, n_workers, queue), daemon=True)
                          for i, queue in enumerate(self.queues)]
        for process in self.processes:
            process.start()
        self.next = 0

    def get(self):
        batch = self.queues[self.next % len(self.queues)].get(timeout=300)
        self.next += 1
        return batch

    def close(self):
        for process in self.processes:
            process.terminate()
