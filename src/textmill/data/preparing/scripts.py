"""The scripts of Unicode: which one each letter belongs to, by the codes of ISO 15924 such as Latn and Khmr.

Source: the property Script of the Unicode Character Database, as the library fonttools has it.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np

from textmill.errors import ConfigError

NO_SCRIPT = "Zyyy"
"""The code of what all scripts share: digits, punctuation, symbols, white space."""

_OF_NO_SCRIPT = frozenset((NO_SCRIPT, "Zinh", "Zzzz"))  # shared, as the letter before it, not assigned

_SEVERAL = {
    "Jpan": ("Hani", "Hira", "Kana"),
    "Kore": ("Hang", "Hani"),
    "Hrkt": ("Hira", "Kana"),
    "Hans": ("Hani",),
    "Hant": ("Hani",),
}
"""Codes of writing systems -> the scripts they use, which is what characters tell."""


def script_codes() -> list[str]:
    """Return the code of every script that has letters of its own."""
    return [code for code in _table()[0] if code not in _OF_NO_SCRIPT]


def script_name(code: str) -> str:
    """Return the English name of a script: "Khmer" for Khmr."""
    from fontTools import unicodedata as tables  # takes a thirtieth of a second, and few commands need it

    return "none" if code == NO_SCRIPT else str(tables.script_name(code)).replace("_", " ")


def known_scripts(codes: Iterable[str]) -> tuple[str, ...]:
    """Return the scripts that `codes` name, in any case, Jpan and the like as several, without repetition.

    Raises ConfigError for a code that is none.
    """
    known = {code.lower(): (code,) for code in [*script_codes(), NO_SCRIPT]}
    known |= {code.lower(): several for code, several in _SEVERAL.items()}
    by_name = {script_name(code).lower(): code for code in script_codes()}
    found: dict[str, None] = {}
    for code in codes:
        if code.lower() not in known:
            meant = by_name.get(code.lower())
            such = f"did you mean {meant}?" if meant else "such as Latn, Cyrl, Arab, Deva, Khmr, Jpan"
            raise ConfigError(f"scripts: {code!r} is not a code of ISO 15924 with four letters, {such}")
        found |= dict.fromkeys(known[code.lower()])
    return tuple(found)


def letters_by_script(counts: np.ndarray) -> dict[str, int]:
    """Return how many letters and marks each script has, most first; characters without a script are left out.

    counts: int64 (0x110000,): how often each code point occurs.
    """
    codes, number_of = _table()
    sums = np.bincount(number_of, weights=counts * _is_letter(), minlength=len(codes))
    found = {code: int(sums[at]) for at, code in enumerate(codes) if sums[at] and code not in _OF_NO_SCRIPT}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def code_points(text: str) -> np.ndarray:
    """Return the code points of `text`, uint32 (characters,)."""
    return np.frombuffer(text.encode("utf-32-le", "replace"), dtype="<u4")


class ScriptShares:
    """Counts the letters of one document after the other by script, part by part."""

    def __init__(self) -> None:
        codes, self._number_of = _table()
        self._number = {code: at for at, code in enumerate(codes)}
        self._without = [self._number[code] for code in _OF_NO_SCRIPT]
        self._counts = np.zeros(len(codes), dtype=np.int64)

    def add(self, text: str) -> None:
        """Count a further part of the document."""
        points = code_points(text)
        letters = points[_is_letter()[points]]
        self._counts += np.bincount(self._number_of[letters], minlength=self._counts.size)

    def finish(self, wanted: Mapping[str, object]) -> bool:
        """Return whether most letters of the document are in the scripts `wanted`, and begin the next document.

        One without a letter is in NO_SCRIPT alone.
        """
        counts, self._counts = self._counts, np.zeros_like(self._counts)
        counts[self._without] = 0
        letters = int(counts.sum())
        if letters == 0:
            return NO_SCRIPT in wanted
        return 2 * sum(int(counts[self._number[code]]) for code in wanted) > letters


@cache
def _table() -> tuple[list[str], np.ndarray]:
    """Return the codes of all scripts, and for each code point the number of its script, uint8 (0x110000,)."""
    from fontTools.unicodedata import Scripts

    codes = sorted(set(Scripts.VALUES))
    number = {code: at for at, code in enumerate(codes)}
    lengths = np.diff([*Scripts.RANGES, 0x110000])
    return codes, np.repeat(np.array([number[code] for code in Scripts.VALUES], dtype=np.uint8), lengths)


@cache
def _is_letter() -> np.ndarray:
    """Return whether each code point is a letter or a mark, bool (0x110000,)."""
    return np.array([unicodedata.category(chr(point))[0] in "LM" for point in range(0x110000)])
