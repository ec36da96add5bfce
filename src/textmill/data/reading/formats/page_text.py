"""White space and annotations of HTML, on the web and in books: what of a page's characters is text.

Lines of the source are not lines of the text: white space between words is one space, and a line that ends between
Chinese or Japanese characters ends within a word. https://www.w3.org/TR/css-text-3/#line-break-transform
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from textmill.data.sources.findings import Notes

LINE_ENDERS = frozenset(
    {
        *(
            "html",
            "body",
            "main",
            "section",
            "article",
            "aside",
            "nav",
            "header",
            "footer",
            "hgroup",
            "div",
            "center",
            "dialog",
        ),
        *(
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "p",
            "br",
            "hr",
            "pre",
            "listing",
            "blockquote",
            "address",
            "figure",
            "figcaption",
        ),
        *("ul", "ol", "dir", "menu", "li", "dl", "dt", "dd", "details", "summary"),
        *("table", "caption", "thead", "tbody", "tfoot", "tr", "form", "fieldset", "legend", "optgroup", "option"),
    }
)
"""Elements before and behind which a line ends."""

CELLS = frozenset({"td", "th"})
INVISIBLE = frozenset({"script", "style", "head", "title", "template"})
PREFORMATTED = frozenset({"pre", "listing", "textarea"})
"""Elements whose white space is text."""

ANNOTATIONS = frozenset({"rt", "rtc", "rp"})
"""Readings above or beside words, and the parentheses around them where they cannot be shown so."""

HTML_SPACE = " \t\n\r\f"
_SPACES = re.compile(f"[{HTML_SPACE}]{{2,}}|[\t\n\r\f]")  # all but one space alone
_ANNOTATED = "ruby annotations, the readings above words, left out, {number} of them"
_JOINED = "line ends between Chinese or Japanese characters are no spaces, {number} of them"


@dataclass
class LeftOut:
    """What pages have that is not in their text.

    Attributes:
        annotations: readings above words.
        line_ends: within Chinese or Japanese text.
    """

    annotations: int = 0
    line_ends: int = 0

    def note(self, notes: Notes, file: str) -> None:
        """Add what was counted to `notes`."""
        for finding, number in ((_ANNOTATED, self.annotations), (_JOINED, self.line_ends)):
            if number:
                notes.add(finding, file, number)


def collapse(pieces: Sequence[str], left_out: LeftOut) -> list[str]:
    """Return the pieces of one line of text, each run of white space as one space, or as nothing (see the module).

    Only what HTML calls white space is: no-break, ideographic and other spaces are characters like others.
    """
    text = "".join(pieces)
    characters: list[str] | None = None if len(pieces) == 1 else list(text)

    def replacement(run: re.Match[str]) -> str:
        start, end = run.span()
        space = " "
        if "\n" in run[0] and start and end < len(text) and closes_up(text[start - 1], text[end]):
            space = ""
            left_out.line_ends += 1
        if characters is not None:
            characters[start:end] = [space] + [""] * (end - start - 1)
        return space

    collapsed = _SPACES.sub(replacement, text)
    if characters is None:
        return [collapsed]
    found, start = [], 0
    for piece in pieces:
        found.append("".join(characters[start : start + len(piece)]))
        start += len(piece)
    return found


def closes_up(before: str, after: str) -> bool:
    """Whether a line end between these characters is nothing: in scripts that put no space between words."""
    if "\u200b" in (before, after):
        return True
    kinds = {_width(before), _width(after)}
    return "wide" in kinds and kinds <= {"wide", "quote"}


def _width(character: str) -> str:
    """Return wide for Chinese and Japanese characters, quote for punctuation that they share, else narrow."""
    width = unicodedata.east_asian_width(character)
    if width in "WFH":
        is_emoji = "\U0001f000" <= character <= "\U0001faff"
        return "narrow" if is_emoji or "HANGUL" in unicodedata.name(character, "") else "wide"
    return "quote" if width == "A" and unicodedata.category(character)[0] == "P" else "narrow"
