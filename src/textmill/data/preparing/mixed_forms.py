"""Whether a text spells the same characters in several ways, such as é as one character and as two: seen on a sample.

A model learns each spelling by itself. Hebrew points and Arabic marks are also found in several orders.
"""

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from textmill.data.reading.document import Document
from textmill.tokenizers import Tokenizer
from textmill.tokenizers.normal_forms import begins_unit

_SAMPLE = 1 << 20  # characters, in pieces that are spread evenly over the text:
_PIECE = 1 << 12
_WORTH_TELLING = 1e-4
"""Share of all characters from which on those in a second spelling are reported."""


class MixedForms:
    """Looks at a part of the documents that pass, and counts the spellings of characters with marks."""

    def __init__(self, files: Iterable[Path]) -> None:
        size = sum(path.stat().st_size for path in files)
        self._share = min(1.0, _SAMPLE / max(size, 1))
        self._owed = 0.0
        self._words: Counter[str] = Counter()
        self._characters = 0
        self._one_form: set[Literal["NFC", "NFD"]] = {"NFC", "NFD"}

    def watch(self, documents: Iterator[Document]) -> Iterator[Document]:
        """Yield `documents` unchanged."""
        for part in documents:
            self._owed += self._share * len(part.text)
            if self._share == 1:
                self._look_at(part.text)
            elif self._owed > 0:
                number = math.ceil(self._owed / _PIECE)
                for start in range(0, len(part.text), max(_PIECE, len(part.text) // number)):
                    self._look_at(part.text[start : start + _PIECE])
            yield part

    def _look_at(self, sample: str) -> None:
        self._owed -= len(sample)
        self._characters += len(sample)
        if not sample.isascii():
            self._words.update(sample.split())
            self._one_form = {form for form in self._one_form if unicodedata.is_normalized(form, sample)}

    def sentence(self, tokenizer: Tokenizer) -> str | None:
        """Return what to say of a text that mixes forms, None for another, and where `tokenizer` makes them one."""
        if self._one_form or not (spellings := self._spellings()):
            return None
        forms: Counter[str] = Counter()
        for found in spellings:
            for spelling, number in found.items():
                forms[_form(spelling)] += number
        others = Counter({rarer[0]: rarer[1] for found in spellings for rarer in found.most_common()[1:]})
        if others.total() < _WORTH_TELLING * self._characters:
            return None
        example = others.most_common(1)[0][0]
        usual = next(found for found in spellings if example in found).most_common(1)[0][0]
        if tokenizer.encode(example).tolist() == tokenizer.encode(usual).tolist():
            return None
        shares = ", ".join(f"{number / forms.total():.0%} {form}" for form, number in forms.most_common())
        mend = "nfd" if forms["in NFD"] > forms["in NFC"] else "nfc"
        return (
            f"the text mixes normal forms of Unicode: {usual} is both {_code_points(usual)} and "
            f"{_code_points(example)}, and of the characters that are spelled in more than one way, {shares}. Each "
            f"spelling is learned by itself; --normalize {mend} makes them one"
        )

    def _spellings(self) -> list[Counter[str]]:
        """Return how often each spelling occurs, for every character of the sample that has more than one."""
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for word, number in self._words.items():
            if not word.isascii():
                for unit in _units(word):
                    found[unicodedata.normalize("NFC", unit)][unit] += number
        return [spellings for spellings in found.values() if len(spellings) > 1]


def _units(word: str) -> Iterator[str]:
    """Yield the characters of a word, each with the marks that follow it."""
    start = 0
    for end in range(1, len(word)):
        if begins_unit(word[end]):
            yield word[start:end]
            start = end
    yield word[start:]


def _form(unit: str) -> str:
    return next((f"in {form}" for form in ("NFC", "NFD") if unicodedata.is_normalized(form, unit)), "in neither")


def _code_points(unit: str) -> str:
    return " ".join(f"U+{ord(character):04X}" for character in unit)
