"""Which characters a corpus has, by the beginnings of its files: a plan needs their number, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from textmill.data.preparing.chunks import utf8_size
from textmill.data.reading.document import Reading
from textmill.data.reading.read_documents import read_documents
from textmill.errors import TextmillError
from textmill.tokenizers.normal_forms import normalized

MOST_CHARACTERS = 1 << 22
"""Characters of the sample, of all files together."""

_OF_A_FILE = 1 << 20
_MOST_FILES = 64


@dataclass(frozen=True)
class CharacterSample:
    """Some text of a corpus.

    Attributes:
        text: what was read.
        num_bytes: its bytes in UTF-8.
    """

    text: str
    num_bytes: int

    @property
    def bytes_per_character(self) -> float:
        """The mean; 1 without text."""
        return self.num_bytes / len(self.text) if self.text else 1.0


def sample_characters(files: Sequence[Path], reading: Reading, form: str | None = None) -> CharacterSample:
    """Return the beginnings of `files`, evenly some of many; a file that cannot be read is for the training to refuse.

    form: the normal form of Unicode that the text is brought into, None for none.
    """
    some = files[:: 1 + (len(files) - 1) // _MOST_FILES]
    most = min(_OF_A_FILE, MOST_CHARACTERS // max(len(some), 1))
    text = "".join(normalized(_beginning(path, reading, most), form) for path in some)
    return CharacterSample(text, utf8_size(text))


def _beginning(path: Path, reading: Reading, most: int) -> str:
    parts: list[str] = []
    with suppress(TextmillError):
        for part in read_documents([path], reading):
            parts.append(part.text[:most])
            most -= len(part.text)
            if most <= 0:
                break
    return "".join(parts)
