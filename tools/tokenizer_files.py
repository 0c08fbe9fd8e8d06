"""Tokenizer files other than tokenizer.json, made small or from real ones, and the packages that say what they mean.

Each maker gives (name, {file name: bytes} of a model folder, package). A package encodes text without special tokens,
and decodes ids.
"""

import base64
import io
import json

import mistral_common
import sentencepiece
import tiktoken
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

MADE_WITH = (f"sentencepiece {sentencepiece.__version__}, tiktoken {tiktoken.__version__}, "
             f"mistral-common {mistral_common.__version__}")
NFC = normalizers.NFC()  # Python's own is of an older Unicode
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + REST
QWEN = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + REST
LOWER, UPPER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
FRONT, END = r"[^\r\n\p{L}\p{N}]?", CONTRACTIONS + "?"
KIMI = r"[\p{Han}]+|" + FRONT + UPPER + "*" + LOWER + "+" + END + "|" + FRONT + UPPER + "+" + LOWER + "*" + END + (
    r"|\p{N}{1,3}|" + REST)
TEKKEN = (FRONT + UPPER + "*" + LOWER + "+|" + FRONT + UPPER + "+" + LOWER + "*").replace(r"&&[^\p{Han}]", "") + (
    r"|\p{N}|" + REST.replace("[\\r\\n]*", "[\\r\\n/]*"))


# ---- SentencePiece --------------------------------------------------------------------------------------------------


class SentencePiece:
    def __init__(self, model):
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    def encode(self, text):
        return self.processor.encode(text)

    def decode(self, ids):
        """None where the package writes a sign of its own for what is unknown."""
        return None if self.processor.unk_id() in ids else self.processor.decode(ids)


