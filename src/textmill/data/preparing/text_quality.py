"""What a document consists of, as three shares that separate text from what is hardly text.

The rules are those of the filters in Rae et al., "Scaling Language Models" (Gopher), appendix A, reduced to shares of
characters and of sequences of words, or of characters where a script puts no space between words.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np

from textmill.data.preparing.word_units import LONGEST, written_units

MOST_WORDS = 1 << 20
"""Repetition is measured on so many words, or characters, from the start of a document."""

_LETTER, _SYMBOL, _UNSEEN, _OTHER = range(4)
_CODE_CHARACTERS = "#%&*@\\_/{}[]<>|"


@dataclass(frozen=True)
class Shares:
    """Shares from 0 to 1: see `Cleaning` for what each is of."""

    repetition: float
    symbols: float
    alphabetic: float


class Measure:
    """Measures one document after the other, part by part."""

    def __init__(self) -> None:
        self._counts = np.zeros(4, dtype=np.int64)
        self._words: list[int] = []
        self._lengths: list[int] = []

    def add(self, text: str) -> None:
        """Count a further part of the document."""
        code_points = np.frombuffer(text.encode("utf-32-le", "replace"), dtype="<u4")
        self._counts += np.bincount(_kinds()[code_points], minlength=4)
        if len(self._words) < MOST_WORDS:
            words, lengths = written_units(text)
            room = MOST_WORDS - len(self._words)
            self._words.extend(map(hash, words[:room]))
            self._lengths.extend(lengths[:room])

    def finish(self) -> Shares:
        """Return the shares of the document, and begin the next one."""
        counts, words = self._counts, np.array(self._words, dtype=np.int64).astype(np.uint64)
        repetition = _repetition(words, np.array(self._lengths, dtype=np.int64))
        self._counts, self._words, self._lengths = np.zeros(4, dtype=np.int64), [], []
        visible = int(counts.sum() - counts[_UNSEEN]) or 1
        return Shares(repetition, int(counts[_SYMBOL]) / visible, int(counts[_LETTER]) / visible)


def _repetition(words: np.ndarray, lengths: np.ndarray) -> float:
    """Return the share of sequences that occurred in the document before.

    words: hashes (words,). lengths: of the sequence that begins with each (words,), at most LONGEST.
    """
    whole = np.arange(words.size) + lengths <= words.size
    count = int(whole.sum())
    if count < 2:
        return 0.0
    padded = np.concatenate([words, np.zeros(LONGEST, dtype=np.uint64)])
    sequences = np.zeros(words.size, dtype=np.uint64)
    for offset in range(int(lengths.max())):
        longer = sequences * np.uint64(0x9E3779B97F4A7C15) + padded[offset : offset + words.size]
        sequences = np.where(offset < lengths, longer, sequences)
    return 1 - np.unique(sequences[whole]).size / count


@cache
def _kinds() -> np.ndarray:
    """Return the kind of every code point, uint8 (0x110000,)."""
    kinds = np.full(0x110000, _OTHER, dtype=np.uint8)
    for code_point in range(0x110000):
        character = chr(code_point)
        category = unicodedata.category(character)
        if category[0] in "LM":
            kinds[code_point] = _LETTER
        elif character.isspace() or category == "Cf":  # such as joiners, spaces without width, marks of direction
            kinds[code_point] = _UNSEEN
        elif category[0] in "SC" or character in _CODE_CHARACTERS:
            kinds[code_point] = _SYMBOL
    return kinds
