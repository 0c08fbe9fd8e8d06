"""Trains the byte-level BPE tokenizer: Qwen 2's pre-tokenizer (single digits), NFC, the special tokens at the end.

    from data.tokenizer import train_tokenizer
"""
import re
import sys
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

sys.path.insert(0, str(Path(__file__).resolve().parent))
from dialogue import SPECIAL_TOKENS, TOOL_TAGS

# The split of Qwen 2 (GGUF: tokenizer.ggml.pre = "qwen2"): words with one leading mark, single digits, runs of marks, line ends.
PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def frame(model):
    """A tokenizer around a BPE model, without special tokens."""
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
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
    trainer = trainers.BpeTrainer(vocab_size=vocab_size - len(SPECIAL_TOKENS) - len(TOOL_TAGS), min_frequency=2, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    plain = frame(models.BPE())
    plain.train_from_iterator((special.sub("\n", text) for text in texts), trainer)
    tokenizer = assemble(plain.model)
    assert tokenizer.get_vocab_size() == vocab_size, f"{tokenizer.get_vocab_size()} tokens in place of {vocab_size}: train on more text"
    return tokenizer
