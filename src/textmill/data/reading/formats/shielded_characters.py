"""Characters that a library changes or drops, exchanged before and put back after.

trafilatura removes what does not print (joiners, marks of direction, soft hyphens, private use, characters newer than
Python), makes every space a plain one, composes to NFC, and resolves entities twice. Each such character is given to it
as an ideograph that the page does not have, which passes as a letter.
"""

import html
import json
import re
import unicodedata

from textmill.data.reading.formats.page_text import HTML_SPACE

_IDEOGRAPHS = range(0x20000, 0x31350)  # of planes 2 and 3; few pages have any

_ALSO_CHANGED = "&|\u2424"
"""Resolved a second time, escaped in tables, and trafilatura's own sign for a line end."""

_ESCAPES = re.compile(r"\\(?:u[0-9a-fA-F]{4}(?:\\u[0-9a-fA-F]{4})*|.)", re.DOTALL)
_REFERENCES = re.compile(r"&#?\w+;")
_RUNS = re.compile(r"[&|]+|[^&|]+")


class Shield:
    """Exchanges the characters of one page, and puts them back. Should all ideographs be in use, the rest stays."""

    def __init__(self, page: str) -> None:
        used = set(page) | set(html.unescape(page) if "&" in page else "")
        used |= set(_ESCAPES.sub(_unescaped, page) if "\\u" in page else "")
        self._free = (one for one in _IDEOGRAPHS if chr(one).isprintable() and chr(one) not in used)
        self._given: dict[int, int] = {}
        self._table = _Table(self)

    def exchange(self, text: str) -> str:
        """Return `text`, one character for one, with every one exchanged that would not pass."""
        if not text.isprintable() or any(one in text for one in _ALSO_CHANGED):  # else it would be all of itself
            text = text.translate(self._table)
        for is_changed in (_by_itself, _as_a_mark, _beyond_ascii):  # no more than NFC requires
            if unicodedata.is_normalized("NFC", text):
                break
            self._table |= {ord(one): self.stand_in(ord(one)) for one in set(text) if is_changed(one)}
            text = text.translate(self._table)
        return text

    def exchange_json(self, source: str) -> str:
        """Return the source of JSON with the characters beyond ASCII exchanged, written as such or as references.

        ASCII stays: what of it is JSON, markup or an entity is for the library to find out.
        """
        found = _ESCAPES.sub(_unescaped, source)
        found = _REFERENCES.sub(lambda one: one[0] if (text := html.unescape(one[0])).isascii() else text, found)
        return "".join(run if run.isascii() else self.exchange(run) for run in _RUNS.findall(found))

    def exchange_all(self, text: str) -> str:
        """Return `text` with every character exchanged."""
        return text.translate({ord(one): self.stand_in(ord(one)) for one in set(text)})

    def stand_in(self, character: int) -> int:
        """Return what a character is exchanged for; what stands for another one, or when all are in use, itself."""
        if character not in self._given:
            self._given[character] = next(self._free, character)
            self._given[self._given[character]] = self._given[character]
        return self._given[character]

    def restore(self, text: str) -> str:
        """Return `text` with the page's own characters."""
        back = {one: character for character, one in self._given.items() if one != character}
        return text.translate(back) if back else text


class _Table(dict[int, int]):
    """Character -> what it is exchanged for, found at its first use."""

    def __init__(self, shield: Shield) -> None:
        super().__init__()
        self._shield = shield

    def __missing__(self, code: int) -> int:
        character = chr(code)
        passes = character in HTML_SPACE or (character.isprintable() and character not in _ALSO_CHANGED)
        return self.setdefault(code, code if passes else self._shield.stand_in(code))


def _unescaped(escapes: re.Match[str]) -> str:
    """Return the characters beyond ASCII that escapes of JSON stand for; other escapes as they are."""
    if not escapes[0].startswith("\\u"):
        return escapes[0]
    text = json.loads(f'"{escapes[0]}"')
    as_they_are = (one.isascii() or "\ud800" <= one <= "\udfff" for one in text)
    return "".join(f"\\u{ord(one):04x}" if kept else one for one, kept in zip(text, as_they_are))


def _by_itself(character: str) -> bool:
    return not unicodedata.is_normalized("NFC", character)


def _as_a_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def _beyond_ascii(character: str) -> bool:
    return not character.isascii()
