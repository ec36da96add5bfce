"""Where a long text may be cut so that its parts, tokenised one by one, give the ids of the whole.

The known word patterns match white space, or a word with at most one character before it, after which some take line
breaks. So a match always ends where a space follows something else, and where a line ends whose neighbours are no white
space; and no earlier match looks past that position: cutting there changes nothing. Nor does it for normal forms of
Unicode: neither a space nor a line end joins what is before it, and no mark joins a line end.
"""

import re
from collections.abc import Iterator

# Python counts a few control characters as white space that the pattern does not; leaving them out is the safe side.
_CUT = re.compile(r"\S(?= )|(?<=\S)\n(?=\S)")
_TAIL = 4096


def last_cut(text: str, without: int = 0) -> int:
    """Return the last position where `text` may be cut, 0 if there is none.

    without: so many characters at its beginning are known to have none.
    """
    for start in (max(len(text) - _TAIL, without), without):
        end = 0
        for found in _CUT.finditer(text, start):
            end = found.end()
        if end:
            return end
    return 0


def pieces(text: str, size: int) -> Iterator[str]:
    """Yield `text` in parts of about `size` characters that end where words do; together they are `text`.

    A part without a position to cut may be longer.
    """
    start = 0
    while len(text) - start > size:
        found = _CUT.search(text, start + size - 1)
        if not found:
            break
        yield text[start : found.end()]
        start = found.end()
    if start < len(text):
        yield text[start:]
