"""Text to token ids on disk: survey, split, learn a tokenizer from the training side, encode, write.

Files are read once for each of these steps instead of being held in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textmill.data.preparing.clean import Cleaning
from textmill.data.preparing.encoding import write_stores
from textmill.data.preparing.filtering import Judge, Verdict
from textmill.data.preparing.read_progress import Watch
from textmill.data.preparing.resume_preparing import Work
from textmill.data.preparing.split import (
    DEFAULT_SHARE,
    TRAIN,
    VALIDATION,
    Fragment,
    divide,
    everything,
    leaked_documents,
    plan_split,
    whole_documents,
)
from textmill.data.preparing.tokenizer_choice import TokenizerChoice
from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.bin import open_token_ids
from textmill.data.reading.read import read_documents
from textmill.data.sources.notes import Notes
from textmill.data.sources.selection import Files
from textmill.data.store.corpus import FURTHER
from textmill.data.store.mixture import Part
from textmill.data.store.shards import ShardWriter
from textmill.errors import DataError
from textmill.tokenizers import Tokenizer

SIDES = ("train", "validation")
_WORTH_TELLING = 10_000_000  # bytes

Say = Callable[[str], None]
Tick = Callable[[int], None]
"""Hears how many more bytes were read; raises to stop the work."""


def build_from_text(
    work: Work,
    key: str,
    files: Files,
    reading: Reading,
    choice: TokenizerChoice,
    *,
    cleaning: Cleaning,
    val_split: float | None,
    earlier: Sequence[Path],
    workers: int | None,
    say: Say,
    tell: Say,
    watch: Watch,
) -> tuple[Tokenizer, dict[str, Any], list[Part]]:
    """The folder of `work` holds a store for every side; return tokenizer, counts for the report, and what is mixed.

    The sides are `train` and, unless the share is 0, `validation`, and the further validation sets by their names.
    What corpora in `earlier` hold of the same text is taken from them. `key` stands for all that the corpus depends on.
    `say` hears what is true of the corpus, `tell` what is true of this call.

    Raises DataError when the text is unusable or leaves a side with less than two tokens.
    """
    tick = watch.tick
    sets: list[tuple[Sequence[Path], int]] = [(files.train, TRAIN)]
    if files.validation is not None:
        sets.append((files.validation, VALIDATION))
    sets += [(paths, number) for number, paths in enumerate(files.further.values(), VALIDATION + 1)]
    verdicts = _judge(sets, reading, cleaning, say, tick)
    found = verdicts[TRAIN].found
    if files.validation is None:
        split = plan_split(found, val_split, say)
        _say_leaks(leaked_documents(found, split), say, removed=False)
    else:
        split = everything(TRAIN, found)
        _say_leaks(verdicts[TRAIN].leaked, say, removed=cleaning.dedup is not None)

    def fragments() -> Iterator[Fragment]:
        for paths, side in sets:
            source = _Source(paths, [count for *_, count in files.weights] if side == TRAIN else [], reading, tick)
            chosen = split if side == TRAIN else everything(VALIDATION, verdicts[side].found)
            for part in divide(verdicts[side].watch(cleaning.mended(source)), chosen):
                yield part._replace(side=max(side, part.side), corpus=source.corpus, file=source.file)

    tokenizer = _tokenizer(choice, work, key, fragments, found.kept_characters, say, watch)
    # A single text needs no mark, and one that training never saw must not stand in the validation text either.
    eos_id = tokenizer.eos_id if found.kept_documents > 1 else None
    sides = list(SIDES[: 1 if files.validation is None and val_split == 0 else 2])
    folders = [work.folder / side for side in sides] + [work.folder / FURTHER / name for name in files.further]
    writers = [ShardWriter(place, tokenizer.vocab_size, eos_id) for place in folders]
    names = sides + [f"{name} validation" for name in files.further]
    whole = fragments() if tokenizer.exact_in_parts else whole_documents(fragments())
    written = write_stores(whole, tokenizer, eos_id, writers, earlier, workers)
    if written.taken >= _WORTH_TELLING:
        tell(f"{written.taken / 1e6:,.0f} MB of the text were tokenized before, and are not tokenized again")
    for name, count in zip(names, written.unknown):
        if count:
            say(f"not in the vocabulary, and counted as unknown: {count:,} of the tokens of the {name} text")
    _close(writers, names, files)
    report = {names[side]: verdict.summary() for side, verdict in verdicts.items()}
    for name, writer in zip(names, writers):
        report.setdefault(name, {"dropped": {}, "repaired": {"documents": 0}})["tokens"] = writer.num_tokens
    return tokenizer, report, _parts(files, written.sizes)


def _tokenizer(
    choice: TokenizerChoice,
    work: Work,
    key: str,
    fragments: Callable[[], Iterator[Fragment]],
    characters: int,
    say: Say,
    watch: Watch,
) -> Tokenizer:
    """Return the tokenizer: ready, or learned by a process that was stopped afterwards, or learned now and kept."""
    if not choice.learns:
        return choice.make(iter(()), characters, say)
    kept = work.learned(key)
    if kept is not None:
        tokenizer, said = kept
        watch.skip()
    else:
        said = []
        training_text = (part.text for part in fragments() if part.side == TRAIN)
        tokenizer = choice.make(training_text, characters, said.append)
        work.keep_learned(tokenizer, key, said)
    for sentence in said:
        say(sentence)
    return tokenizer


class _Source:
    """The documents of `paths`. `file` is where the last one is from, `corpus` the number of its corpus of a mixture.

    counts: how many files each corpus of a mixture has; empty where nothing is mixed.
    """

    def __init__(self, paths: Sequence[Path], counts: Sequence[int], reading: Reading, tick: Tick) -> None:
        self._paths, self._ends = paths, np.cumsum(counts)
        self._reading, self._tick = reading, tick
        self.file: Path | None = None
        self.corpus = 0

    def __iter__(self) -> Iterator[Document]:
        for number, path in enumerate(self._paths):
            self.file, self.corpus = path, int(np.searchsorted(self._ends, number, side="right"))
            yield from read_documents([path], self._reading, on_bytes=self._tick)


def _parts(files: Files, sizes: Sequence[Sequence[int]]) -> list[Part]:
    """Return the corpora of the mixture with their sizes in training tokens and bytes; none where nothing is mixed."""
    parts = []
    for number, (name, weight, _) in enumerate(files.weights):
        tokens, num_bytes = sizes[number] if number < len(sizes) else (0, 0)
        if not tokens:
            raise DataError(f"no text of {name} is left to train on: give --val-data, or leave it out")
        parts.append(Part(name, weight, tokens, num_bytes))
    return parts


def _judge(
    sets: Sequence[tuple[Sequence[Path], int]], reading: Reading, cleaning: Cleaning, say: Say, tick: Tick
) -> dict[int, Verdict]:
    """Return what is to become of the documents of every side, validation sets judged first; say what is found."""
    notes = Notes()
    judge = Judge(cleaning, reading.min_length)
    verdicts = {}
    for paths, side in reversed(sets):
        verdict = judge.judge(read_documents(paths, reading, notes, tick), validates=side != TRAIN)
        for sentence in verdict.sentences():
            say(sentence)
        if not verdict.found.kept_documents:
            reasons = [reason for reason, documents in verdict.dropped.items() if documents.any()]
            raise DataError(f"there is no text to use in {_named(paths)}: {_nothing_left(reasons, reading.min_length)}")
        verdicts[side] = verdict
    for sentence in notes.sentences():
        say(sentence)
    return dict(sorted(verdicts.items()))


def _named(paths: Sequence[Path]) -> str:
    return str(paths[0]) + (f" and {len(paths) - 1:,} more files" if len(paths) > 1 else "")


def _nothing_left(reasons: Sequence[str], min_length: int) -> str:
    if not reasons or reasons == ["empty or blank"]:
        return "it is empty or blank"
    if all(reason.startswith(("empty", "shorter")) for reason in reasons):
        return f"no document has {min_length} characters"
    return f"every document was left out ({'; '.join(reasons)})"


def _say_leaks(count: int, say: Say, *, removed: bool) -> None:
    if count and removed:
        say(f"{count:,} training documents stood in the validation text too and were removed from training")
    elif count:
        say(
            f"{count:,} training documents stand in the validation text too: the validation loss will not tell how the "
            "model does on new text (textmill prepare --dedup exact removes them from training)"
        )


def _close(writers: Sequence[ShardWriter], names: Sequence[str], files: Files) -> None:
    sides = [files.train, files.validation or files.train][: len(names) - len(files.further)]
    for name, writer, paths in zip(names, writers, [*sides, *files.further.values()]):
        if writer.num_tokens < 2:
            raise DataError(
                f"the {name} text of {_named(paths)} has {writer.num_tokens} of the two tokens that it needs: "
                "give more text, --val-data, or another --val-split (0 for no validation)"
            )
        writer.close()


def build_from_ids(folder: Path, files: Files, *, val_split: float | None, vocab_size: int | None, tick: Tick) -> None:
    """`folder` holds the stores of files of ids; the tail of all ids validates unless there are files for it.

    Raises DataError for a file that does not hold ids, and for ids outside `vocab_size`.
    """
    train = [open_token_ids(path, vocab_size) for path in files.train]
    validation = [open_token_ids(path, vocab_size) for path in files.validation or []]
    further = [[open_token_ids(path, vocab_size) for path in paths] for paths in files.further.values()]
    every = [*train, *validation, *(array for arrays in further for array in arrays)]
    highest = max(array.highest(vocab_size, tick) for array in every)
    total = sum(array.count for array in train)
    share = DEFAULT_SHARE if val_split is None else val_split
    cut = total if validation or share == 0 else int(total * (1 - share))
    names = [*SIDES[: 2 if validation or cut < total else 1], *files.further]
    folders = [folder / (name if side <= VALIDATION else f"{FURTHER}/{name}") for side, name in enumerate(names)]
    writers = [ShardWriter(place, highest + 1) for place in folders]
    for array in train:
        for block in array.blocks():
            head, tail = block[: max(cut, 0)], block[max(cut, 0) :]
            writers[TRAIN].write(head, 0)
            if tail.size:
                writers[VALIDATION].write(tail, 0)
            cut -= block.size
            tick(block.nbytes)
    for side, arrays in enumerate([validation, *further], VALIDATION):
        for array in arrays:
            for block in array.blocks():
                writers[side].write(block, 0)
                tick(block.nbytes)
    _close(writers, names, files)
