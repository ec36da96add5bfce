"""Which text trains and which validates, decided before anything is learned from it.

Few documents (a book, a handful of files): the validation text is the tail of the whole, in characters, as in nanoGPT;
of a mixture it is the tail of each corpus. Many documents: a hash of a document's content decides its side, so that
copies share a side, and adding documents moves none.
"""

import hashlib
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from textmill.data.reading.document import Document
from textmill.errors import DataError
from textmill.tokenizers.normal_forms import STANDARD_NAMES, begins_unit

FEW_DOCUMENTS = 20
DEFAULT_SHARE = 0.1

TRAIN, VALIDATION = 0, 1

_WHOLE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Survey:
    """What one pass over a corpus found; arrays have one entry per document, in order.

    Attributes:
        characters: int64 (documents,).
        sizes: int64 (documents,): bytes in UTF-8.
        keys: uint64 (documents,): a hash of the content, equal for equal texts.
        kept: bool (documents,): neither blank nor shorter than the minimum.
    """

    characters: np.ndarray
    sizes: np.ndarray
    keys: np.ndarray
    kept: np.ndarray

    @property
    def kept_characters(self) -> int:
        return int(self.characters[self.kept].sum())

    @property
    def kept_documents(self) -> int:
        return int(self.kept.sum())


def survey(documents: Iterable[Document], min_length: int = 0, normal_form: str | None = None) -> Survey:
    """Read `documents` once and return their lengths, content hashes, and which are worth keeping.

    normal_form: of Unicode, "nfc" and the like; the hashes of texts that are equal in it are equal.
    """
    form = None if normal_form is None else STANDARD_NAMES[normal_form]
    characters, sizes, keys, kept = array("q"), array("q"), array("Q"), bytearray()
    length, size, blank, content = 0, 0, True, hashlib.blake2b(digest_size=8)
    for part in documents:
        encoded = part.text.encode("utf-8")
        length += len(part.text)
        size += len(encoded)
        blank = blank and (not part.text or part.text.isspace())
        content.update(encoded if form is None else unicodedata.normalize(form, part.text).encode("utf-8"))
        if part.continues:
            continue
        characters.append(length)
        sizes.append(size)
        keys.append(int.from_bytes(content.digest(), "big"))
        kept.append(not blank and length >= min_length)
        length, size, blank, content = 0, 0, True, hashlib.blake2b(digest_size=8)
    return Survey(
        np.array(characters, dtype=np.int64),
        np.array(sizes, dtype=np.int64),
        np.array(keys, dtype=np.uint64),
        np.array(kept, dtype=bool),
    )


@dataclass(frozen=True)
class Split:
    """Where every character of a surveyed corpus goes.

    Attributes:
        kept: bool (documents,): the others are skipped.
        trains: int64 (documents,): how many of its first characters train, the rest validates; at least as many as it
            has if it trains as a whole.
        ends_at_cut: whether a document that validates from somewhere on ends there for training.
        whole_units: whether a cut moves on where it would separate what a normal form of Unicode joins.
    """

    kept: np.ndarray
    trains: np.ndarray
    ends_at_cut: bool = False
    whole_units: bool = False

    @property
    def validates(self) -> np.ndarray:
        """Which documents have text that validates, bool (documents,)."""
        return self.trains < _WHOLE


def kept_on(split: Split, found: Survey, side: int) -> tuple[int, int]:
    """Return how many kept documents have text on a side, and the characters of it."""
    characters = found.characters[found.kept]
    trains = np.minimum(split.trains[found.kept], characters)
    if side == TRAIN:
        return int((trains > 0).sum()), int(trains.sum())
    return int(split.validates[found.kept].sum()), int((characters - trains).sum())


def training_bytes(split: Split, found: Survey, documents: Sequence[int]) -> list[int]:
    """Return about how many bytes of each corpus train, which have so many documents, one after the other."""
    share = np.minimum(split.trains, found.characters) * split.kept / np.maximum(found.characters, 1)
    ends = np.cumsum(documents)
    return [round(float((share * found.sizes)[end - count : end].sum())) for end, count in zip(ends, documents)]


def everything(side: int, found: Survey) -> Split:
    """Return the split that puts every kept document on one side."""
    return Split(found.kept, np.full(found.kept.size, _WHOLE if side == TRAIN else 0, dtype=np.int64))


def plan_split(found: Survey, share: float, say: Callable[[str], None], documents: Sequence[int] = ()) -> Split:
    """Return the split of a corpus with `share` of it for validation.

    With a share of 0 nothing validates. DEFAULT_SHARE is enlarged, with a message, if it is less than two characters.
    Raises DataError when a side would be left without two characters or without a document.

    documents: how many each corpus of a mixture has, one after the other. Each keeps text to train on.
    """
    if share == 0:
        return everything(TRAIN, found)
    if found.kept_documents < FEW_DOCUMENTS and not documents:
        return Split(found.kept, _trains_before(_tail_cut(found.kept_characters, share, say), found))
    trains = np.full(found.kept.size, _WHOLE, dtype=np.int64)
    if found.kept_documents >= FEW_DOCUMENTS:
        trains[_by_content(found, share)] = 0
    for end, count in zip(np.cumsum(documents), documents):
        corpus = Survey(*(values[end - count : end] for values in vars(found).values()))
        if corpus.kept_documents < FEW_DOCUMENTS:
            cut = int(corpus.kept_characters * (1 - share))
            enough = 2 <= cut <= corpus.kept_characters - 2
            trains[end - count : end] = _trains_before(cut, corpus) if enough else _WHOLE
    return Split(found.kept, trains, ends_at_cut=bool(documents))


