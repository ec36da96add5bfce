"""Which text trains and which validates, decided before anything is learned from it.

Few documents (a book, a handful of files): the validation text is the tail of the whole, in characters, as in nanoGPT.
Many documents: a hash of a document's content decides its side, so that copies share a side, and adding documents moves
none.
"""

import hashlib
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
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


@dataclass(frozen=True)
class Survey:
    """What one pass over a corpus found; arrays have one entry per document, in order.

    Attributes:
        characters: int64 (documents,).
        keys: uint64 (documents,): a hash of the content, equal for equal texts.
        kept: bool (documents,): neither blank nor shorter than the minimum.
    """

    characters: np.ndarray
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
    characters, keys, kept = array("q"), array("Q"), bytearray()
    form = None if normal_form is None else STANDARD_NAMES[normal_form]
    length, blank, content = 0, True, hashlib.blake2b(digest_size=8)
    for part in documents:
        length += len(part.text)
        blank = blank and (not part.text or part.text.isspace())
        text = part.text if form is None else unicodedata.normalize(form, part.text)
        content.update(text.encode("utf-8"))
        if part.continues:
            continue
        characters.append(length)
        keys.append(int.from_bytes(content.digest(), "big"))
        kept.append(not blank and length >= min_length)
        length, blank, content = 0, True, hashlib.blake2b(digest_size=8)
    return Survey(np.array(characters, dtype=np.int64), np.array(keys, dtype=np.uint64), np.array(kept, dtype=bool))


@dataclass(frozen=True)
class Split:
    """Where every character of a surveyed corpus goes.

    Attributes:
        kept: bool (documents,): the others are skipped.
        validates: bool (documents,) when whole documents change sides, else None.
        cut: the number of kept characters that train, the rest validates; used when `validates` is None.
        whole_units: whether the cut moves on where it would separate what a normal form of Unicode joins.
    """

    kept: np.ndarray
    validates: np.ndarray | None
    cut: int
    whole_units: bool = False


def kept_on(split: Split, found: Survey, side: int) -> tuple[int, int]:
    """Return how many kept documents have text on a side, and the characters of it."""
    characters = found.characters[found.kept]
    if split.validates is not None:
        chosen = split.validates[found.kept] == (side == VALIDATION)
        return int(chosen.sum()), int(characters[chosen].sum())
    ends = np.cumsum(characters)
    if side == TRAIN:
        return int((ends - characters < split.cut).sum()), split.cut
    return int((ends > split.cut).sum()), int(characters.sum()) - split.cut


def everything(side: int, found: Survey) -> Split:
    """Return the split that puts every kept document on one side."""
    return Split(found.kept, np.full(found.kept.size, side == VALIDATION), 0)


def plan_split(found: Survey, share: float, say: Callable[[str], None]) -> Split:
    """Return the split of a corpus with `share` of it for validation.

    With a share of 0 nothing validates. DEFAULT_SHARE is enlarged, with a message, if it is less than two characters.
    Raises DataError when a side would be left without two characters or without a document.
    """
    if share == 0:
        return everything(TRAIN, found)
    if found.kept_documents < FEW_DOCUMENTS:
        return Split(found.kept, None, _tail_cut(found.kept_characters, share, say))
    return Split(found.kept, _by_content(found, share), 0)


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
    if split.validates is not None:
        validates = split.validates[split.kept]
    else:
        validates = np.cumsum(found.characters[split.kept]) > split.cut
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
    number, characters = 0, 0
    for part in documents:
        if number == split.kept.size:
            raise DataError(f"{part.source} changed while it was read: start again when it is complete")
        if split.kept[number]:
            if split.validates is not None:
                yield Fragment(int(split.validates[number]), part.text, not part.continues)
            else:
                yield from _divide_at(split.cut - characters, part, split.whole_units)
                characters += len(part.text)
        number += not part.continues


def _divide_at(cut: int, part: Document, whole_units: bool) -> Iterator[Fragment]:
    while whole_units and 0 < cut < len(part.text) and not begins_unit(part.text[cut]):
        cut += 1
    if cut <= 0:
        yield Fragment(VALIDATION, part.text, not part.continues)
    elif cut >= len(part.text):
        yield Fragment(TRAIN, part.text, not part.continues)
    else:
        yield Fragment(TRAIN, part.text[:cut], False)
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
