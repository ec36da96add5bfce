"""What is repaired, replaced and left out on request: broken encodings, secrets, copies, and what is hardly text.

Nothing here happens by default: a corpus is what its files contain unless somebody wants less of it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from textmill.data.preparing import languages, scrub_rules
from textmill.data.preparing.scripts import known_scripts
from textmill.data.preparing.scrub import ScrubReport, known_kinds, scrubbed
from textmill.data.reading.document import Document
from textmill.errors import ConfigError
from textmill.imports import optional

REPAIRS = ("ftfy",)
DEDUPS = ("exact", "near")
FORM_OF_COPIES = "nfc"
"""The normal form of Unicode in which documents are compared."""

_LATER = ("scripts", "languages", "language_function", "scrub")
_CODES = {"scripts": "('Latn', 'Khmr')", "languages": "('en', 'km')"}


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
        scripts: codes such as Latn, of which most letters of a document must be (see `scripts`).
        languages: codes such as en, in one of which a document must be (see `languages`).
        language_function: import string of the function that tells the language of a text; None for py3langid.
        scrub: what is replaced by placeholders, "secrets" and "emails" (see `scrub_rules`).
    """

    repair: str | None = None
    dedup: str | None = None
    max_repetition: float | None = None
    max_symbols: float | None = None
    min_alphabetic: float | None = None
    scripts: tuple[str, ...] | None = None
    languages: tuple[str, ...] | None = None
    language_function: str | None = None
    scrub: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, known in (("repair", REPAIRS), ("dedup", DEDUPS)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise ConfigError(f"{name} is {value!r}: choose {' or '.join(known)}")
        for name in ("max_repetition", "max_symbols", "min_alphabetic"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value}: give a share from 0 to 1")
        for name in ("scripts", "languages"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, str) or not value):
                raise ConfigError(f"{name} is {value!r}: give codes, such as {_CODES[name]}")
        if self.language_function is not None and self.languages is None:
            raise ConfigError("language_function has no effect without languages: name those that stay")
        if self.scrub is not None:
            object.__setattr__(self, "scrub", known_kinds(self.scrub))
        if self.scripts is not None:
            object.__setattr__(self, "scripts", tuple(sorted(known_scripts(self.scripts))))

    @property
    def measures(self) -> bool:
        """Whether documents are measured, to leave out those that are hardly text."""
        return any(limit is not None for limit in (self.max_repetition, self.max_symbols, self.min_alphabetic))

    def identity(self) -> dict[str, Any]:
        """Return what the kept text depends on, as plain values; corpora from before a filter existed keep their key.

        Raises MissingExtraError where languages are to be told apart without py3langid, or secrets found without
        detect-secrets.
        """
        values = {name: value for name, value in vars(self).items() if name not in _LATER}
        if self.scripts is not None:
            values["scripts"] = list(self.scripts)
        if self.languages is not None:
            values |= languages.identity(self.languages, self.language_function)
        if self.scrub is not None:
            values |= scrub_rules.identity(self.scrub)
        return values

    def cleaned(
        self, documents: Iterable[Document], report: ScrubReport | None, sources: list[str] | None = None
    ) -> Iterator[Document]:
        """Yield `documents`, repaired and then scrubbed as is wanted.

        sources: collects which were repaired; None where they are read again. report: collects what was replaced the
        first time, and tells it the next.
        """
        repaired = self.repaired(documents, sources)
        if self.scrub is None or report is None:
            return repaired
        return scrubbed(repaired, self.scrub, report, again=sources is None)

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
