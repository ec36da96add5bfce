"""Which documents of a corpus stay, why the others are left out, and which are on both sides."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from textmill.data.preparing.clean import FORM_OF_COPIES, Cleaning
from textmill.data.preparing.common_lines import CommonLines
from textmill.data.preparing.duplicates import NearDuplicates
from textmill.data.preparing.languages import Languages, sample_of
from textmill.data.preparing.scripts import ScriptShares
from textmill.data.preparing.scrub import ScrubReport
from textmill.data.preparing.split import Survey, survey
from textmill.data.preparing.text_quality import Measure, Shares
from textmill.data.reading.document import Document

EXAMPLES = 3

_FINE, _SCRIPT, _LANGUAGE, _REPETITION, _SYMBOLS, _ALPHABETIC, _LIKE_ANOTHER, _LIKE_VALIDATION = range(8)


@dataclass
class FilterResult:
    """Which documents of one set stay.

    Attributes:
        found: the survey, whose `kept` says it.
        dropped: reason -> bool (documents,), in the order of the reasons; a document has one reason.
        repaired: sources of the documents whose encoding was repaired.
        scrubbed: what was replaced by placeholders, of documents that are left out too; None if nothing was to be.
        leaked: documents of a training set that are validation documents too, letter by letter.
        examples: number of a dropped document -> its source, for the first few of every reason; filled in later.
    """

    found: Survey
    dropped: dict[str, np.ndarray]
    repaired: list[str]
    scrubbed: ScrubReport | None = None
    leaked: int = 0
    examples: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for documents in self.dropped.values():
            self.examples |= dict.fromkeys(np.flatnonzero(documents)[:EXAMPLES].tolist(), "")

    def note_examples(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yield `documents`, the same as were filtered, and note the sources of the examples."""
        number = 0
        for part in documents:
            if number in self.examples:
                self.examples[number] = part.source
            yield part
            number += not part.continues

    def sentences(self) -> list[str]:
        """Return what a person should be told, one sentence per finding."""
        total = self.found.kept.size
        said = [
            f"skipped {int(documents.sum()):,} of {total:,} documents: {reason}"
            for reason, documents in self.dropped.items()
            if documents.any()
        ]
        if self.repaired:
            said.append(f"repaired the encoding of {len(self.repaired):,} of {total:,} documents")
        if self.scrubbed is not None:
            said.append(self.scrubbed.sentence(total))
        return said

    def summary(self) -> dict[str, Any]:
        """Return the counts as plain values, for the report."""
        found = self.found
        return {
            "documents": int(found.kept.size),
            "characters": int(found.characters.sum()),
            "kept_documents": found.kept_documents,
            "kept_characters": found.kept_characters,
            "dropped": {
                reason: {
                    "documents": int(documents.sum()),
                    "characters": int(found.characters[documents].sum()),
                    "examples": [self.examples[number] for number in np.flatnonzero(documents)[:EXAMPLES].tolist()],
                }
                for reason, documents in self.dropped.items()
                if documents.any()
            },
            "repaired": {"documents": len(self.repaired), "examples": self.repaired[:EXAMPLES]},
            "leaked": self.leaked,
        } | ({} if self.scrubbed is None else {"scrubbed": self.scrubbed.summary()})


class DocumentFilter:
    """Filters the sets of a corpus, validation sets first, so that training text can be compared with them."""

    def __init__(
        self, cleaning: Cleaning, min_length: int, normal_form: str | None = None, common: CommonLines | None = None
    ) -> None:
        """normal_form: documents that are the same in it are copies; where copies are left out, at least in NFC.

        common: lines by which no documents are alike; they may be counted later, before documents are filtered.
        """
        self._common = common = common or CommonLines(0)
        self._cleaning = cleaning
        self._form = normal_form or (None if cleaning.dedup is None else FORM_OF_COPIES)
        self._min_length = min_length
        self._validation_keys: list[np.ndarray] = []
        self._validation_index = NearDuplicates(common) if cleaning.dedup == "near" else None

    def filter(self, documents: Iterable[Document], *, validates: bool) -> FilterResult:
        """Read `documents` once and return which of them stay."""
        repaired: list[str] = []
        scrubbed = None if self._cleaning.scrub is None else ScrubReport()
        index = NearDuplicates(self._common) if self._cleaning.dedup == "near" else None
        inspector = _Inspector(self._cleaning, index, self._validation_index, self._min_length, validates=validates)
        inspected = inspector.inspect(self._cleaning.cleaned(documents, scrubbed, repaired))
        found = survey(inspected, self._min_length, self._form)
        faults = np.frombuffer(inspector.faults, dtype=np.uint8)
        kept = np.ones(found.kept.size, dtype=bool)
        dropped: dict[str, np.ndarray] = {}

        def drop(affected: np.ndarray, reason: str) -> None:
            nonlocal kept
            dropped[reason] = affected & kept
            kept = kept & ~affected

        drop(~found.kept & (found.characters >= self._min_length), "empty or blank")
        drop(~found.kept, f"shorter than {self._min_length} characters")
        for fault, reason in _reasons(self._cleaning).items():
            drop(faults == fault, reason)
        leaks = np.zeros(kept.size, dtype=bool)
        if not validates and self._validation_keys:
            leaks = np.isin(found.keys, np.concatenate(self._validation_keys)) & kept
        if self._cleaning.dedup is not None:
            drop(leaks, "copies of validation documents")
            drop(~_first_of_each(found.keys, kept), "copies of other documents")
            drop(faults == _LIKE_VALIDATION, "near-copies of validation documents")
            drop(faults == _LIKE_ANOTHER, "near-copies of other documents")
        if validates:
            self._validation_keys.append(found.keys[kept])
        return FilterResult(replace(found, kept=kept), dropped, repaired, scrubbed, int(leaks.sum()))


