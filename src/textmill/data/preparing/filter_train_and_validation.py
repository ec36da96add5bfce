"""Every set of a corpus filtered, validation sets first, and what is found said."""

from collections.abc import Callable, Sequence

from textmill.data.preparing.clean import Cleaning
from textmill.data.preparing.document_filter import DocumentFilter, FilterResult
from textmill.data.preparing.split import TRAIN
from textmill.data.preparing.train_and_validation import TextSet
from textmill.data.reading.document import Reading
from textmill.data.reading.read_documents import read_documents
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

Say = Callable[[str], None]


def filter_sets(
    sets: Sequence[TextSet], reading: Reading, cleaning: Cleaning, say: Say, tick: Callable[[int], None]
) -> dict[int, FilterResult]:
    """Read all sets once and return, by side, which documents stay. Raises DataError for a set of which nothing stays.

    A set that is split off another one has no documents of its own.
    """
    notes = Notes()
    document_filter = DocumentFilter(cleaning, reading.min_length)
    results = {}
    for text_set in reversed([text_set for text_set in sets if not text_set.split_off]):
        documents = read_documents(text_set.files, reading, notes, tick)
        result = document_filter.filter(documents, validates=text_set.side != TRAIN)
        for sentence in result.sentences():
            say(sentence)
        if not result.found.kept_documents:
            reasons = [reason for reason, documents in result.dropped.items() if documents.any()]
            why = _nothing_left(reasons, reading.min_length)
            raise DataError(f"there is no text to use in {text_set.source}: {why}")
        results[text_set.side] = result
    for sentence in notes.sentences():
        say(sentence)
    return dict(sorted(results.items()))


def _nothing_left(reasons: Sequence[str], min_length: int) -> str:
    if not reasons or reasons == ["empty or blank"]:
        return "it is empty or blank"
    if all(reason.startswith(("empty", "shorter")) for reason in reasons):
        return f"no document has {min_length} characters"
    return f"every document was left out ({'; '.join(reasons)})"


def say_leaks(count: int, say: Say, *, removed: bool) -> None:
    """Say how many training documents are validation documents too, if any."""
    if count and removed:
        say(f"{count:,} training documents were in the validation text too and were removed from training")
    elif count:
        say(
            f"{count:,} training documents are in the validation text too: the validation loss does not tell how the "
            "model does on new text (textmill prepare --dedup exact removes them from training)"
        )
