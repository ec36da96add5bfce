"""The text that a tokenizer is learned from: all, or parts spread evenly over it; of a mixture, a share of each corpus.

Text is read once, in order: a corpus that counts more than its size is repeated piece by piece, another one is thinned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from textmill.console.whole_characters import is_mark
from textmill.data.preparing.chunks import utf8_size
from textmill.data.reading.document import Document, Reading
from textmill.data.reading.odd_files import OddFiles
from textmill.data.reading.read_documents import read_documents
from textmill.data.sources.file_selection import Files
from textmill.data.sources.findings import Notes
from textmill.errors import DataError, MissingInputError
from textmill.tokenizers.normal_forms import normalized
from textmill.tokenizers.split_long_text import pieces
from textmill.tokenizers.word_patterns import SEPARATORS

MOST_TEXT_FOR_BPE = 1 << 26
"""Characters. Of a larger training text BPE learns from parts spread evenly over it."""

MOST_TEXT_FOR_UNIGRAM = 1 << 21
"""Characters. Learning takes a second for 30,000 where words have no spaces, and 200 bytes of memory for each."""

ENOUGH_TEXT = 1 << 22
"""Bytes. A mixture with less text is repeated up to this size before a corpus of it is thinned."""

LOOKED_AT = 1 << 20
"""Characters from the beginnings of the files that decide how words are cut, and _LEAST of each besides."""

_LEAST = 4096
_MOST_FILES = 128

_PIECE = 1024
_LONGEST_PIECE = 8 * _PIECE


class CorpusTally:
    """Counts the documents of each corpus of a mixture as they pass by.

    Attributes:
        documents: their number, by corpus; empty where nothing is mixed.
        sizes: their bytes in UTF-8, by corpus.
    """

    def __init__(self, files: Files) -> None:
        """The training files of `files` will be read, one after the other."""
        self._files = files
        self._opened = 0
        self.documents = [0 for _ in files.weights]
        self.sizes = [0 for _ in files.weights]

    def opened(self, path: Path) -> None:
        """Note that the next documents are those of the next file, `path`."""
        self._opened += 1

    @property
    def corpus(self) -> int:
        """The number of the corpus whose file was opened last."""
        return self._files.corpus_of(self._opened - 1)

    def count(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yield `documents` unchanged."""
        for part in documents:
            if self.documents:
                corpus = self.corpus
                self.documents[corpus] += not part.continues
                self.sizes[corpus] += utf8_size(part.text)
            yield part

    def shares(self, sizes: Sequence[int]) -> list[CorpusShare]:
        """Return the corpora as a tokenizer learns from them; `sizes` are the bytes of their training text."""
        return [CorpusShare(name, weight, size) for (name, weight, _), size in zip(self._files.weights, sizes)]


@dataclass(frozen=True)
class CorpusShare:
    """How much of the text to learn from a corpus of a mixture is.

    Attributes:
        name: as it was given.
        weight: relative to the other weights.
        size: bytes of its training text.
    """

    name: str
    weight: float
    size: int


@dataclass(frozen=True)
class LearningText:
    """The training text as a tokenizer learns it.

    Attributes:
        texts: the number of the corpus, and a text of it.
        characters: of all texts.
        share_of_marks: returns the share of them, in a normal form, that are marks or stand between words.
        corpora: the corpora of a mixture; empty where nothing is mixed.
    """

    texts: Iterator[tuple[int, str]]
    characters: int
    share_of_marks: Callable[[str | None], float]
    corpora: Sequence[CorpusShare] = field(default_factory=list)

    def in_normal_form(self, form: str) -> LearningText:
        """Return the same text, brought into a normal form of Unicode."""
        return replace(self, texts=((corpus, normalized(text, form)) for corpus, text in self.texts))

    def every(self) -> Iterator[str]:
        """Yield all text, whatever the weights are."""
        return (text for _, text in self.texts)

    def for_vocabulary(self, kind: str, say: Callable[[str], None]) -> Iterator[str]:
        """Yield at most as much of the text as a tokenizer of `kind` learns from, "bpe" or "unigram".

        Of a mixture it is so much of each corpus as its weight says.
        """
        name, most = ("Unigram", MOST_TEXT_FOR_UNIGRAM) if kind == "unigram" else ("BPE", MOST_TEXT_FOR_BPE)
        if self.corpora:
            rates = repetitions(self.corpora, most)
            read = ", ".join(f"{part.name} {rate:.3g} times" for part, rate in zip(self.corpora, rates))
            say(f"{name} learns from {read}, so that each has its share")
            return in_shares(self.texts, rates)
        if self.characters <= most:
            return self.every()
        share = most / self.characters
        say(f"{name} learns from {share:.1%} of the text, spread evenly over it")
        return spread(self.every(), share)


