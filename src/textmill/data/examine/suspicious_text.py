"""What in a corpus is hardly text, or was damaged before: how often, where first, and which flag mends it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textmill.data.preparing.scrub_rules import available_kinds, find_values
from textmill.data.reading.document import Document

LONG_LINE = 10_000
"""Characters of a line from which on it is reported."""

LONG_RUN = 100
"""How often one character stands in succession from which on it is reported."""

_CHARACTERS = {
    "replacement": ("\ufffd", "U+FFFD, for text that was lost: decode the original anew"),
    "private": ("[\ue000-\uf8ff\U000f0000-\U0010fffd]", "private-use characters, often of a PDF's own font"),
    "invisible": (
        "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]",
        "invisible characters (soft hyphens, marks of direction, spaces without width), which are learned as they are",
    ),
    "control": ("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "control characters, which are learned as they are"),
}
_MOJIBAKE = re.compile("Ã[\u0080-\u00bf]|Â[\u00a0-\u00bf]|â€[\u0080-\u00bf™œ˜¦“”]")
_RUN = re.compile(rf"(\S)\1{{{LONG_RUN - 1},}}")
_LETTER = re.compile(r"[^\W\d_]")
_SIGNS = re.compile(r"[{}()\[\];=<>\\/|+]")
_DENSE = 0.1  # signs per character of a long line that is code or data
_LONG_CODE = 1000
_LINE = re.compile(rf"[^\n]{{{_LONG_CODE},}}")

_SENTENCES = {name: sentence for name, (_, sentence) in _CHARACTERS.items()} | {
    "mojibake": "documents that were once read in the wrong encoding: --repair ftfy",
    "run": f"documents with one character {LONG_RUN} times in succession: --max-symbols 0.1 leaves out rows of symbols",
    "no_letters": "documents without a letter: --min-alphabetic 0.5",
    "long_lines": f"documents with lines of more than {LONG_LINE:,} characters: look at them",
    "minified": "documents with long lines of code or data, as programs write them: --max-symbols 0.1",
    "secrets": "keys, tokens and passwords in URLs: --scrub secrets",
    "emails": "e-mail addresses: --scrub emails",
    "blank": "documents that are empty or blank: they are skipped",
    "copies": "documents that are copies of earlier ones: --dedup exact",
}


@dataclass
class Finding:
    """Something found `number` times, first in `where`; characters where the sentence counts those."""

    sentence: str
    where: str
    number: int = 0

    def as_dict(self, name: str) -> dict[str, Any]:
        """Return it as plain values."""
        return {"kind": name, "number": self.number, "first": self.where, "sentence": self.sentence}


class SuspiciousText:
    """Looks at one document after the other, part by part."""

    def __init__(self) -> None:
        self.findings: dict[str, Finding] = {}
        self._characters = {name: re.compile(pattern) for name, (pattern, _) in _CHARACTERS.items()}
        self._every = re.compile("|".join(pattern for pattern, _ in _CHARACTERS.values()))
        self._kinds = available_kinds()
        self._lines_before = 0
        self._letters, self._visible = False, False
        self._seen: set[str] = set()  # kinds that the document has

    def add(self, part: Document) -> None:
        """Look at a further part of the document; `finish` ends it."""
        text = part.text

        def where(at: int) -> str:
            line = self._lines_before + text.count("\n", 0, at) + 1
            many = part.continues or self._lines_before or "\n" in text.rstrip("\n")
            return f"{part.source}, line {line}" if many else part.source

        if self._every.search(text):
            for name, pattern in self._characters.items():
                if first := pattern.search(text):
                    self.note(name, where(first.start()), len(pattern.findall(text)))
        if not text.isascii():
            self._once("mojibake", _MOJIBAKE.search(text), where)
        for match in find_values(text, self._kinds):  # whose values are not said
            name = "emails" if match.label == "EMAIL" else "secrets"
            self.note(name, "" if name in self.findings else where(match.start))
        self._once("run", _RUN.search(text), where)
        self._look_at_lines(text, where)
        self._letters = self._letters or _LETTER.search(text) is not None
        self._visible = self._visible or not (not text or text.isspace())
        self._lines_before += text.count("\n")

    def finish(self, source: str) -> None:
        """End the document."""
        if not self._visible:
            self.note("blank", source)
        elif not self._letters:
            self.note("no_letters", source)
        self._lines_before, self._letters, self._visible = 0, False, False
        self._seen.clear()

    def note(self, name: str, where: str, number: int = 1) -> None:
        """Count a finding, of which the first is named."""
        self.findings.setdefault(name, Finding(_SENTENCES[name], where)).number += number

    def _once(self, name: str, found: re.Match[str] | None, where: Callable[[int], str]) -> None:
        if found is not None and name not in self._seen:
            self._seen.add(name)
            self.note(name, where(found.start()))

    def _look_at_lines(self, text: str, where: Callable[[int], str]) -> None:
        if len(text) < _LONG_CODE:
            return
        for found in _LINE.finditer(text):
            line = found[0]
            if len(line) > LONG_LINE:
                self._once("long_lines", found, where)
            if len(_SIGNS.findall(line)) > _DENSE * len(line):
                self._once("minified", found, where)
