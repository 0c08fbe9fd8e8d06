"""A 5-gram model over tokens with Witten-Bell interpolation: the baseline beside which the model's perplexity stands."""
import numpy as np

ORDER = 5
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def keys(tokens, n):
    """A 64-bit key of the n tokens that end at each place n-1, n, ... of the sequence."""
    key = np.zeros(max(0, len(tokens) - n + 1), np.uint64)
    for i in range(n):
        key = (key ^ (tokens[i : len(tokens) - n + 1 + i].astype(np.uint64) + np.uint64(1))) * _FACTOR
        key ^= key >> np.uint64(29)
    return key


class NGram:
    """p(w | h) = (c(hw) + d(h) p(w | shorter h)) / (c(h) + d(h)), d(h) the number of different words seen after h."""

    def __init__(self, tokens, vocab_size):
        counts = np.bincount(tokens, minlength=vocab_size)
        self.unigram = (counts + 1) / (len(tokens) + vocab_size)
        self.tables = []
        for n in range(2, ORDER + 1):
            gram, first, count = np.unique(keys(tokens, n), return_index=True, return_counts=True)
            context = keys(tokens, n - 1)[:-1][first]
            names, inverse, distinct = np.unique(context, return_inverse=True, return_counts=True)
            self.tables.append((gram, count, names, np.bincount(inverse, weights=count), distinct))

    def log_probabilities(self, tokens):
        """Natural log of the probability of tokens 1, 2, ... of one document, given up to four tokens before each."""
        p = self.unigram[tokens]
        for n, (gram, count, names, total, distinct) in enumerate(self.tables, start=2):
            if len(tokens) < n:
                break
            in_gram = find(gram, count, keys(tokens, n))
            context = keys(tokens, n - 1)[:-1]
            c, d = find(names, total, context), find(names, distinct, context)
            shorter = p[n - 1 :]
            p[n - 1 :] = np.where(c > 0, (in_gram + d * shorter) / np.maximum(c + d, 1), shorter)
        return np.log(p[1:])


def find(sorted_keys, values, wanted):
    at = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
    return np.where(sorted_keys[at] == wanted, values[at], 0)
