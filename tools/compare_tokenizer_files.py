#!/usr/bin/env python3
"""Compares Arc with the packages behind tokenizer files other than tokenizer.json: ids of each text, and decoded text.

usage: compare_tokenizer_files.py [--random N] [--quick] TOOL SHARED_FOLDER [NAME...]

TOOL, SHARED_FOLDER and the texts are those of compare_tokenizers.py. Compared are
* SentencePiece models (`sentencepiece`): real ones, and ones trained here with every option;
* tiktoken and tekken files (`tiktoken`, `mistral-common`) with the ranks of real tokenizers;
* GGUF files (written with `gguf` as converters do) with real tokenizers, against their tokenizer.json (`tokenizers`);
  T5's against `sentencepiece` with the same pieces: `tokenizers` applies its rules to clusters of characters instead.
"""

import base64
import json
import pathlib
import sys
import tempfile

import gguf
from sentencepiece import sentencepiece_model_pb2
from compare_tokenizers import Package, Tool, compare_answers, parse_arguments
from tokenizer_files import SentencePiece, rank_files, ranks_of, sentencepiece_files

MARK = "\u2581"
GGUF = [  # name, tokenizer.ggml.model, .pre, other keys
    ("gpt2", "gpt2", "gpt-2", {}), ("llama-3.2", "gpt2", "llama-bpe", {"bos_token_id": 128000}),
    ("qwen3", "gpt2", "qwen2", {}), ("smollm2", "gpt2", "smollm", {}),
    ("phi-3-mini", "llama", None, {"eos_token_id": 32000, "add_bos_token": False}),
    ("bert-base-uncased", "bert", None, {}), ("t5-small", "t5", None, {}),
]


class OneByOne:
    def __init__(self, package):
        self.package = package

    def answers(self, texts):
        encoded = [self.package.encode(text) for text in texts]
        return [(ids, self.package.decode(ids)) for ids in encoded]


def write_gguf(document, model, pre, keys, path):
    pieces, kind = {}, gguf.TokenType
    vocabulary = document["model"]["vocab"]
    merges = [one.split(" ") if isinstance(one, str) else one for one in document["model"].get("merges", [])]
    ranks = {}
    for pair in merges:
        ranks.setdefault("".join(pair), len(ranks))
    scored = vocabulary if isinstance(vocabulary, list) else sorted(
        ([text, -ranks.get(text, 0), i] for text, i in vocabulary.items()), key=lambda row: row[2])
    for i, (text, score, *place) in enumerate(scored):
        if model == "bert" and not (text.startswith("[") and text.endswith("]")):
            text = text[2:] if text.startswith("##") else MARK + text
        is_byte = model == "llama" and len(text) == 6 and text.startswith("<0x")
        pieces[place[0] if place else i] = (text, score, kind.BYTE if is_byte else kind.NORMAL)
    for token in document["added_tokens"]:
        pieces[token["id"]] = (token["content"], -1000, kind.CONTROL if token["special"] else kind.USER_DEFINED)
    rows = [pieces.get(i, (f"[PAD{i}]", -1000, kind.UNUSED)) for i in range(max(pieces) + 1)]
    writer = gguf.GGUFWriter(path, "phi3" if "phi-3" in str(path) else "llama")
    writer.add_tokenizer_model(model)
    if pre:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list([text for text, _, _ in rows])
    writer.add_token_types([token_type for _, _, token_type in rows])
    if model in ("llama", "t5"):
        writer.add_token_scores([float(score) for _, score, _ in rows])
    if model == "gpt2":
        writer.add_token_merges([" ".join(pair) for pair in merges])
    if model == "t5":
        writer.add_precompiled_charsmap(base64.b64decode(document["normalizer"]["precompiled_charsmap"]))
    for key, value in keys.items():
        (writer.add_bool if isinstance(value, bool) else writer.add_uint32)(f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def sentencepiece_of(document):
    """The SentencePiece model that a tokenizer.json of Unigram came from."""
    proto = sentencepiece_model_pb2.ModelProto()
    special = {token["content"] for token in document["added_tokens"]}
    unk = document["model"]["unk_id"]
    for i, (text, score) in enumerate(document["model"]["vocab"]):
        kind = proto.SentencePiece.UNKNOWN if i == unk else proto.SentencePiece.CONTROL
        proto.pieces.add(piece=text, score=score, type=kind if text in special else proto.SentencePiece.NORMAL)
    proto.trainer_spec.model_type = proto.trainer_spec.UNIGRAM
    proto.trainer_spec.unk_id, proto.trainer_spec.bos_id = unk, -1
    proto.normalizer_spec.precompiled_charsmap = base64.b64decode(document["normalizer"]["precompiled_charsmap"])
    return SentencePiece(proto.SerializeToString())


def folders(data, scratch):
    """(name, files, package), in plain mode: special tokens neither added nor parsed."""
    for path in sorted((data / "tokenizers").glob("*/tokenizer.model")):
        yield f"{path.parent.name}.model", {path.name: path.read_bytes()}, SentencePiece(path.read_bytes())
    lines = (data / "text/wiki.test.raw").read_text(encoding="utf-8").split("\n")
    sentences = [line for line in lines if line.strip() and len(line) < 2000][:1500]
    for rule in ("nmt_nfkc", "nmt_nfkc_cf"):
        for name, files, package in sentencepiece_files(sentences, scratch / "rules.tsv", 2000, rule):
            yield f"{name}.{rule}", files, package
    for real in ("llama-3.2", "qwen3"):
        document = json.loads((data / f"tokenizers/{real}/tokenizer.json").read_text(encoding="utf-8"))
        for name, files, package in rank_files(ranks_of(document["model"]["vocab"])):
            yield f"{name} with the ranks of {real}", files, package


def main():
    arguments, results = parse_arguments(__doc__), []
    data = arguments.shared / "data"
    wanted = lambda name: not arguments.names or any(part in name for part in arguments.names)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name, files, package in folders(data, scratch):
            if not wanted(name):
                continue
            folder = scratch / "folder"
            folder.mkdir()
            for file, content in files.items():
                (folder / file).write_bytes(content)
            tool = Tool(arguments.tool, folder, "plain")
            results.append(compare_answers(name, OneByOne(package), tool, arguments))
            for file in files:
                (folder / file).unlink()
            folder.rmdir()
        for name, model, pre, keys in GGUF:
            source = data / "tokenizers" / name / "tokenizer.json"
            path = scratch / f"{name}.gguf"
            if not wanted(path.name):
                continue
            document = json.loads(source.read_text(encoding="utf-8"))
            write_gguf(document, model, pre, keys, path)
            if model == "t5":
                package, tool = OneByOne(sentencepiece_of(document)), Tool(arguments.tool, path, "plain")
            else:
                package, tool = Package(source), Tool(arguments.tool, path)
            results.append(compare_answers(path.name, package, tool, arguments))
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()