def text_of_files(
    files: Files, reading: Reading, notes: Notes, tick: Callable[[int], None], *, mixed: bool
) -> LearningText:
    """Return all training text of `files`, to learn from their corpora in their shares if `mixed`.

    Then the files are read once before, to know how much text each corpus has. Raises DataError for one without any.
    """
    tally, odd = CorpusTally(files), OddFiles(files.within)
    if mixed:
        for _ in tally.count(read_documents(files.train, reading, None, tick, tally.opened, odd)):
            pass
    corpora = tally.shares(tally.sizes) if mixed else []
    if empty := [part.name for part in corpora if not part.size]:
        raise DataError(f"there is no text in {empty[0]}: leave it out")
    opened: list[Path] = []
    documents = read_documents(files.train, reading, notes, tick, opened.append, odd)
    texts = ((files.corpus_of(len(opened) - 1), document.text) for document in documents)
    size = sum(path.stat().st_size for path in files.train)
    return LearningText(texts, size, partial(marks_in_files, files, reading), corpora)


def repetitions(corpora: Sequence[CorpusShare], most: int = MOST_TEXT_FOR_BPE) -> list[float]:
    """Return how often each corpus is read to learn from; less than once where only a part of it is.

    All of the text would be read as often as Mixture does. It is not more than without weights, or
    ENOUGH_TEXT, or `most`.
    """
    total = sum(part.weight for part in corpora)
    longest = max(part.size * total / part.weight for part in corpora)
    length = min(longest, most, max(ENOUGH_TEXT, sum(part.size for part in corpora)))
    return [length * part.weight / total / part.size if part.size else 0.0 for part in corpora]


def in_shares(texts: Iterable[tuple[int, str]], rates: Sequence[float]) -> Iterator[str]:
    """Yield every text in pieces, each as often as the rate of its corpus says; below 1 some of them, evenly spread."""
    owed = [0.0 for _ in rates]
    for corpus, text in texts:
        for piece in _short_pieces(text):
            size = utf8_size(piece)
            owed[corpus] += rates[corpus] * size
            while size and owed[corpus] >= size / 2:
                yield piece
                owed[corpus] -= size


def _short_pieces(text: str) -> Iterator[str]:
    """Yield `text` in pieces that end where words do, unless it has no such position for long."""
    for piece in pieces(text, _PIECE):
        for at in range(0, len(piece), _LONGEST_PIECE):
            yield piece[at : at + _LONGEST_PIECE]


def marks_in_files(files: Files, reading: Reading, form: str | None = None) -> float:
    """Return the share of marks (see `share_of_marks`) in the training files of `files`, as `share_in_files` has it.

    form: the normal form of Unicode that the text is brought into, None for none.
    """
    return share_in_files(files, reading, lambda text: share_of_marks(normalized(text, form)))


def share_in_files(files: Files, reading: Reading, measure: Callable[[str], float]) -> float:
    """Return the mean of a share that `measure` returns of a text, by the beginnings of the training files of `files`.

    Each counts by its size; those of a corpus with a weight together by that. Of many files some are read.
    """
    total = sum(weight for _, weight, _ in files.weights)
    corpora = [(weight / total, count) for _, weight, count in files.weights] or [(1.0, len(files.train))]
    found, first = 0.0, 0
    for share, count in corpora:
        some = files.train[first : first + count : 1 + count * len(corpora) // _MOST_FILES]
        sizes = [path.stat().st_size for path in some]
        for path, size in zip(some, sizes):
            weight = share * size / max(sum(sizes), 1)
            beginning = _beginning(path, reading, _LEAST + round(weight * LOOKED_AT), odd_ones=files.within)
            found += weight * measure(beginning)
        first += count
    return found


def _beginning(path: Path, reading: Reading, characters: int, odd_ones: Collection[Path]) -> str:
    """Return the first characters of a file; of one that cannot be read, none if it may be skipped."""
    parts: list[str] = []
    try:
        for part in read_documents([path], reading):
            parts.append(part.text[:characters])
            characters -= len(part.text)
            if characters <= 0:
                break
    except (DataError, MissingInputError):
        if path not in odd_ones:
            raise
        return ""
    return "".join(parts)


def share_of_marks(text: str) -> float:
    """Return the share of characters that belong to the one before, or stand between words and are no spaces."""
    if text.isascii():
        return 0.0
    seen = Counter(text)
    return sum(count for character, count in seen.items() if is_mark(character) or character in SEPARATORS) / len(text)


def spread(texts: Iterator[str], share: float) -> Iterator[str]:
    """Yield about `share` of `texts`, by their length, evenly spread."""
    owed = 0.0
    for text in texts:
        owed += share * len(text)
        if owed > 0:
            yield text
            owed -= len(text)
