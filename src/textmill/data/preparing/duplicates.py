"""Documents that say nearly the same, found by MinHash without comparing every pair, nor what many have in common.

Source: Broder, "On the resemblance and containment of documents" (1997): the share of permutations under which two sets
have the same smallest element estimates their Jaccard similarity. The library rensa does the hashing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

from textmill.data.preparing.common_lines import CommonLines, OwnText
from textmill.data.preparing.word_units import LONGEST, compared_units
from textmill.imports import optional

SIMILAR = 0.7
"""Jaccard similarity of the sets of word sequences from which on two documents count as copies."""

_PERMUTATIONS = 128
_BANDS = 32


class NearDuplicates:
    """An index of documents by their sequences of words or characters (see `word_units`). Memory: about 2 kB each."""

    def __init__(self, common: CommonLines, needed_by: str = "--dedup near") -> None:
        """common: lines by which no documents are alike. Raises MissingExtraError for `needed_by` without rensa."""
        self._common = common
        rensa = optional("rensa", needed_by)
        self._rensa = rensa
        self._index = rensa.RMinHashLSH(threshold=SIMILAR, num_perm=_PERMUTATIONS, num_bands=_BANDS)
        self._known: list[Any] = []

    def sketch(self) -> Sketch:
        """Return the sketch of a new document, to be filled part by part."""
        return Sketch(self._rensa.RMinHash(num_perm=_PERMUTATIONS, seed=1), self._common)

    def find(self, sketch: Sketch) -> bool:
        """Whether a document similar to that of `sketch` is in the index."""
        return next(self.like(sketch), None) is not None

    def like(self, sketch: Sketch) -> Iterator[int]:
        """Yield the numbers of the documents in the index that are similar to that of `sketch`."""
        if not sketch.empty:
            for number in self._index.query(sketch.minhash):
                if self._known[number].jaccard(sketch.minhash) >= SIMILAR:
                    yield number

    def add(self, sketch: Sketch) -> bool:
        """Add the document of `sketch` to the index, with the next number, unless it has no words to compare."""
        if not sketch.empty:
            self._index.insert(len(self._known), sketch.minhash)
            self._known.append(sketch.minhash)
        return not sketch.empty


class Sketch:
    """What is kept of a document: the smallest hashes of the word sequences of its own text (see `OwnText`)."""

    def __init__(self, minhash: Any, common: CommonLines | None = None) -> None:
        self.minhash = minhash
        self._own = OwnText(common or CommonLines(0))
        self.empty = True
        self._units: list[str] = []  # with which no sequence has begun yet
        self._lengths: list[int] = []

    def add(self, text: str) -> None:
        """Add a further part of the document."""
        self._add(self._own.add(text))

    def _add(self, text: str) -> None:
        units, lengths = compared_units(unicodedata.normalize("NFC", text))
        self._units += units
        self._lengths += lengths
        self._begin_sequences(len(self._units) - LONGEST + 1)

    def finish(self) -> None:
        """Complete the document; one of fewer words than a sequence is a sequence by itself."""
        self._add(self._own.finish())
        whole = " ".join(self._units)
        self._begin_sequences(len(self._units))
        if self.empty and whole:
            self._update([whole])

    def _begin_sequences(self, count: int) -> None:
        """Add the sequences that begin with the first `count` units, if they are whole, and forget these units."""
        if count <= 0:
            return
        ends = [at + length for at, length in enumerate(self._lengths[:count])]
        self._update([" ".join(self._units[at:end]) for at, end in enumerate(ends) if end <= len(self._units)])
        del self._units[:count], self._lengths[:count]

    def _update(self, sequences: list[str]) -> None:
        if sequences:
            self.minhash.update(sequences)
            self.empty = False