def _reasons(limits: Cleaning) -> dict[int, str]:
    """Return what is looked for -> why a document with it is left out, in the order in which reasons count."""
    reasons = {}
    if limits.scripts is not None:
        reasons[_SCRIPT] = f"most letters are not in the scripts {', '.join(limits.scripts)}"
    if limits.languages is not None:
        reasons[_LANGUAGE] = f"not in the languages {', '.join(limits.languages)}"
    if limits.measures:
        reasons[_REPETITION] = f"more than {limits.max_repetition} of the word sequences are repeated"
        reasons[_SYMBOLS] = f"more than {limits.max_symbols} of the characters are symbols"
        reasons[_ALPHABETIC] = f"less than {limits.min_alphabetic} of the characters are letters"
    return reasons


class _Origin:
    """Tells whether documents, one after the other, are in the scripts and languages that are wanted."""

    def __init__(self, cleaning: Cleaning) -> None:
        self._wanted = None if cleaning.scripts is None else dict.fromkeys(cleaning.scripts)
        self._scripts = ScriptShares()
        self._languages = (
            None if cleaning.languages is None else Languages(cleaning.languages, cleaning.language_function)
        )
        self._sample = ""

    def add(self, text: str) -> None:
        """Look at a further part of the document."""
        if self._wanted is not None:
            self._scripts.add(text)
        if self._languages is not None and not self._sample.strip():
            self._sample = sample_of(text)

    def fault(self) -> int:
        """Return what is wrong with the document, _FINE for nothing, and begin the next one."""
        sample, self._sample = self._sample, ""
        if self._wanted is not None and not self._scripts.finish(self._wanted):
            return _SCRIPT
        return _FINE if self._languages is None or self._languages.accepts(sample) else _LANGUAGE


class _Inspector:
    """Looks at documents as they pass, at no more than the cleaning asks for. `faults` has a byte for each."""

    def __init__(
        self,
        cleaning: Cleaning,
        index: NearDuplicates | None,
        validation: NearDuplicates | None,
        min_length: int,
        *,
        validates: bool,
    ) -> None:
        self._cleaning, self._validation, self._validates = cleaning, validation, validates
        self._min_length = min_length
        self._measure = Measure() if cleaning.measures else None
        self._origin = _Origin(cleaning) if cleaning.scripts or cleaning.languages else None
        self._index = index
        self.faults = bytearray()

    def inspect(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yield `documents` unchanged."""
        measure, origin, index = self._measure, self._origin, self._index
        sketch = index.sketch() if index is not None else None
        length = 0
        for part in documents:
            length += len(part.text)
            if measure is not None:
                measure.add(part.text)
            if origin is not None:
                origin.add(part.text)
            if sketch is not None:
                sketch.add(part.text)
            yield part
            if part.continues:
                continue
            fault = self._quality(measure.finish()) if measure is not None else _FINE
            fault = (origin.fault() if origin is not None else _FINE) or fault
            if sketch is not None and index is not None:
                sketch.finish()
                if length >= self._min_length:  # a shorter one is left out, so none is a copy of it
                    fault = fault or self._likeness(sketch)
                sketch = index.sketch()
            self.faults.append(fault)
            length = 0

    def _quality(self, shares: Shares) -> int:
        limits = self._cleaning
        if limits.max_repetition is not None and shares.repetition > limits.max_repetition:
            return _REPETITION
        if limits.max_symbols is not None and shares.symbols > limits.max_symbols:
            return _SYMBOLS
        if limits.min_alphabetic is not None and shares.alphabetic < limits.min_alphabetic:
            return _ALPHABETIC
        return _FINE

    def _likeness(self, sketch: Any) -> int:
        """Return whether the document is like an earlier one; add it to the index if not."""
        assert self._index is not None and self._validation is not None
        if not self._validates and self._validation.find(sketch):
            return _LIKE_VALIDATION
        if self._index.find(sketch):
            return _LIKE_ANOTHER
        self._index.add(sketch)
        if self._validates:
            self._validation.add(sketch)
        return _FINE


def _first_of_each(keys: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return which kept document is the first of its content, bool (documents,)."""
    indices = np.flatnonzero(kept)
    first = np.zeros(kept.size, dtype=bool)
    first[indices[np.unique(keys[indices], return_index=True)[1]]] = True
    return first
