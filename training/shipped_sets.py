"""Makes the sets that `arc eval` takes when none is named: share/arc/eval/{tasks,needle,text}.jsonl.

    python training/shipped_sets.py --data DIR

They hold only what this project has written: the text and the filler are its documents, and the tasks leave out word definitions. The model
has seen neither. They stay small: a context is told as ranges of the filler's paragraphs (`pack`), and there are fewer dialogues per task
than in the sets of evaluate.py, on which the model card's figures stand.
"""
import argparse
import json
import random
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(HERE / "data")]

import tokenizers

import dialogue
import heldout
import mixture
import pools
import retrieval

TASKS = [task for task in heldout.TASKS if task != "definition"]  # its answers are WordNet's
DOCUMENTS = ("README.md", "docs/*.md", "docs/decisions/*.md")


def paragraphs(path):
    """The prose of a document: no code, no tables, no headings."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
    return [part for part in found if len(part) > 80 and part[0] not in "#|<*-" and part.count("`") <= 12]


class Filler:
    """The paragraphs in order, from a random one on; small runs of them are what `pack` likes."""

    def __init__(self, texts):
        self.texts, self.at = texts, 0

    def paragraph(self, rng, _split):
        if rng.random() < 0.02:
            self.at = rng.randrange(len(self.texts))
        self.at = (self.at + 1) % len(self.texts)
        return self.texts[self.at]


def pack(text, places):
    """The text as texts and [begin, end) of paragraphs of the filler, a blank line apart."""
    packed = []
    for part in text.split("\n\n"):
        place = places.get(part)
        if place is not None and packed and isinstance(packed[-1], list) and packed[-1][1] == place:
            packed[-1][1] = place + 1
        elif place is not None:
            packed.append([place, place + 1])
        elif packed and isinstance(packed[-1], str):
            packed[-1] += "\n\n" + part
        else:
            packed.append(part)
    return packed


def write(path, lines):
    path.write_text("".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines))
    print(path.name, path.stat().st_size, "bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--documents", type=Path, default=ROOT)
    parser.add_argument("--out", type=Path, default=ROOT / "share" / "arc" / "eval")
    parser.add_argument("--n", type=int, default=50, help="dialogues per task")
    parser.add_argument("--tries", type=int, default=10, help="per cell of the needle grid")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    sources = mixture.Sources(options.data)
    tokenizer = tokenizers.Tokenizer.from_file(str(options.data / "tokenizer.json"))
    found = {path: paragraphs(path) for pattern in DOCUMENTS for path in sorted(options.documents.glob(pattern))}
    texts = list(dict.fromkeys(text for part in found.values() for text in part))
    pools.SPANS.parts = {split: ["\n\n".join(texts)] for split in pools.SPLITS}  # quoted runs of words

    def line(task, made):
        data = json.loads(heldout.as_line(made, task))
        return {key: value for key, value in data.items() if value not in ([], None)}

    write(options.out / "text.jsonl", [{"text": "\n\n".join(part)} for part in found.values() if part])
    write(options.out / "tasks.jsonl", [line(task, made) for task in TASKS for made in heldout.task_set(sources, task, options.n)])
    sources.filler = Filler(texts)
    places = {text: i for i, text in enumerate(texts)}
    lines = [line("needle", made) for made in heldout.needle_set(sources, lambda text: len(tokenizer.encode(text).ids), tries=options.tries)]
    for one in lines:
        one["depth"] = round(one["depth"], 3)
        one["messages"][0]["content"] = pack(one["messages"][0]["content"], places)
    write(options.out / "needle.jsonl", [{"filler": texts}, *lines])


if __name__ == "__main__":
    main()
