"""Where one document of a plain text ends and the next begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from textmill.data.reading.document import END_OF_TEXT_LINES
from textmill.data.sources.text_columns import with_escapes
from textmill.tokenizers.new_tokenizers import END_OF_TEXT
from textmill.tokenizers.normal_forms import begins_unit
from textmill.tokenizers.split_long_text import last_cut


@dataclass
class Separator:
    """What ends a document: `mark`, with the line end after it; with `alone`, only where it is a line of its own.

    After a mark of white space, such as two line ends, all further line ends belong to it. An empty mark never occurs.
    found_within_line: whether an `alone` mark was passed that is not a line of its own.
    """

    mark: str
    alone: bool = False
    found_within_line: bool = False

    @classmethod
    def of(cls, document_separator: str | None, *, keep: bool = False) -> Separator:
        """Return the separator of a Reading. keep: whether Windows line ends stay as they are."""
        if document_separator == END_OF_TEXT_LINES:
            return cls(END_OF_TEXT, alone=True)
        mark = with_escapes(document_separator or "")
        return cls(mark if keep else mark.replace("\r\n", "\n"))

    def find(self, text: str, start: int, *, is_end: bool) -> tuple[int, int] | None:
        """Return where the first separator at or after `start` begins and ends; None if there is none.

        Unless the text ends here (`is_end`), one so near its end that it may go on is not found yet.
        """
        while self.mark and (begin := text.find(self.mark, start)) >= 0:
            mark_end = begin + len(self.mark)
            end = mark_end
            while line_end := next((one for one in ("\n", "\r\n") if text.startswith(one, end)), ""):
                end += len(line_end)
                if self.mark.strip():
                    break
            if not is_end and end + 2 > len(text):
                return None
            own_line = (begin == 0 or text[begin - 1] == "\n") and (end > mark_end or end == len(text))
            if own_line or not self.alone:
                return begin, end
            self.found_within_line = True
            start = mark_end
        return None


def split_documents(
    pieces: Iterable[str], separator: Separator, part: int, longest: int
) -> Iterator[tuple[str, bool, bool]]:
    """Yield (text, whether a document ends with it, whether a separator ends it), long documents in parts.

    Parts have at least `part` characters and end before white space; `longest` without any are cut anywhere but before
    a mark.
    """
    text, margin = "", len(separator.mark) + 2
    without = 0  # characters at the beginning of `text` in which no position to cut was found
    for piece in chain(pieces, [None]):
        text += piece or ""
        at = 0
        while (found := separator.find(text, at, is_end=piece is None)) is not None:
            yield text[at : found[0]], True, True
            at = found[1]
        text, without = text[at:], 0 if at else without
        if piece is None or len(text) < part:
            continue
        cut = last_cut(text[:-margin] if separator.mark else text, without)
        without = 0 if cut else max(len(text) - margin - 2, 0)
        if not cut and len(text) > longest:
            cut = len(text) - margin
            while cut and not begins_unit(text[cut]):
                cut -= 1
        if cut:
            yield text[:cut], False, False
            text, without = text[cut:], 0
    yield text, True, False
