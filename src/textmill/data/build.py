"""Text to token ids on disk: survey, split, learn a tokenizer from the training side, encode, write.

Files are read once for each of these steps instead of being held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from textmill.data.document import Notes
from textmill.data.formats.npy import open_ids
from textmill.data.read import Reading, read_documents
from textmill.data.shards import ShardWriter
from textmill.data.split import (
    DEFAULT_SHARE,
    TRAIN,
    VALIDATION,
    Fragment,
    Split,
    Survey,
    divide,
    everything,
    plan_split,
    survey,
)
from textmill.errors import DataError
from textmill.tokenizers import Tokenizer

SIDES = ("train", "validation")
_BATCH_CHARACTERS = 2 << 20

Say = Callable[[str], None]
Tick = Callable[[int], None]
"""Hears how many more bytes were read; raises to stop the work."""


@dataclass(frozen=True)
class Files:
    """The files of a corpus. `validation` None means: split some off `train`."""

    train: Sequence[Path]
    validation: Sequence[Path] | None = None


def build_from_text(
    folder: Path,
    files: Files,
    *,
    reading: Reading,
    min_length: int,
    val_split: float | None,
    make_tokenizer: Callable[[Iterator[str], int], Tokenizer],
    say: Say,
    tick: Tick,
) -> Tokenizer:
    """`folder` holds the stores `train` and, unless the share is 0, `validation`; return the tokenizer that made them.

    `make_tokenizer` gets the training texts and their number of characters. Raises DataError when the text is unusable
    or leaves a side with less than two tokens.
    """
    notes = Notes()
    found = _survey(files.train, reading, min_length, notes, say, tick)
    if files.validation is None:
        split, validation_split = plan_split(found, val_split, say), None
    else:
        split = everything(TRAIN, found)
        other = _survey(files.validation, reading, min_length, notes, say, tick)
        validation_split = everything(VALIDATION, other)
    for sentence in notes.sentences():
        say(sentence)

    def fragments() -> Iterator[Fragment]:
        yield from divide(read_documents(files.train, reading, on_bytes=tick), split)
        if files.validation is not None and validation_split is not None:
            yield from divide(read_documents(files.validation, reading, on_bytes=tick), validation_split)

    tokenizer = make_tokenizer((part.text for part in fragments() if part.side == TRAIN), found.kept_characters)
    mark = found.kept_documents > 1 and tokenizer.eos_id is not None
    sides = SIDES if files.validation is not None or _validates(split) else SIDES[:1]
    writers = [ShardWriter(folder / side, tokenizer.vocab_size, tokenizer.eos_id if mark else None) for side in sides]
    _write(fragments(), tokenizer, writers, mark, say)
    for side, writer in zip(sides, writers):
        _check_side(side, writer.num_tokens)
    return tokenizer


def _validates(split: Split) -> bool:
    return split.validates is None or bool(split.validates[split.kept].any())


def _survey(paths: Sequence[Path], reading: Reading, min_length: int, notes: Notes, say: Say, tick: Tick) -> Survey:
    found = survey(read_documents(paths, reading, notes, tick), min_length)
    short = int((found.characters < min_length).sum())
    blank = int((~found.kept).sum()) - short
    if not found.kept_documents:
        name = str(paths[0]) + (f" and {len(paths) - 1:,} more files" if len(paths) > 1 else "")
        raise DataError(
            f"{name} holds no text: "
            + (f"every document is shorter than {min_length} characters" if short else "it is empty or blank")
        )
    if blank:
        say(f"skipped {blank:,} of {found.kept.size:,} documents, which are empty or blank")
    if short:
        say(f"skipped {short:,} of {found.kept.size:,} documents, which are shorter than {min_length} characters")
    return found


def _write(
    fragments: Iterable[Fragment], tokenizer: Tokenizer, writers: Sequence[ShardWriter], mark: bool, say: Say
) -> None:
    """Every fragment is encoded and written by the writer of its side."""
    unknown = [0] * len(SIDES)
    for batch in _batches(fragments if tokenizer.exact_in_parts else _whole_documents(fragments)):
        for part, ids in zip(batch, tokenizer.encode_batch([part.text for part in batch])):
            writers[part.side].write(ids, utf8_size(part.text))
            if part.ends:
                writers[part.side].end_document(mark)
            if tokenizer.unk_id is not None:
                unknown[part.side] += int((ids == tokenizer.unk_id).sum())
    for writer in writers:
        writer.close()
    for side, count in zip(SIDES, unknown):
        if count:
            say(f"{count:,} tokens of the {side} text are not in the vocabulary and count as unknown")


def _batches(fragments: Iterable[Fragment]) -> Iterator[list[Fragment]]:
    batch: list[Fragment] = []
    characters = 0
    for part in fragments:
        batch.append(part)
        characters += len(part.text)
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    yield batch


def _whole_documents(fragments: Iterable[Fragment]) -> Iterator[Fragment]:
    """Join what belongs together, for tokenizers that look across places where a text could be cut."""
    waiting: dict[int, list[str]] = {TRAIN: [], VALIDATION: []}
    for part in fragments:
        waiting[part.side].append(part.text)
        if part.ends:
            yield Fragment(part.side, "".join(waiting[part.side]), True)
            waiting[part.side] = []
    for side, texts in waiting.items():
        if texts:
            yield Fragment(side, "".join(texts), False)


def utf8_size(text: str) -> int:
    """Return the number of bytes of `text` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8"))


def _check_side(side: str, num_tokens: int) -> None:
    if num_tokens < 2:
        raise DataError(
            f"the {side} text has {num_tokens} tokens and needs two: give more text, --val-data or another --val-split"
        )


def build_from_ids(folder: Path, files: Files, *, val_split: float | None, vocab_size: int | None, tick: Tick) -> None:
    """`folder` holds the stores of .npy files of ids; the tail of all ids validates unless there are files for it.

    Raises DataError for a file that is not such an array, and for ids outside `vocab_size`.
    """
    train = [open_ids(path) for path in files.train]
    validation = [open_ids(path) for path in files.validation or []]
    highest = -1
    for array in [*train, *validation]:
        high = array.highest()
        if vocab_size is not None and high >= vocab_size:
            raise DataError(f"{array.path} holds id {high}, which is outside vocab_size {vocab_size}")
        highest = max(highest, high)
        tick(array.count * array.dtype.itemsize)
    total = sum(array.count for array in train)
    share = DEFAULT_SHARE if val_split is None else val_split
    cut = total if validation or share == 0 else int(total * (1 - share))
    sides = SIDES if validation or cut < total else SIDES[:1]
    writers = [ShardWriter(folder / side, highest + 1) for side in sides]
    for array in train:
        for block in array.blocks():
            head = block[: max(cut, 0)]
            writers[TRAIN].write(head, 0)
            if head.size < block.size:
                writers[VALIDATION].write(block[head.size :], 0)
            cut -= head.size
            tick(block.nbytes)
    for array in validation:
        for block in array.blocks():
            writers[VALIDATION].write(block, 0)
            tick(block.nbytes)
    for side, writer in zip(sides, writers):
        writer.close()
        _check_side(side, writer.num_tokens)
