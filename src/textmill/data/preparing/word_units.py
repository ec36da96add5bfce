"""Text as the units that sequences are made of: words, and characters where a script puts no space between words.

A unit of the latter is a letter with its marks. Which script it is decides, not what the document looks like, so that a
text has the same units beside any other.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np

from textmill.tokenizers.word_patterns import SEPARATORS

WORDS = 5
"""Units of a sequence that begins with a word."""

CHINESE, LETTERS = 8, 12
"""Units of a sequence that begins with a Chinese character, or a letter of another script without spaces.

So natural text repeats about as few of them as English does of five words (docs/decisions.md).
"""

LONGEST = max(WORDS, CHINESE, LETTERS)

_SOUTHEAST = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f"  # Thai, Lao, Burmese, Khmer, ...
    "\ua980-\ua9ff\uaa60-\uaadf"  # Javanese, more of Burmese, Tai Viet
)
_EAST = (
    "\u3005-\u3007\u3041-\u3098\u309b-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff"  # kana, Bopomofo
    "\u2e80-\u2fdf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Chinese characters
    "\ua000-\ua4cf\uff66-\uff9f"  # Yi, narrow kana
)
_WITHOUT_SPACES = _SOUTHEAST + _EAST
_HAS_NO_SPACES = re.compile(f"[{_WITHOUT_SPACES}]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_SEPARATOR = re.compile(f"[{SEPARATORS}]")
_WORD = re.compile(r"\w+")

Units = tuple[list[str], list[int]]
"""Units in order, and for each how many units a sequence has that begins with it."""


def written_units(text: str) -> Units:
    """Return the units of `text` as it is written: what stands between white space, or characters."""
    if text.isascii():
        words = text.split()
        return words, [WORDS] * len(words)
    return _cut_further(_SEPARATOR.sub(" ", text).split(), text)


def compared_units(text: str) -> Units:
    """Return the units of `text` without case, punctuation and invisible characters."""
    lowered = text.lower()
    if lowered.isascii():
        words = _WORD.findall(lowered)
        return words, [WORDS] * len(words)
    seen = _INVISIBLE.sub("", lowered)
    return _cut_further((_word_with_marks() if _has_marks(seen) else _WORD).findall(seen), seen)


def _cut_further(words: list[str], text: str) -> Units:
    """Return `words`, those of `text`, with those of scripts without spaces cut into characters."""
    if not _HAS_NO_SPACES.search(text):
        return words, [WORDS] * len(words)
    units: list[str] = []
    lengths: list[int] = []
    for word in words:
        if word.isascii() or not _HAS_NO_SPACES.search(word):
            units.append(word)
            lengths.append(WORDS)
        else:
            characters = _character().findall(_INVISIBLE.sub("", word))
            units += characters
            lengths += [CHINESE if _is_chinese(character) else LETTERS for character in characters]
    return units, lengths


def _is_chinese(unit: str) -> bool:
    first = unit[0]
    return "\u3400" <= first <= "\u9fff" or "\uf900" <= first <= "\ufaff" or first >= "\U00020000"


@cache
def _word_with_marks() -> re.Pattern[str]:
    """Return the pattern of a word in letters, digits and marks; Python's `\\w` leaves marks out."""
    return re.compile(f"[\\w{''.join(_all_marks())}]+")


def _has_marks(text: str) -> bool:
    code_points = np.frombuffer(text.encode("utf-32-le", "replace"), dtype="<u4")
    return bool(_mark_table()[code_points].any())


@cache
def _mark_table() -> np.ndarray:
    """Return whether each code point is a mark, bool (0x110000,)."""
    table = np.zeros(0x110000, dtype=bool)
    table[[ord(mark) for mark in _all_marks()]] = True
    return table


@cache
def _character() -> re.Pattern[str]:
    """Return the pattern of a character with its marks, or of what else a word of such a script contains."""
    marks = "".join(_marks([*range(0xE00, 0x1B80), *range(0xA980, 0xAAE0), 0x3099, 0x309A]))
    return re.compile(f"[{_WITHOUT_SPACES}][{marks}]*|[^{_WITHOUT_SPACES}]+")


@cache
def _all_marks() -> list[str]:
    return _marks([*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)])


def _marks(code_points: Sequence[int]) -> list[str]:
    """Return the marks among `code_points`."""
    return [chr(point) for point in code_points if unicodedata.category(chr(point)).startswith("M")]
