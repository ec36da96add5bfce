"""The sides of a corpus: training, validation and further validation sets, each with its files, each filtered."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from textmill.console.number_format import plural
from textmill.data.preparing.document_filter import DocumentFilter, FilterResult
from textmill.data.preparing.learning_text import CorpusTally
from textmill.data.preparing.pipeline_output import Writer
from textmill.data.preparing.split import TRAIN, VALIDATION
from textmill.data.preparing.split_groups import Groups
from textmill.data.reading.document import Document, Reading
from textmill.data.reading.odd_files import OddFiles
from textmill.data.reading.read_documents import read_documents
from textmill.data.sources.file_selection import Files
from textmill.data.sources.findings import Notes
from textmill.errors import DataError
from textmill.runs.layout import FURTHER

Say = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """How the files of a corpus are read, each time.

    Attributes:
        reading: what decides their documents.
        tick: gets the bytes that were read.
        odd: the files that are skipped because they cannot be read.
    """

    reading: Reading
    tick: Callable[[int], None]
    odd: OddFiles

    def documents(
        self, files: Sequence[Path], notes: Notes | None = None, on_file: Callable[[Path], None] = lambda path: None
    ) -> Iterator[Document]:
        """Yield the documents of `files`; see `read_documents`."""
        return read_documents(files, self.reading, notes, self.tick, on_file, self.odd)


@dataclass(frozen=True)
class TextSet:
    """One side of a corpus.

    Attributes:
        side: TRAIN, VALIDATION, or a higher number for a further validation set.
        name: as messages and the report call it.
        folder: of its ids, within the corpus.
        files: where its text comes from.
        split_off: whether it is a part of the training files, and has none of its own.
    """

    side: int
    name: str
    folder: str
    files: Sequence[Path]
    split_off: bool = False

    @property
    def source(self) -> str:
        """The files, as an error names them."""
        return str(self.files[0]) + (f" and {len(self.files) - 1:,} more files" if len(self.files) > 1 else "")

    def title(self, *, alone: bool) -> str:
        """Return what an error calls its text; `alone`: there is no other, as in an evaluation."""
        return self.source if alone else f"the {self.name} text of {self.source}"


def text_sets(files: Files, share: float) -> list[TextSet]:
    """Return the sides of a corpus in the order of their numbers; `share` of the training files is for validation."""
    sets = [TextSet(TRAIN, "train", "train", files.train)]
    if files.validation is not None:
        sets.append(TextSet(VALIDATION, "validation", "validation", files.validation))
    elif share > 0:
        sets.append(TextSet(VALIDATION, "validation", "validation", files.train, split_off=True))
    for side, (name, paths) in enumerate(files.further.items(), VALIDATION + 1):
        sets.append(TextSet(side, f"{name} validation", f"{FURTHER}/{name}", paths))
    return sets


def filter_sets(
    sets: Sequence[TextSet],
    source: Source,
    document_filter: DocumentFilter,
    tally: CorpusTally,
    watch: Callable[[Iterator[Document]], Iterator[Document]],
    say: Say,
    groups: Groups | None = None,
) -> dict[int, FilterResult]:
    """Read all sets once and return, by side, which documents stay. Raises DataError for a set of which nothing stays.

    A set that is split off another one has no documents of its own. `tally` counts the training documents, and
    `groups` tells which of them belong together; all documents pass through `watch`.
    """
    notes = Notes()
    results = {}
    for text_set in reversed([text_set for text_set in sets if not text_set.split_off]):
        if text_set.side == TRAIN:
            documents = tally.count(source.documents(text_set.files, notes, partial(_opened, tally, groups)))
            documents = documents if groups is None else groups.watch(documents)
        else:
            documents = source.documents(text_set.files, notes)
        result = document_filter.filter(watch(documents), validates=text_set.side != TRAIN)
        for sentence in result.sentences():
            say(sentence)
        if not result.found.kept_documents:
            raise DataError(f"there is no text to use in {text_set.source}: {_nothing_left(result, source, text_set)}")
        results[text_set.side] = result
    for sentence in notes.sentences():
        say(sentence)
    return dict(sorted(results.items()))


def _opened(tally: CorpusTally, groups: Groups | None, file: Path) -> None:
    tally.opened(file)
    if groups is not None:
        groups.opened(file)


def _nothing_left(result: FilterResult, source: Source, text_set: TextSet) -> str:
    min_length, odd = source.reading.min_length, source.odd.reasons
    if broken := [odd[path] for path in text_set.files if path in odd]:
        return broken[0]
    reasons = [reason for reason, documents in result.dropped.items() if documents.any()]
    if not reasons or reasons == ["empty or blank"]:
        return "it is empty or blank"
    if all(reason.startswith(("empty", "shorter")) for reason in reasons):
        return f"no document has {min_length} characters"
    return f"every document was left out ({'; '.join(reasons)})"


def say_leaks(count: int, say: Say, *, removed: bool, split_off: bool = False) -> None:
    """Say how many training documents are validation documents too, if any. split_off: of the same text."""
    documents = plural(count, "training document")
    remedy = "keeps only the first of equal documents" if split_off else "removes them from training"
    if count and removed:
        verb = "was" if count == 1 else "were"
        say(f"{documents} {verb} in the validation text too and {verb} removed from training")
    elif count:
        say(
            f"{documents} {'is' if count == 1 else 'are'} in the validation text too: the validation loss does not "
            f"tell how the model does on new text (textmill prepare --dedup exact {remedy})"
        )


def close_writers(sets: Sequence[TextSet], writers: Sequence[Writer]) -> None:
    """Complete the store of every side. Raises DataError for a side with less than two tokens."""
    for text_set, writer in zip(sets, writers):
        if writer.num_tokens < 2:
            raise DataError(
                f"the {text_set.name} text of {text_set.source} has {writer.num_tokens} of the two tokens that it "
                "needs: give more text, --val-data, or another --val-split (0 for no validation)"
            )
        writer.close()
