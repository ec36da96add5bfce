"""Fonts for the names that people give to folders and settings, in whatever script: a picture has no empty boxes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.ft2font import FT2Font

_LONGEST = 60
"""Characters of a name that is escaped: a letter becomes six of them."""

_NO_LETTERS = re.compile(r"Last Resort|STIX(Non|Size)|cm[a-z]+10$")
"""Names of fonts that have boxes or signs of mathematics where others have letters."""


def drawable(texts: Sequence[str], weight: str = "normal") -> tuple[list[str], list[str]]:
    """Return `texts` as they can be drawn, and the font families to draw them with.

    The usual font comes first, then installed ones with the characters that it lacks. A text with a character that no
    font has is escaped (`\\u1798`), and cut if that makes it long.
    """
    from matplotlib import rcParams

    families = list(rcParams["font.family"])
    missing = {character for text in texts for character in text if character.isprintable() and character != " "}
    missing -= _covered(families, missing, weight)
    for name in _families() if missing else ():
        if not missing:
            break
        if found := _covered([name], missing, weight):
            families.append(name)
            missing -= found
    return [_escaped(text) if missing.intersection(text) else text for text in texts], families


def _escaped(text: str) -> str:
    escaped = text.encode("ascii", "backslashreplace").decode("ascii")
    return escaped if len(escaped) <= _LONGEST else escaped[: _LONGEST - 3] + "..."


def _covered(families: Sequence[str], characters: set[str], weight: str) -> set[str]:
    """Return those of `characters` that the font of one of the families has."""
    fonts = [font for font in (_font(name, weight) for name in families) if font is not None]
    return {each for each in characters if any(font.get_char_index(ord(each)) for font in fonts)}


@cache
def _font(family: str, weight: str) -> FT2Font | None:
    """Return the font of a family that is drawn with; None if it cannot be read or drawn in any size."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    # A damaged file is passed over, as other programs do.
    with suppress(OSError, RuntimeError, ValueError), quiet_font_search():
        font = get_font(findfont(FontProperties(family=[family], weight=weight)))
        return font if font.scalable else None
    return None


def _families() -> Iterator[str]:
    """Yield the names of the installed fonts for text, those for all scripts first."""
    from matplotlib.font_manager import fontManager

    names = {entry.name for entry in fontManager.ttflist if not _NO_LETTERS.match(entry.name)}
    yield from sorted(names, key=lambda name: (not name.startswith("Noto Sans"), name))


@contextmanager
def quiet_font_search() -> Iterator[None]:
    """Keep matplotlib from saying that a font is not there in bold, and that it takes another weight of it."""
    logger = logging.getLogger("matplotlib.font_manager")

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger.addFilter(is_error)
    try:
        yield
    finally:
        logger.removeFilter(is_error)
