"""Bits per byte of a trigram model: what a text costs when only the two tokens before each are known.

Probabilities are interpolated by Witten and Bell (Bell, Cleary and Witten, "Text Compression", 1990, method C):
p(w | h) = (count(h w) + kinds(h) p(w | h without its first token)) / (count(h) + kinds(h)), where kinds(h) is how many
different tokens follow h; the last p is uniform over the vocabulary. Nothing is tuned, and each p sums to one.
"""

from collections.abc import Sequence

import numpy as np


def trigram_bits(train: Sequence[np.ndarray], held_out: Sequence[np.ndarray], vocab_size: int) -> float:
    """Return the bits of `held_out` under a model counted in `train`.

    Both are pieces of text as ids (n,), integers below `vocab_size`; each begins after two marks that are no tokens.
    """
    learned, measured = _padded(train, vocab_size), _padded(held_out, vocab_size)
    probability = np.full(measured.shape[1], 1 / vocab_size)
    for order in (1, 2, 3):
        known, asked = _keys(learned, order, vocab_size), _keys(measured, order, vocab_size)
        grams, counts = np.unique(known, return_counts=True)
        histories, first = np.unique(grams // (vocab_size + 1), return_index=True)
        totals = np.add.reduceat(counts, first)
        kinds = np.diff([*first, grams.size])
        of_gram = _looked_up(grams, counts, asked)
        total = _looked_up(histories, totals, asked // (vocab_size + 1))
        kind = _looked_up(histories, kinds, asked // (vocab_size + 1))
        seen = total > 0
        mixed = (of_gram + kind * probability) / np.maximum(total + kind, 1)
        probability = np.where(seen, mixed, probability)
    return float(-np.log2(probability).sum())


def _padded(pieces: Sequence[np.ndarray], mark: int) -> np.ndarray:
    """Return each token below the two before it, int64 (3, tokens), `mark` where a piece begins."""
    columns = []
    for piece in pieces:
        ids = np.concatenate([np.full(2, mark, dtype=np.int64), piece.astype(np.int64)])
        columns.append(np.stack([ids[:-2], ids[1:-1], ids[2:]]))
    return np.concatenate(columns, axis=1)


def _keys(ids: np.ndarray, order: int, vocab_size: int) -> np.ndarray:
    """Return one number for each token with the `order` - 1 before it."""
    keys = np.zeros(ids.shape[1], dtype=np.int64)
    for row in ids[3 - order :]:
        keys = keys * (vocab_size + 1) + row
    return keys


def _looked_up(known: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Return the value of each `asked` key, 0 for unknown ones. `known` is sorted."""
    at = np.minimum(np.searchsorted(known, asked), known.size - 1)
    return np.where(known[at] == asked, values[at], 0)
