"""Files of a folder that cannot be read: they are skipped as a whole, and the others are read."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from textmill.data.reading.document import Document
from textmill.data.sources.findings import Notes
from textmill.data.sources.skipped_files import NAMED
from textmill.errors import DataError, MissingInputError, one_line

LOOKED_AHEAD = 1 << 22
"""Characters of a file that are read before any of them is used, so that nothing of a file that is broken is."""

_LONGEST_REASON = 240


class BrokenFarInsideError(DataError):
    """A file of a folder cannot be read to its end, and some of its documents have been used: begin again."""


@dataclass
class OddFiles:
    """Which files may be skipped, and which were.

    Attributes:
        may_skip: files that nobody named: a folder or a pattern contains them.
        reasons: those that were skipped -> what is wrong with them, a sentence that begins with the path.
    """

    may_skip: Collection[Path]
    reasons: dict[Path, str] = field(default_factory=dict)

    def documents(self, path: Path, read: Callable[[Notes], Iterator[Document]], notes: Notes) -> Iterator[Document]:
        """Yield what `read` reads of `path`, or nothing if it cannot be read and nobody named it.

        Raises BrokenFarInsideError if that shows after more than LOOKED_AHEAD characters. Then it is skipped next time.
        """
        if path not in self.may_skip:
            yield from read(notes)
            return
        if path in self.reasons:
            return
        found = Notes()  # of what is skipped nothing else is noted
        documents, ahead, characters = read(found), list[Document](), 0
        try:
            for document in documents:
                ahead.append(document)
                characters += len(document.text)
                if characters > LOOKED_AHEAD:
                    break
        except (DataError, MissingInputError) as error:
            self.reasons[path] = one_line(error, _LONGEST_REASON)
            return
        yield from ahead
        ahead.clear()
        try:
            yield from documents
        except DataError as error:
            self.reasons[path] = one_line(error, _LONGEST_REASON)
            raise BrokenFarInsideError(str(error)) from error
        notes.take(found)

    def sentence(self) -> str | None:
        """Return what people should know, None if nothing was skipped."""
        if not self.reasons:
            return None
        first, count = "; ".join(list(self.reasons.values())[:NAMED]), len(self.reasons)
        more = f"; and {count - NAMED:,} more" if count > NAMED else ""
        whose = "1 file that nobody named" if count == 1 else f"{count:,} files that nobody named"
        return f"{whose} cannot be read and {'is' if count == 1 else 'are'} skipped: {first}{more}"