def _trains_before(cut: int, found: Survey) -> np.ndarray:
    """Return how many characters of each document are among the first `cut` that are kept: see Split."""
    characters = found.characters * found.kept
    ends = np.cumsum(characters)
    return np.where(ends <= cut, _WHOLE, np.maximum(cut - (ends - characters), 0))


def _tail_cut(characters: int, share: float, say: Callable[[str], None]) -> int:
    cut = int(characters * (1 - share))
    if share == DEFAULT_SHARE and characters >= 4 and not 2 <= cut <= characters - 2:
        cut = characters - 2
        say(f"the text has {characters} characters: the last 2 are for validation")
    if not 2 <= cut <= characters - 2:
        raise DataError(
            f"the text has {characters} characters, too few for a validation share of {share:g}: "
            "both sides need two; give more text, another --val-split, or --val-split 0"
        )
    return cut


def _by_content(found: Survey, share: float) -> np.ndarray:
    """Return which documents validate; both sides have at least one, and copies are never on both."""
    keys = found.keys[found.kept]
    lowest, highest = keys.min(), keys.max()
    if lowest == highest:
        raise DataError(
            f"all {keys.size:,} documents are the same text, so none can validate: give --val-data or --val-split 0"
        )
    threshold = np.uint64(min(int(share * 2**64), 2**64 - 1))
    validates = found.keys < threshold
    if not validates[found.kept].any():
        validates = found.keys == lowest
    elif validates[found.kept].all():
        validates = found.keys != highest
    return validates


def leaked_documents(found: Survey, split: Split) -> int:
    """Return how many training documents are in the validation text too, letter by letter."""
    validates = split.validates[split.kept]
    keys = found.keys[split.kept]
    return int(np.isin(keys[~validates], keys[validates]).sum())


class Fragment(NamedTuple):
    """A piece of text on one side.

    Attributes:
        ends: whether a document ends here.
        corpus: the number of the corpus of a mixture that it is from.
        file: the file that it is from; None if that does not matter.
        begins: whether a document begins here, or what its side has of one; see `with_beginnings`.
    """

    side: int
    text: str
    ends: bool
    corpus: int = 0
    file: Path | None = None
    begins: bool = True


def with_beginnings(fragments: Iterable[Fragment]) -> Iterator[Fragment]:
    """Yield the fragments, each with whether a document begins with it."""
    continued: set[int] = set()
    for part in fragments:
        yield part._replace(begins=part.side not in continued)
        (continued.discard if part.ends else continued.add)(part.side)


def divide(documents: Iterable[Document], split: Split) -> Iterator[Fragment]:
    """Yield the kept text in order, each piece with its side.

    The documents are those that were surveyed. Raises DataError when there are more of them now.
    """
    number, characters = 0, 0  # of the document so far
    for part in documents:
        if number == split.kept.size:
            raise DataError(f"{part.source} changed while it was read: start again when it is complete")
        if split.kept[number]:
            cut = int(split.trains[number]) - characters
            while split.whole_units and 0 < cut < len(part.text) and not begins_unit(part.text[cut]):
                cut += 1
            yield from _divide_at(cut, part, ends_at_cut=split.ends_at_cut)
            characters += len(part.text)
        if not part.continues:
            number, characters = number + 1, 0


def _divide_at(cut: int, part: Document, *, ends_at_cut: bool) -> Iterator[Fragment]:
    if cut <= 0:
        yield Fragment(VALIDATION, part.text, not part.continues)
    elif cut >= len(part.text):
        yield Fragment(TRAIN, part.text, not part.continues or (ends_at_cut and cut == len(part.text)))
    else:
        yield Fragment(TRAIN, part.text[:cut], ends_at_cut)
        yield Fragment(VALIDATION, part.text[cut:], not part.continues)


def whole_documents(fragments: Iterable[Fragment]) -> Iterator[Fragment]:
    """Join the fragments of each document, for tokenizers whose tokens depend on the text on both sides of a cut."""
    waiting: defaultdict[int, list[Fragment]] = defaultdict(list)
    for part in fragments:
        waiting[part.side].append(part)
        if part.ends:
            yield _joined(waiting.pop(part.side))
    for parts in waiting.values():  # a document that continues on the other side
        yield _joined(parts)


def _joined(parts: list[Fragment]) -> Fragment:
    return parts[-1]._replace(text="".join(part.text for part in parts), begins=parts[0].begins)
