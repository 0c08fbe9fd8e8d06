"""Trains the byte-level BPE tokenizer: Qwen 2's pre-tokenizer (single digits), NFC, the special tokens at the end.

A word is cut the same way wherever it stands, so that a model that copies " Bergen" from a text to "Bergen" in JSON copies tokens and need not
spell: merges never join letters with marks, and a space joins the first token of a word only after all other merges.

    from data.tokenizer import train_tokenizer
"""
import json
import re
import sys
from collections import Counter
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

sys.path.insert(0, str(Path(__file__).resolve().parent))
from dialogue import SPECIAL_TOKENS, TOOL_TAGS

# The split of Qwen 2 (GGUF: tokenizer.ggml.pre = "qwen2"): words with one leading mark, single digits, runs of marks, line ends.
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

# The same with letters, marks and spaces apart.
PARTS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPACE, NEWLINE = "\u0120", "\u010a"  # as the byte-level alphabet writes them
SPACED_SHARE = 0.4  # of the vocabulary: tokens that begin with a space


def frame(model, pattern=PATTERN):
    """A tokenizer around a BPE model, without special tokens."""
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def assemble(model):
    """The same with the special tokens after the model's own."""
    tokenizer = frame(model)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in TOOL_TAGS])
    return tokenizer


def train_tokenizer(texts, vocab_size):
    """A tokenizer whose ids 0 .. vocab_size-1 are all in use; the last ones are the special tokens, which the texts may contain."""
    special = re.compile("|".join(map(re.escape, (*SPECIAL_TOKENS, *TOOL_TAGS))))
    texts = [special.sub("\n", text) for text in texts]
    n_own = vocab_size - len(SPECIAL_TOKENS) - len(TOOL_TAGS)
    trainer = trainers.BpeTrainer(vocab_size=n_own - int(n_own * SPACED_SHARE), min_frequency=2, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    plain = frame(models.BPE(), PARTS)
    plain.train_from_iterator(texts, trainer)
    tokenizer = assemble(with_spaces(plain, texts, n_own))
    assert tokenizer.get_vocab_size() == vocab_size, f"{tokenizer.get_vocab_size()} tokens in place of {vocab_size}: train on more text"
    return tokenizer


def with_spaces(plain, texts, n_tokens):
    """The BPE model with a spaced form of the tokens that most often follow a space, up to n_tokens in all."""
    counts = Counter()
    for text in texts[:: max(1, len(texts) // 8000)]:
        tokens = plain.encode(text).tokens
        counts.update(token for space, token in zip(tokens, tokens[1:]) if space == SPACE)
    state = json.loads(plain.to_str())["model"]
    vocabulary, merges = state["vocab"], [tuple(pair) for pair in state["merges"]]
    joined = [token for token in vocabulary if not token.isdigit() and token[0] not in SPACE + NEWLINE]
    for token in sorted(joined, key=lambda token: (-counts[token], token))[: n_tokens - len(vocabulary)]:
        vocabulary[SPACE + token] = len(vocabulary)
        merges.append((SPACE, token))
    return models.BPE(vocab=vocabulary, merges=merges)
