"""Trains the tokenizer on the fetched text and on generated dialogues, and completes the data folder.

    python training/data/corpus.py --cache CACHE --out DIR
    python training/data/prepare.py --data DIR
"""
import argparse
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import dialogue
import mixture
from tokenizer import train_tokenizer


def training_texts(sources, n_dialogues):
    """Plain text and dialogues of every family, the latter so that keys, names and the template's words get tokens."""
    rng = random.Random("tokenizer")
    yield from sources.documents["train"]
    families = [family for family in mixture.STAGES["first"][0].shares if family not in ("text", "stretch", "retrieval")]
    for i in range(n_dialogues):
        made = sources.conversation(families[i % len(families)], rng)
        yield "".join(text for text, _ in dialogue.segments(made.messages, made.tools))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--dialogues", type=int, default=24000)
    options = parser.parse_args()
    sources = mixture.Sources(options.data)
    tokenizer = train_tokenizer(training_texts(sources, options.dialogues), options.vocab_size)
    tokenizer.save(str(options.data / "tokenizer.json"))
    sample = "\n\n".join(sources.documents["held"][:200])
    print(f"{options.vocab_size} tokens, {len(sample.encode()) / len(tokenizer.encode(sample).ids):.2f} bytes per token on held-out text")


if __name__ == "__main__":
    main()
