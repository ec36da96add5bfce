"""The sides of a corpus: training, validation and further validation sets, each with the files it comes from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textmill.data.preparing.pipeline_output import ChunkWriter, IdWriter
from textmill.data.preparing.split import TRAIN, VALIDATION
from textmill.data.sources.file_selection import Files
from textmill.errors import DataError
from textmill.runs.layout import FURTHER


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


def close_writers(sets: Sequence[TextSet], writers: Sequence[ChunkWriter] | Sequence[IdWriter]) -> None:
    """Complete the store of every side. Raises DataError for a side with less than two tokens."""
    for text_set, writer in zip(sets, writers):
        if writer.num_tokens < 2:
            raise DataError(
                f"the {text_set.name} text of {text_set.source} has {writer.num_tokens} of the two tokens that it "
                "needs: give more text, --val-data, or another --val-split (0 for no validation)"
            )
        writer.close()
