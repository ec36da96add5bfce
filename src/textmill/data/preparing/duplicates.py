"""Documents that say nearly the same, found by MinHash without comparing every pair.

Source: Broder, "On the resemblance and containment of documents" (1997): the share of permutations under which two sets
have the same smallest element estimates their Jaccard similarity. The library rensa does the hashing.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from textmill.imports import optional

SIMILAR = 0.7
"""Jaccard similarity of the sets of five-word sequences from which on two documents count as copies."""

_PERMUTATIONS = 128
_BANDS = 32
_SEQUENCE = 5
_WORD = re.compile(r"\w+")


class NearDuplicates:
    """An index of documents by their five-word sequences in NFC, case and punctuation left out.

    Memory: about 2 kB each.
    """

    def __init__(self) -> None:
        """Raises MissingExtraError without rensa."""
        rensa = optional("rensa", "--dedup near")
        self._rensa = rensa
        self._index = rensa.RMinHashLSH(threshold=SIMILAR, num_perm=_PERMUTATIONS, num_bands=_BANDS)
        self._known: list[Any] = []

    def sketch(self) -> Sketch:
        """Return the sketch of a new document, to be filled part by part."""
        return Sketch(self._rensa.RMinHash(num_perm=_PERMUTATIONS, seed=1))

    def find(self, sketch: Sketch) -> bool:
        """Whether a document similar to that of `sketch` is in the index."""
        if sketch.empty:
            return False
        found = self._index.query(sketch.minhash)
        return any(self._known[number].jaccard(sketch.minhash) >= SIMILAR for number in found)

    def add(self, sketch: Sketch) -> None:
        """Add the document of `sketch` to the index."""
        if not sketch.empty:
            self._index.insert(len(self._known), sketch.minhash)
            self._known.append(sketch.minhash)


class Sketch:
    """What is kept of a document: the smallest hashes of its word sequences."""

    def __init__(self, minhash: Any) -> None:
        self.minhash = minhash
        self.empty = True
        self._before: list[str] = []

    def add(self, text: str) -> None:
        """Add a further part of the document."""
        words = self._before + _WORD.findall(unicodedata.normalize("NFC", text).lower())
        if len(words) >= _SEQUENCE:
            self._update([" ".join(words[at : at + _SEQUENCE]) for at in range(len(words) - _SEQUENCE + 1)])
        self._before = words[-(_SEQUENCE - 1) :]

    def finish(self) -> None:
        """Complete the document; one of fewer words than a sequence is a sequence by itself."""
        if self.empty and self._before:
            self._update([" ".join(self._before)])

    def _update(self, sequences: list[str]) -> None:
        self.minhash.update(sequences)
        self.empty = False
