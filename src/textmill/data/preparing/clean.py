"""What is repaired and left out on request: broken encodings, copies, and documents that are hardly text.

Nothing here happens by default: a corpus is what its files contain unless somebody wants less of it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from textmill.data.reading.document import Document
from textmill.errors import ConfigError
from textmill.imports import optional

REPAIRS = ("ftfy",)
DEDUPS = ("exact", "near")
FORM_OF_COPIES = "nfc"
"""The normal form of Unicode in which documents are compared."""


@dataclass(frozen=True)
class Cleaning:
    """What is done to documents before they are tokenized; by default nothing.

    Attributes:
        repair: "ftfy" repairs text that was decoded with the wrong encoding ("schÃ¶n" for "schön"), and nothing else.
        dedup: "exact" keeps the first of several documents that are equal in NFC, "near" of several that share most of
            their words' order (see `NearDuplicates`). Where validation text has files of its own, its documents stay in
            any case.
        max_repetition: the largest share of repeated sequences, of five words or some characters (see `word_units`),
            that a document may have.
        max_symbols: the largest share of visible characters that are neither letters, digits nor ordinary punctuation.
        min_alphabetic: the smallest share of letters among the characters that are not white space.
    """

    repair: str | None = None
    dedup: str | None = None
    max_repetition: float | None = None
    max_symbols: float | None = None
    min_alphabetic: float | None = None

    def __post_init__(self) -> None:
        for name, known in (("repair", REPAIRS), ("dedup", DEDUPS)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise ConfigError(f"{name} is {value!r}: choose {' or '.join(known)}")
        for name in ("max_repetition", "max_symbols", "min_alphabetic"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value}: give a share from 0 to 1")

    @property
    def measures(self) -> bool:
        """Whether documents are measured, to leave out those that are hardly text."""
        return any(limit is not None for limit in (self.max_repetition, self.max_symbols, self.min_alphabetic))

    def repaired(self, documents: Iterable[Document], sources: list[str] | None = None) -> Iterator[Document]:
        """Yield `documents` with their encodings repaired, if that is wanted; `sources` collects which were.

        Raises MissingExtraError without ftfy.
        """
        if self.repair is None:
            yield from documents
            return
        fix = optional("ftfy", "--repair ftfy").fix_encoding
        changed = False
        for part in documents:
            lines = part.text.splitlines(keepends=True)  # which may be broken in different ways
            text = "".join(line if line.isascii() else fix(line) for line in lines)
            changed = changed or text != part.text
            yield part if text == part.text else replace(part, text=text)
            if not part.continues:
                if changed and sources is not None:
                    sources.append(part.source)
                changed = False
