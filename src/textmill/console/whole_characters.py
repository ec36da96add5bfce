"""Pieces of text that people can read: words of any script, and cuts that leave no mark without its letter."""

import re
import unicodedata

_JOINERS = "\u200c\u200d"  # between letters of Persian and Indian words, and between parts of an emoji
_WORDS = re.compile(r"[^\W\d_]{2,}(?: [^\W\d_]+){0,2}")


def is_mark(character: str) -> bool:
    """Whether a character belongs to the one before it: an accent, a vowel sign, a joiner."""
    return character in _JOINERS or unicodedata.category(character).startswith("M")


def cut(text: str, most: int) -> str:
    """Return the first `most` characters of `text`, fewer if the next one belongs to the last of them."""
    end = min(most, len(text))
    while 0 < end < len(text) and (is_mark(text[end]) or text[end - 1] in _JOINERS):
        end -= 1
    return text[:end]


def phrases(text: str, most: int) -> list[str]:
    """Return the phrases of up to three words in `text`, the first of two letters or more, at most `most` characters.

    Scripts without spaces have long words, of which the beginning is returned.
    """
    # Python's letters do not include marks: the same text with a letter in place of each.
    shape = "".join("a" if is_mark(character) else character for character in text)
    return [cut(text[found.start() : found.end()], most) for found in _WORDS.finditer(shape)]