USERS = ["<tool>", "\u2581\u2581", "ab cd", "the", "\u00e9t", "12"]
PLAIN = {"add_dummy_prefix": False, "remove_extra_whitespaces": False}
KEEP = {"remove_extra_whitespaces": False}
RULES = "41\t61\n20AC\t45 55 52 20\n63 68\t6B\n63\t73\nFB01\t66 69\n3000\t20\n0301\t\n"
SENTENCEPIECE = [
    ("bpe", {"model_type": "bpe"}),
    ("bpe_bytes", {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", **KEEP}),
    ("bpe_users", {"model_type": "bpe", "byte_fallback": True, "user_defined_symbols": USERS, **PLAIN}),
    ("bpe_users_spaces", {"model_type": "bpe", "user_defined_symbols": USERS, "control_symbols": ["<c>"]}),
    ("bpe_suffix", {"model_type": "bpe", "treat_whitespace_as_suffix": True}),
    ("bpe_rules", {"model_type": "bpe", "rules": RULES, "split_digits": True}),
    ("unigram", {}),
    ("unigram_bytes", {"byte_fallback": True, "normalization_rule_name": "identity", **KEEP}),
    ("unigram_users", {"user_defined_symbols": USERS}),
    ("unigram_users_bytes", {"user_defined_symbols": USERS, "byte_fallback": True, **PLAIN}),
    ("unigram_suffix", {"treat_whitespace_as_suffix": True, **KEEP}),
    ("unigram_rules", {"rules": RULES, "split_by_whitespace": False, "max_sentencepiece_length": 8}),
    ("unigram_unescaped", {"edit": "unescaped", **PLAIN}),
    ("unigram_unused", {"edit": "unused"}),
]


def train_sentencepiece(sentences, options, rules_file, vocab_size):
    """Standard rules are large: small models have the identity instead."""
    options = dict(options)
    vocab_size += 256 * options.get("byte_fallback", False)
    edit, rules = options.pop("edit", None), options.pop("rules", None)
    if rules:
        rules_file.write_text(rules)
        options["normalization_rule_tsv"] = str(rules_file)
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=out, vocab_size=vocab_size, hard_vocab_limit=False,
        character_coverage=0.98, minloglevel=2, num_threads=1, **options)
    proto = sentencepiece_model_pb2.ModelProto.FromString(out.getvalue())
    if edit == "unescaped":
        proto.normalizer_spec.escape_whitespaces = False
    if edit == "unused":
        for piece in proto.pieces[20::3]:
            piece.type = piece.UNUSED
    return proto.SerializeToString()


def sentencepiece_files(sentences, rules_file, vocab_size, rule_name):
    for name, options in SENTENCEPIECE:
        if "rules" not in options:
            options = {"normalization_rule_name": rule_name, **options}
        model = train_sentencepiece(sentences, options, rules_file, vocab_size)
        yield name, {"tokenizer.model": model}, SentencePiece(model)


# ---- ranks: tiktoken and tekken --------------------------------------------------------------------------------------


def byte_of_character():
    """The byte-level alphabet."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in shown]
    return {chr(c): byte for c, byte in [*zip(shown, shown), *zip(range(0x100, 0x144), rest)]}


def ranks_of(vocabulary):
    """Byte strings in order of rank, from a vocabulary of byte-level texts in order of merging: first the bytes."""
    table = byte_of_character()
    ranks = [bytes(table[c] for c in text) for text in sorted(vocabulary, key=vocabulary.get)]
    return sorted(ranks[:256]) + ranks[256:]


def train_ranks(sentences, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(sentences, trainer)
    return ranks_of(tokenizer.get_vocab())


class Tiktoken:
    def __init__(self, pattern, ranks, nfc):
        self.nfc = nfc
        self.encoding = tiktoken.Encoding("own", pat_str=pattern, special_tokens={},
                                          mergeable_ranks={token: rank for rank, token in enumerate(ranks)})

    def encode(self, text):
        return self.encoding.encode_ordinary(NFC.normalize_str(text) if self.nfc else text)

    def decode(self, ids):
        return self.encoding.decode(ids)


class Tekken:
    def __init__(self, document):
        special = document.get("special_tokens") or list(Tekkenizer.DEPRECATED_SPECIAL_TOKENS)
        config = document["config"]
        self.tekkenizer = Tekkenizer(document["vocab"], special, config["pattern"], config["default_vocab_size"],
                                     config["default_num_special_tokens"], TokenizerVersion(config["version"]))

    def encode(self, text):
        return self.tekkenizer.encode(text, bos=False, eos=False)

    def decode(self, ids):
        return self.tekkenizer.decode(ids)


def tiktoken_lines(ranks):
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(ranks))


def tekken_document(ranks, n_special, named):
    vocab = [{"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
             for rank, token in enumerate(ranks)]
    special = [{"rank": i, "token_str": name, "is_control": True} for i, name in enumerate(named)]
    config = {"pattern": TEKKEN, "num_vocab_tokens": len(ranks), "default_vocab_size": len(ranks) - 3 + n_special,
              "default_num_special_tokens": n_special, "version": "v11" if named else "v3"}
    return {"config": config, "vocab": vocab, **({"special_tokens": special} if named else {})}


def rank_files(ranks):
    lines = tiktoken_lines(ranks)
    config = {"tokenizer_class": "TikTokenTokenizer",
              "added_tokens_decoder": {str(len(ranks) + 1): {"content": "<|im_end|>", "special": True}}}
    yield "llama3", {"tokenizer.model": lines}, Tiktoken(LLAMA3, ranks, False)
    yield "qwen", {"qwen.tiktoken": lines}, Tiktoken(QWEN, ranks, True)
    yield "kimi", {"tiktoken.model": lines, "tokenizer_config.json": json.dumps(config).encode()}, Tiktoken(
        KIMI, ranks, False)
    for name, n_special, named in (("tekken_v3", 24, []), ("tekken_v11", 16, ["<unk>", "<s>", "</s>", "[INST]"])):
        document = tekken_document(ranks, n_special, named)
        yield name, {"tekken.json": json.dumps(document).encode()}, Tekken(document)
