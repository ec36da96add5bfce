"""Text to token ids on disk: survey, split, learn a tokenizer from the training side, encode, write.

Files are read once for each of these steps instead of being held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from textmill.data.document import Notes
from textmill.data.formats.bin import open_token_ids
from textmill.data.read import Reading, read_documents
from textmill.data.selection import Files
from textmill.data.shards import ShardWriter
from textmill.data.split import (
    DEFAULT_SHARE,
    TRAIN,
    VALIDATION,
    Fragment,
    Survey,
    divide,
    everything,
    plan_split,
    survey,
)
from textmill.data.vocabulary import TokenizerChoice
from textmill.errors import DataError
from textmill.tokenizers import Tokenizer

SIDES = ("train", "validation")
_BATCH_CHARACTERS = 2 << 20

Say = Callable[[str], None]
Tick = Callable[[int], None]
"""Hears how many more bytes were read; raises to stop the work."""


def build_from_text(
    folder: Path,
    files: Files,
    reading: Reading,
    choice: TokenizerChoice,
    *,
    val_split: float | None,
    workers: int | None,
    say: Say,
    tick: Tick,
) -> Tokenizer:
    """`folder` holds the stores `train` and, unless the share is 0, `validation`; return the tokenizer that made them.

    Raises DataError when the text is unusable or leaves a side with less than two tokens.
    """
    notes = Notes()
    found = _survey(files.train, reading, notes, say, tick)
    if files.validation is None:
        splits = [(files.train, plan_split(found, val_split, say))]
    else:
        other = _survey(files.validation, reading, notes, say, tick)
        splits = [(files.train, everything(TRAIN, found)), (files.validation, everything(VALIDATION, other))]
    for sentence in notes.sentences():
        say(sentence)

    def fragments() -> Iterator[Fragment]:
        for paths, split in splits:
            yield from divide(read_documents(paths, reading, on_bytes=tick), split)

    training_text = (part.text for part in fragments() if part.side == TRAIN)
    tokenizer = choice.make(training_text, found.kept_characters, say)
    # A single text needs no mark, and one that training never saw must not stand in the validation text either.
    eos_id = tokenizer.eos_id if found.kept_documents > 1 else None
    sides = SIDES[: 1 if files.validation is None and val_split == 0 else 2]
    writers = [ShardWriter(folder / side, tokenizer.vocab_size, eos_id) for side in sides]
    _write(fragments(), tokenizer, writers, workers, say)
    _close(writers)
    return tokenizer


def _survey(paths: Sequence[Path], reading: Reading, notes: Notes, say: Say, tick: Tick) -> Survey:
    found = survey(read_documents(paths, reading, notes, tick), reading.min_length)
    short = int((found.characters < reading.min_length).sum())
    blank = int((~found.kept).sum()) - short
    if not found.kept_documents:
        name = str(paths[0]) + (f" and {len(paths) - 1:,} more files" if len(paths) > 1 else "")
        reason = f"no document has {reading.min_length} characters" if short else "it is empty or blank"
        raise DataError(f"there is no text to use in {name}: {reason}")
    for count, reason in ((blank, "empty or blank"), (short, f"shorter than {reading.min_length} characters")):
        if count:
            say(f"skipped {count:,} of {found.kept.size:,} documents: {reason}")
    return found


def _write(
    fragments: Iterable[Fragment],
    tokenizer: Tokenizer,
    writers: Sequence[ShardWriter],
    workers: int | None,
    say: Say,
) -> None:
    """Every fragment is encoded and written by the writer of its side."""
    unknown = [0] * len(SIDES)
    for batch in _batches(fragments if tokenizer.exact_in_parts else _whole_documents(fragments)):
        for part, ids in zip(batch, tokenizer.encode_batch([part.text for part in batch], workers)):
            writers[part.side].write(ids, utf8_size(part.text))
            if part.ends:
                writers[part.side].end_document()
            if tokenizer.unk_id is not None:
                unknown[part.side] += int((ids == tokenizer.unk_id).sum())
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


def _close(writers: Sequence[ShardWriter]) -> None:
    for side, writer in zip(SIDES, writers):
        if writer.num_tokens < 2:
            raise DataError(
                f"the {side} text is {writer.num_tokens} tokens long and needs two: give more text, --val-data, "
                "or another --val-split (0 for no validation)"
            )
        writer.close()


def build_from_ids(folder: Path, files: Files, *, val_split: float | None, vocab_size: int | None, tick: Tick) -> None:
    """`folder` holds the stores of files of ids; the tail of all ids validates unless there are files for it.

    Raises DataError for a file that does not hold ids, and for ids outside `vocab_size`.
    """
    train = [open_token_ids(path, vocab_size) for path in files.train]
    validation = [open_token_ids(path, vocab_size) for path in files.validation or []]
    highest = max(array.highest(vocab_size, tick) for array in [*train, *validation])
    total = sum(array.count for array in train)
    share = DEFAULT_SHARE if val_split is None else val_split
    cut = total if validation or share == 0 else int(total * (1 - share))
    writers = [ShardWriter(folder / side, highest + 1) for side in SIDES[: 2 if validation or cut < total else 1]]
    for array in train:
        for block in array.blocks():
            head, tail = block[: max(cut, 0)], block[max(cut, 0) :]
            writers[TRAIN].write(head, 0)
            if tail.size:
                writers[VALIDATION].write(tail, 0)
            cut -= block.size
            tick(block.nbytes)
    for array in validation:
        for block in array.blocks():
            writers[VALIDATION].write(block, 0)
            tick(block.nbytes)
    _close(writers)
