#!/usr/bin/env python3
"""Makes tests/goldens/text/files.json: small tokenizer.model, tekken and tiktoken files, and what the packages
sentencepiece, mistral-common and tiktoken make of our own texts with them. And where tokenizer_files_fuzz and
gguf_vocabulary_fuzz start from.

usage: make_file_golden.py
"""

import base64
import json
import pathlib
import tempfile

from make_text_golden import OUT, SENTENCES, TESTS
from tokenizer_files import MADE_WITH, USERS, rank_files, sentencepiece_files, train_ranks

TRAINING = [text for text in SENTENCES if "\x00" not in text and sum(c > "\u00ff" for c in text) < 4]
TEXTS = [text for text in SENTENCES if len(text) < 34] + USERS + [
    "the  tool<tool>the <tool> ab cd ab  cd", "A ch\u00e9t\u20ac5 \ufb01 \u3000 c\u0301", " \u2581\u2581 \u2581", "112 12 2",
]


def write_seed(name, files, text):
    """One byte for the kind, one for the length of the text, the text, the file."""
    folder = TESTS / "fuzz" / "tokenizer_files_fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"tokenizer.model": b"s", "tekken.json": b"k"}
    file_name, data = next(iter(files.items()))
    kind = b"t" if name == "llama3" else kinds.get(file_name, b"t")
    (folder / name).write_bytes(kind + bytes([len(text.encode())]) + text.encode() + data)


def write_gguf_seeds():
    """Small vocabularies of every kind, as JSON objects with the keys of GgufVocabulary and a text."""
    folder = TESTS / "fuzz" / "gguf_vocabulary_fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    specials, marks = ["<unk>", "<s>", "</s>"], ["\u2581", "a", "b", "\u2581a", "ab", "\u2581ab"]
    pieces = {"tokens": specials + marks + ["<x>"], "scores": [0, 0, 0, -1, -2, -3, -4, -5, -6, 0],
              "token_type": [2, 3, 3] + [1] * 6 + [4], "text": " ab<x> a</s>c", "bos_token_id": 1, "eos_token_id": 2}
    bytes_too = [f"<0x{byte:02X}>" for byte in range(256)]
    files = {
        "llama": {"model": "llama", **pieces},
        "llama_bytes": {"model": "llama", **pieces, "tokens": pieces["tokens"] + bytes_too, "add_space_prefix": False,
                        "scores": pieces["scores"] + [0] * 256, "token_type": pieces["token_type"] + [6] * 256},
        "phi3": {"model": "llama", **pieces, "strips_after_added": True, "add_eos_token": True},
        "t5": {"model": "t5", **pieces, "unknown_token_id": 0, "remove_extra_whitespaces": False},
        "bert": {"model": "bert", "tokens": ["[UNK]", "[CLS]", "[SEP]", "\u2581un", "aff", "\u2581,"], "text": "Unaff, x",
                 "token_type": [3, 3, 3, 1, 1, 1], "unknown_token_id": 0, "bos_token_id": 1, "seperator_token_id": 2},
    }
    for pre in ("gpt-2", "llama-bpe", "qwen2", "smollm", "deepseek-llm", "deepseek-v3", "falcon", "gpt-4o", "kimi-k2",
                "bloom", "superbpe", "tiny_aya", "chameleon", "default"):
        files[pre] = {"model": "gpt2", "pre": pre, "tokens": ["a", "b", "\u0120", "ab", "1", "<|im_end|>"],
                      "merges": ["a b"], "token_type": [1, 1, 1, 1, 1, 3], "text": "ab 1<|im_end|>"}
    for name, file in files.items():
        (folder / f"{name}.json").write_text(json.dumps(file) + "\n")


def main():
    entries = []
    write_gguf_seeds()
    with tempfile.TemporaryDirectory() as folder:
        made = list(sentencepiece_files(TRAINING,
                                        pathlib.Path(folder) / "rules.tsv", 360, "identity"))
    made += rank_files(train_ranks(SENTENCES, 360))
    for name, files, package in made:
        cases = []
        for text in TEXTS:
            ids = package.encode(text)
            decoded = package.decode(ids)
            cases.append([text, ids] + ([] if decoded == text else [decoded]))
        entries.append({"name": name, "cases": cases,
                        "files": {file: base64.b64encode(data).decode() for file, data in files.items()}})
        write_seed(name, files, "Once 12 \u00e9t<s>\u2581")
    document = {"made_with": MADE_WITH, "tokenizers": entries}
    path = OUT / "files.json"
    path.write_text(json.dumps(document, separators=(",", ":")) + "\n")
    print(f"{len(entries)} tokenizers, {len(TEXTS)} texts, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
