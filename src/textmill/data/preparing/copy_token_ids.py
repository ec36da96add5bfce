"""Files of token ids into a corpus: nothing is read as text, the ids are copied as they are."""

from collections.abc import Callable

from textmill.data.preparing.pipeline_output import Destination
from textmill.data.preparing.prepare_settings import PrepareSettings
from textmill.data.preparing.split import TRAIN, VALIDATION
from textmill.data.preparing.train_and_validation import close_writers, text_sets
from textmill.data.reading.formats.token_ids import open_token_ids
from textmill.data.sources.file_selection import Files


def prepare_ids(
    files: Files,
    settings: PrepareSettings,
    vocab_size: int | None,
    destination: Destination,
    tick: Callable[[int], None],
) -> None:
    """Write the ids of all files; the last share of the training ids validates unless files are given for it.

    Raises DataError for a file that does not contain ids, and for ids outside `vocab_size`.
    """
    share = settings.share
    sets = text_sets(files, share)
    arrays = [
        [] if text_set.split_off else [open_token_ids(path, settings.reading, vocab_size) for path in text_set.files]
        for text_set in sets
    ]
    highest = max(array.highest(vocab_size, tick) for of_set in arrays for array in of_set)
    total = sum(array.count for array in arrays[TRAIN])
    left = int(total * (1 - share)) if files.validation is None else total
    writers = [destination.id_writer(text_set.folder, highest + 1) for text_set in sets]
    for text_set, of_set in zip(sets, arrays):
        for array in of_set:
            for block in array.blocks():
                here = block.size if text_set.side != TRAIN else max(left, 0)
                writers[text_set.side].write(block[:here], 0)
                if block[here:].size:
                    writers[VALIDATION].write(block[here:], 0)
                left -= block.size if text_set.side == TRAIN else 0
                tick(block.nbytes)
    close_writers(sets, writers)
