"""Lines that many documents share: licence headers, menus, signatures. Documents are not alike because of them.

What is set aside is the run of such lines at the beginning and at the end of a document; a line in the middle, such as
`return None`, stays, and a document of nothing else is compared as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import numpy as np

from textmill.data.reading.document import Document

MANY = 8
"""Documents that a line must be in to be common. Of as many copies of a text, what all have in common is set aside."""

_BYTES_PER_COUNTER = 32
_FEWEST, _MOST = 1 << 16, 1 << 27
_SEEDS = (0, 0x9E3779B9)
_LONGEST_WAIT = 1 << 20
"""Characters of common lines that are kept waiting for a line of the document's own."""


class CommonLines:
    """Counts in how many documents each line is, in two tables of one byte per hash (a count-min sketch).

    Source: Cormode and Muthukrishnan, "An improved data stream summary: the count-min sketch" (2005). Two lines with
    the same hashes count as one, so that one in a million rare lines is taken for common.
    """

    def __init__(self, num_bytes: int) -> None:
        """num_bytes: of all text, from which the size of the tables follows."""
        counters = min(max(num_bytes // _BYTES_PER_COUNTER, _FEWEST), _MOST)
        self._mask = (1 << (counters - 1).bit_length()) - 1
        self._counts = [np.zeros(self._mask + 1, dtype=np.uint8) for _ in _SEEDS]

    def count(self, documents: Iterable[Document]) -> None:
        """Read `documents` and count the lines of each, once per document."""
        lines: set[tuple[int, ...]] = set()
        rest = ""
        for part in documents:
            *whole, rest = (rest + part.text).split("\n")
            if not part.continues:
                whole, rest = [*whole, rest], ""
            lines.update(self._hashes(line) for line in map(str.strip, whole) if line)
            if not part.continues:
                self._add(lines)
                lines.clear()

    def _add(self, lines: set[tuple[int, ...]]) -> None:
        for table, hashes in zip(self._counts, zip(*lines)):
            at = np.unique(np.array(hashes, dtype=np.int64))
            table[at] += table[at] < MANY

    def common(self, line: str) -> bool:
        """Return whether a line, white space at its ends aside, is in MANY documents or more."""
        return all(table[at] >= MANY for table, at in zip(self._counts, self._hashes(line.strip())))

    def _hashes(self, line: str) -> tuple[int, ...]:
        encoded = line.encode("utf-8", "surrogatepass")
        return tuple(crc32(encoded, seed) & self._mask for seed in _SEEDS)


class OwnText:
    """The text of one document after another without the runs of common lines at its ends; given part by part."""

    def __init__(self, common: CommonLines) -> None:
        self._common = common
        self._begin()

    def _begin(self) -> None:
        self._rest = ""
        self._waiting: list[str] = []
        self._waits = 0
        self._found = False  # a line of its own

    def add(self, text: str) -> str:
        """Return what is certain to be the document's own, with the next part of it."""
        *whole, self._rest = (self._rest + text).split("\n")
        return "".join(self._next(f"{line}\n") for line in whole)

    def finish(self) -> str:
        """Return what else is the document's own, or all of one that has nothing of its own; the next one begins."""
        last = self._next(self._rest) if self._rest else ""
        text = last if self._found else "".join(self._waiting)
        self._begin()
        return text

    def _next(self, line: str) -> str:
        if self._waits < _LONGEST_WAIT and (not line.strip() or self._common.common(line)):
            self._waiting.append(line)
            self._waits += len(line)
            return ""
        waited = "".join(self._waiting) if self._found or self._waits >= _LONGEST_WAIT else ""
        self._waiting, self._waits, self._found = [], 0, True
        return waited + line
