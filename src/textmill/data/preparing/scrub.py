"""Replace secrets and e-mail addresses by placeholders such as <AWS_KEY_1>, and tell where they were, never what.

In one document equal values have equal numbers, so that the text keeps who writes to whom. Values are compared in
memory and are neither written nor said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from textmill.data.preparing.scrub_rules import (
    BEGIN_OF_KEY,
    END_OF_KEY,
    KINDS,
    LONGEST_KEY,
    Match,
    find_values,
    identity,
)
from textmill.data.reading.document import Document
from textmill.data.reading.formats.separated_documents import Separator, split_documents
from textmill.data.reading.formats.text import LONGEST_PART, PART_BYTES
from textmill.errors import ConfigError

__all__ = ["KINDS", "ScrubReport", "identity", "known_kinds", "scrubbed"]

MOST_LINES = 1000
"""Lines with values of one label that are listed; all are counted."""

LONG_LINE = 1 << 18  # characters, after which a line is cut without seeing its end
CONTEXT = 1024  # characters before such a cut that are looked at again
_ROW = re.compile(r":\d+$")


@dataclass
class LabelReport:
    """What was replaced by the placeholders of one label.

    Attributes:
        number: of values.
        lines: `file:line` of the first ones, each line once.
    """

    number: int = 0
    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Count a value in `line`."""
        self.number += 1
        if len(self.lines) < MOST_LINES and self.lines[-1:] != [line]:
            self.lines.append(line)


@dataclass
class ScrubReport:
    """What was replaced in the documents of a set.

    Attributes:
        labels: label of the placeholders -> what they replaced.
        numbers: of the documents, in their order from 0, that have such values.
    """

    labels: dict[str, LabelReport] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)

    def add(self, label: str, line: str, number: int) -> None:
        """Count a value in `line` of the document with that number."""
        self.labels.setdefault(label, LabelReport()).add(line)
        self.numbers.add(number)

    def summary(self) -> dict[str, Any]:
        """Return it as plain values, the most frequent label first."""
        most_first = sorted(self.labels.items(), key=lambda item: (-item[1].number, item[0]))
        return {label: {"number": found.number, "lines": found.lines} for label, found in most_first}

    def sentence(self, total: int) -> str:
        """Return what a person should be told; total: documents that were read."""
        if not self.labels:
            return "nothing to scrub was found"
        counts = ", ".join(f"{found['number']:,} {label}" for label, found in self.summary().items())
        return f"scrubbed {counts} in {len(self.numbers):,} of {total:,} documents: REPORT.md lists the lines"


def known_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """Return kinds of KINDS in their order. Raises ConfigError for others, and for none."""
    given = [kinds] if isinstance(kinds, str) else list(kinds)
    if not given or any(kind not in KINDS for kind in given):
        raise ConfigError(f"scrub is {','.join(map(str, given)) or 'empty'}: choose {' or '.join(KINDS)}, or both")
    return tuple(kind for kind in KINDS if kind in given)


def scrubbed(
    documents: Iterable[Document], kinds: tuple[str, ...], report: ScrubReport, *, again: bool = False
) -> Iterator[Document]:
    """Yield `documents` with placeholders for values of `kinds`; `report` collects what was replaced.

    A value may lie across two parts of a document. again: the report is of these documents already, so that only
    those with values are looked at. Raises MissingExtraError without what `kinds` need.
    """
    source = iter(documents)
    number = -1
    while (first := next(source, None)) is not None:
        number += 1
        if again and number not in report.numbers:
            yield from _of_one_document(first, source)
            continue
        document = _ScrubbedDocument(first.source, kinds, ScrubReport() if again else report, number)
        if not first.continues:
            yield replace(first, text=document.scrub(first.text, len(first.text)))
            continue
        pieces = document.pieces(_of_one_document(first, source))
        for text, ends, _ in split_documents(pieces, Separator.of(None), PART_BYTES, LONGEST_PART):
            yield Document(text, first.source, continues=not ends)


def _of_one_document(first: Document, others: Iterator[Document]) -> Iterator[Document]:
    """Yield the parts of the document that begins with `first`."""
    yield first
    while first.continues and (following := next(others, None)) is not None:
        yield (first := following)


class _ScrubbedDocument:
    """One document whose values are replaced as it passes."""

    def __init__(self, source: str, kinds: tuple[str, ...], report: ScrubReport, number: int) -> None:
        self._source, self._kinds, self._report = source, kinds, report
        self._number, self._lines_before = number, 0
        self._numbers: dict[tuple[str, str], int] = {}
        self._of_label: dict[str, int] = {}

    def pieces(self, parts: Iterable[Document]) -> Iterator[str]:
        """Yield the text of `parts` with placeholders, in pieces that end with lines: no rule looks beyond one.

        Only private keys do, and they are waited for.
        """
        waiting = ""
        for part in parts:
            text = waiting + part.text
            found = find_values(text, self._kinds)
            ready = _ready(text, found) if part.continues else len(text)
            yield self.scrub(text, ready, found)
            waiting = text[ready:]
        if waiting:  # of a document that is read in part
            yield self.scrub(waiting, len(waiting))

    def scrub(self, text: str, end: int, found: list[Match] | None = None) -> str:
        """Return text[:end] with placeholders; found: the values of `text`, if they are known."""
        pieces, position, line, counted = [], 0, self._lines_before, 0
        for match in find_values(text, self._kinds) if found is None else found:
            if match.start >= end:
                break
            line += text.count("\n", counted, match.start)
            counted = match.start
            pieces += [text[position : match.start], self._placeholder(match.label, text[match.start : match.end])]
            self._note(match.label, line + 1)
            position = match.end
        self._lines_before = line + text.count("\n", counted, end)
        return "".join(pieces) + text[position:end] if pieces else text[:end]

    def _placeholder(self, label: str, value: str) -> str:
        number = self._numbers.get((label, value))
        if number is None:
            number = self._numbers[label, value] = self._of_label[label] = self._of_label.get(label, 0) + 1
        return f"<{label}_{number}>"

    def _note(self, label: str, line: int) -> None:
        source = self._source
        if not _ROW.search(source):  # a row of a table has its line already
            source += f", line {line}" if ", document " in source else f":{line}"
        self._report.add(label, source, self._number)


def _ready(text: str, found: list[Match]) -> int:
    """Return up to where `text`, which goes on, can be scrubbed: to the end of a line after which no value begins."""
    ready = text.rfind("\n") + 1
    if not ready and len(text) > LONG_LINE:
        ready = max(text.rfind(" ", 0, len(text) - CONTEXT), 0) or len(text) - CONTEXT
    tail = max(0, len(text) - LONGEST_KEY)
    begins = [match.start() for match in BEGIN_OF_KEY.finditer(text, tail)]
    if begins and END_OF_KEY.search(text, begins[-1]) is None:
        ready = min(ready, text.rfind("\n", 0, begins[-1]) + 1)
    for match in reversed(found):
        if match.start < ready < match.end:
            ready = text.rfind("\n", 0, match.start) + 1 or match.start
    return ready
